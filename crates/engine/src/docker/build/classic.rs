//! Builds by the builder that Docker had before BuildKit. Not what of Compose needs the other one,
//! but for saying so.

use std::collections::{HashMap, VecDeque};

use bollard::Docker;
use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder};
use bollard::{BollardRequest, body_try_stream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio_util::io::ReaderStream;
use towpath_model::container::ImageBuild;
use towpath_model::port::Artifacts;

use super::{Order, TAIL_LINES};
use crate::docker::client::url_alphabet;
use crate::docker::context::{self, Context};
use crate::docker::credentials;
use crate::docker::image::Failure;
use crate::docker::shared::Shared;

/// The file of a build's context, in the release's directory.
const CONTEXT: &str = "context.tar";

/// Has an image built. `why` is why it is not BuildKit that does it.
pub(super) async fn send(
    shared: &Shared,
    docker: &Docker,
    order: &Order<'_>,
    why: &str,
) -> Result<(), Failure> {
    if let Some(what) = wants_buildkit(order.recipe) {
        return Err(Failure::because(format!("`{what}` needs BuildKit: {why}")));
    }
    let Artifacts {
        environment,
        release,
        ..
    } = order.artifacts;
    let directory = shared.layout.release(environment, *release);
    let path = directory.join(format!("{}-{CONTEXT}", order.service));
    let to = path.clone();
    let gathered = order.read(shared, move |tree, recipe| {
        std::fs::create_dir_all(&directory)
            .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        context::gather(tree, recipe, &to)
    });
    let context = gathered.await?;
    let sent = post(shared, docker, order, &context, why).await;
    // It can be made again; what stays is removed with the release.
    drop(std::fs::remove_file(&path));
    sent
}

async fn post(
    shared: &Shared,
    docker: &Docker,
    order: &Order<'_>,
    context: &Context,
    why: &str,
) -> Result<(), Failure> {
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
                    reason: explained(shared.client.trouble(&error).words(), why),
                    log_tail: said.lines(),
                });
            }
        }
    }
    Ok(())
}

/// Returns what this builder cannot do.
fn wants_buildkit(recipe: &ImageBuild) -> Option<&'static str> {
    if !recipe.secrets.is_empty() {
        return Some("build.secrets");
    }
    (!recipe.agents.is_empty()).then_some("build.ssh")
}

/// Adds what to do.
fn explained(words: &str, why: &str) -> String {
    if words.contains("BuildKit") {
        return format!("{words} ({why})");
    }
    words.to_owned()
}

fn options(order: &Order<'_>, dockerfile: &str, data_id: &str) -> BuildImageOptions {
    let recipe = order.recipe;
    let labels: HashMap<String, String> = order.labels(data_id).into_iter().collect();
    let args: HashMap<String, String> = recipe.args.clone().into_iter().collect();
    let mut options = BuildImageOptionsBuilder::default()
        .dockerfile(dockerfile)
        .t(&order.name())
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
            url_alphabet(request)
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
