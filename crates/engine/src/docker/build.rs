//! Builds images from a release's source tree: by BuildKit where Docker has it, else by the builder
//! before it. Not the gathering of what is sent ([`super::context`]).

mod builder;
mod buildkit;
mod classic;
mod grpc;
mod named;
mod progress;
mod proto;
mod session;
mod sync;

use std::collections::BTreeMap;
use std::path::Path;

use bollard::Docker;
use towpath_model::container::ImageBuild;
use towpath_model::id::{SecretName, ServiceName};
use towpath_model::port::Artifacts;
use towpath_model::workload::SecretValue;

use self::builder::Builder;
use self::progress::Hidden;
use super::client::Trouble;
use super::image::{self, Failure};
use super::names;
use super::shared::Shared;
use super::state::PinnedImage;

/// How many of a build's last lines say what went wrong.
const TAIL_LINES: usize = 40;

/// An image to build.
pub(super) struct Order<'a> {
    pub(super) artifacts: &'a Artifacts,
    pub(super) service: &'a ServiceName,
    pub(super) recipe: &'a ImageBuild,
    pub(super) platform: Option<&'a str>,
    /// The values of the secrets that recipes name.
    pub(super) secrets: &'a BTreeMap<SecretName, SecretValue>,
    /// What the image is made for, where it is not the service's own.
    pub(super) named: Option<&'a str>,
}

impl Order<'_> {
    /// Reads what is built, by a function of the release's source tree and the recipe.
    async fn read<T, F>(&self, shared: &Shared, read: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(Option<&Path>, &ImageBuild) -> Result<T, String> + Send + 'static,
    {
        let source = self.artifacts.source.as_ref();
        let tree = source.map(|digest| shared.layout.data.source(digest));
        let recipe = self.recipe.clone();
        let reading = tokio::task::spawn_blocking(move || read(tree.as_deref(), &recipe));
        match reading.await {
            Ok(done) => done.map_err(Failure::because),
            Err(error) => Err(Failure::because(error.to_string())),
        }
    }

    /// Returns the name that the image gets.
    fn name(&self) -> String {
        let Artifacts {
            environment,
            release,
            ..
        } = self.artifacts;
        let (repository, tag) = names::image(environment, self.service, *release);
        match self.named {
            Some(name) => format!("{repository}:{tag}-{name}"),
            None => format!("{repository}:{tag}"),
        }
    }

    /// Returns the labels that the image gets.
    fn labels(&self, data_id: &str) -> BTreeMap<String, String> {
        let mut labels = self.recipe.labels.clone();
        labels.extend(names::labels(data_id, &self.artifacts.environment));
        labels
    }
}

/// Builds an image.
pub(super) async fn image(
    shared: &Shared,
    docker: &Docker,
    order: &Order<'_>,
) -> Result<PinnedImage, Failure> {
    let hidden = Hidden::of(order.secrets.values());
    let built = built(shared, docker, order).await;
    built.map_err(|failure| Failure {
        reason: hidden.out_of(&format!(
            "the build of `{}`: {}",
            order.service, failure.reason
        )),
        log_tail: failure
            .log_tail
            .iter()
            .map(|line| hidden.out_of(line))
            .collect(),
    })
}

async fn built(
    shared: &Shared,
    docker: &Docker,
    order: &Order<'_>,
) -> Result<PinnedImage, Failure> {
    if order.recipe.contexts.is_empty() {
        send(shared, docker, order).await?;
    } else {
        named::send_with_contexts(shared, docker, order).await?;
    }
    let found = docker.inspect_image(&order.name()).await;
    let found = found.map_err(|error| -> Trouble { shared.client.trouble(&error) })?;
    let image = image::pinned(found, None);
    let mut image = image.ok_or_else(|| Failure::because("Docker has no id for what it built"))?;
    // What is built here is in no registry, whatever its base images' digests are.
    image.digest = None;
    Ok(image)
}

/// Has an image built by the builder that there is.
async fn send(shared: &Shared, docker: &Docker, order: &Order<'_>) -> Result<(), Failure> {
    match builder::of(&shared.client).await? {
        Builder::BuildKit => buildkit::send(shared, docker, order).await,
        Builder::Classic(why) => classic::send(shared, docker, order, why).await,
    }
}
