//! Builds images by Docker's own builder, from a release's source tree. Not the gathering of what is
//! sent ([`super::context`]).

use std::collections::{HashMap, VecDeque};

use bollard::Docker;
use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder};
use bollard::{BollardRequest, body_try_stream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio_util::io::ReaderStream;
use towpath_model::container::ImageBuild;
use towpath_model::id::ServiceName;
use towpath_model::port::Artifacts;

use super::client::Trouble;
use super::context::{self, Context};
use super::image::{self, Failure};
use super::shared::Shared;
use super::state::PinnedImage;
use super::{credentials, names};

/// How many of a build's last lines say what went wrong.
const TAIL_LINES: usize = 40;

/// The file of a build's context, in the release's directory.
const CONTEXT: &str = "context.tar";

/// An image to build.
pub(super) struct Order<'a> {
    pub(super) artifacts: &'a Artifacts,
    pub(super) service: &'a ServiceName,
    pub(super) recipe: &'a ImageBuild,
    pub(super) platform: Option<&'a str>,
}

/// Builds an image.
pub(super) async fn image(
    shared: &Shared,
    docker: &Docker,
    order: &Order<'_>,
) -> Result<PinnedImage, Failure> {
    let service = order.service;
    let named = |reason: String| Failure::because(format!("the build of `{service}`: {reason}"));
    let Artifacts {
        environment,
        release,
        source,
        ..
    } = order.artifacts;
    let directory = shared.layout.release(environment, *release);
    let path = directory.join(format!("{service}-{CONTEXT}"));
    let tree = source
        .as_ref()
        .map(|digest| shared.layout.data.source(digest));
    let (recipe, to) = (order.recipe.clone(), path.clone());
    let gathered = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&directory)
            .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        context::gather(tree.as_deref(), &recipe, &to)
    });
    let context = match gathered.await {
        Ok(gathered) => gathered.map_err(named)?,
        Err(error) => return Err(named(error.to_string())),
    };
    let built = send(shared, docker, order, &context).await;
    // It can be made again; what stays is removed with the release.
    drop(std::fs::remove_file(&path));
    built.map_err(|mut failure| {
        failure.reason = format!("the build of `{service}`: {}", failure.reason);
        failure
    })
}

async fn send(
    shared: &Shared,
    docker: &Docker,
    order: &Order<'_>,
    context: &Context,
) -> Result<PinnedImage, Failure> {
    let file = tokio::fs::File::open(&context.path).await;
    let file =
        file.map_err(|error| Failure::because(format!("cannot read the context: {error}")))?;
    let body = body_try_stream(ReaderStream::new(file).map_err(std::io::Error::from));
    let registries = credentials::all(&shared.config)
        .await
        .map_err(Failure::because)?;
    let docker = with_hosts(docker, order.recipe);
    let options = options(order, &context.dockerfile, &shared.data_id);
    let mut steps = docker.build_image(options, Some(registries), Some(body));
    let mut said = Said::default();
    while let Some(step) = steps.next().await {
        match step {
            Ok(step) => said.hear(&step),
            Err(error) => {
                return Err(Failure {
                    reason: explained(shared.client.trouble(&error).words()),
                    log_tail: said.lines(),
                });
            }
        }
    }
    let (repository, tag) = names::image(
        &order.artifacts.environment,
        order.service,
        order.artifacts.release,
    );
    let found = docker.inspect_image(&format!("{repository}:{tag}")).await;
    let found = found.map_err(|error| -> Trouble { shared.client.trouble(&error) })?;
    let image = image::pinned(found, None);
    let mut image = image.ok_or_else(|| Failure::because("Docker has no id for what it built"))?;
    // What is built here is in no registry, whatever its base images' digests are.
    image.digest = None;
    Ok(image)
}

/// Adds what to do.
fn explained(words: &str) -> String {
    if words.contains("BuildKit") {
        return format!(
            "{words} (Towpath builds by Docker's classic builder, which cannot do this)"
        );
    }
    words.to_owned()
}

fn options(order: &Order<'_>, dockerfile: &str, data_id: &str) -> BuildImageOptions {
    let recipe = order.recipe;
    let Artifacts {
        environment,
        release,
        ..
    } = order.artifacts;
    let (repository, tag) = names::image(environment, order.service, *release);
    let mut labels: HashMap<String, String> = recipe.labels.clone().into_iter().collect();
    labels.extend(names::labels(data_id, environment));
    let args: HashMap<String, String> = recipe.args.clone().into_iter().collect();
    let mut options = BuildImageOptionsBuilder::default()
        .dockerfile(dockerfile)
        .t(&format!("{repository}:{tag}"))
        .nocache(recipe.no_cache)
        .rm(true)
        .forcerm(true)
        .buildargs(&args)
        .labels(&labels)
        .target(recipe.target.as_deref().unwrap_or_default())
        .platform(order.platform.unwrap_or_default())
        .build();
    options.pull = recipe.pull.then(|| "1".to_owned());
    options.networkmode.clone_from(&recipe.network);
    options.shmsize = recipe.shm_bytes.and_then(|bytes| i32::try_from(bytes).ok());
    if !recipe.cache_from.is_empty() {
        options.cachefrom = Some(recipe.cache_from.clone());
    }
    options
}

/// Returns a client that names the hosts of a build: the options have place for one only.
fn with_hosts(docker: &Docker, recipe: &ImageBuild) -> Docker {
    if recipe.extra_hosts.is_empty() {
        return docker.clone();
    }
    let mut hosts = String::new();
    for (name, address) in &recipe.extra_hosts {
        hosts.push_str(&format!("&extrahosts={name}%3A"));
        hosts.push_str(&address.replace(':', "%3A"));
    }
    docker
        .clone()
        .with_request_modifier(move |mut request: BollardRequest| {
            let is_build = request.uri().path().ends_with("/build");
            let uri = format!("{}{hosts}", request.uri());
            if is_build && let Ok(uri) = uri.parse() {
                *request.uri_mut() = uri;
            }
            super::client::url_alphabet(request)
        })
}

/// The last lines of a build.
#[derive(Debug, Default)]
struct Said(VecDeque<String>);

impl Said {
    fn hear(&mut self, step: &BuildInfo) {
        let lines = step.stream.iter().flat_map(|text| text.lines());
        for line in lines.map(str::trim_end).filter(|line| !line.is_empty()) {
            if self.0.len() == TAIL_LINES {
                self.0.pop_front();
            }
            self.0.push_back(line.to_owned());
        }
    }

    fn lines(self) -> Vec<String> {
        self.0.into()
    }
}
