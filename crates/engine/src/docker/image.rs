//! Makes the images of releases, once for each, and keeps them by tags of our own so that nothing
//! prunes them. Not the pulling ([`super::pull`]) and building ([`super::build`]).

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use bollard::Docker;
use bollard::models::ImageInspect;
use bollard::query_parameters::TagImageOptionsBuilder;
use tokio_util::sync::{CancellationToken, DropGuard};
use towpath_model::container::Image;
use towpath_model::id::{EnvironmentId, ReleaseNumber, SecretName, ServiceName};
use towpath_model::observation::ArtifactState;
use towpath_model::port::{Artifacts, ImageRequest, InstanceStart};
use towpath_model::workload::{Command, SecretValue};

use super::client::Trouble;
use super::shared::{Environment, Release, Shared};
use super::state::{PinnedImage, RELEASE, ReleaseFile};
use super::{build, disk, names, pull};
use crate::shim::files;

/// The values of the secrets that images are built with.
pub(super) type Secrets = BTreeMap<SecretName, SecretValue>;

/// Why an image is not there.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// The last lines of the build.
    pub(super) log_tail: Vec<String>,
}

impl Failure {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            log_tail: Vec::new(),
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::because(trouble.words())
    }
}

/// Begins to make a release's images, unless they are there or being made. The returned task does
/// it.
pub(super) fn begin(
    shared: &Arc<Shared>,
    artifacts: &Artifacts,
    secrets: &Secrets,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    let (cancel, done) = (CancellationToken::new(), CancellationToken::new());
    {
        let mut known = shared.lock();
        let environment = known.entry(artifacts.environment.clone()).or_default();
        let there = environment.releases.get(&artifacts.release);
        if there.is_some_and(|there| !matches!(there.file.state, ArtifactState::Failed { .. })) {
            return None;
        }
        let release = Release {
            file: ReleaseFile {
                artifacts: artifacts.clone(),
                state: ArtifactState::Building,
                images: BTreeMap::new(),
            },
            making: Some((cancel.clone(), done.clone())),
        };
        environment.releases.insert(artifacts.release, release);
    }
    shared.tell(&artifacts.environment);
    let (shared, artifacts) = (Arc::clone(shared), artifacts.clone());
    let secrets = secrets.clone();
    Some(prepare(
        shared,
        artifacts,
        secrets,
        cancel,
        done.drop_guard(),
    ))
}

async fn prepare(
    shared: Arc<Shared>,
    artifacts: Artifacts,
    secrets: Secrets,
    cancel: CancellationToken,
    done: DropGuard,
) {
    let (id, number) = (artifacts.environment.clone(), artifacts.release);
    let made = tokio::select! {
        made = make_all(&shared, &artifacts, &secrets) => made,
        () = cancel.cancelled() => {
            // Docker ends a build and a pull whose connection is closed.
            if let Some(known) = shared.lock().get_mut(&id) {
                known.releases.remove(&number);
            }
            drop(done);
            shared.tell(&id);
            return;
        }
    };
    let (state, images) = match made {
        Ok(images) => (ArtifactState::Ready, images),
        Err(Failure { reason, log_tail }) => {
            let at = shared.clock.now();
            let state = ArtifactState::Failed {
                reason,
                log_tail,
                at,
            };
            (state, BTreeMap::new())
        }
    };
    let mut file = ReleaseFile {
        artifacts,
        state,
        images,
    };
    if let Err(error) = write(&shared, &file) {
        // What cannot be written down is not ready.
        file.state = ArtifactState::Failed {
            reason: format!("cannot write the release down: {error}"),
            log_tail: Vec::new(),
            at: shared.clock.now(),
        };
    }
    let release = Release { file, making: None };
    let mut known = shared.lock();
    let environment = known.entry(id.clone()).or_default();
    environment.releases.insert(number, release);
    drop(known);
    drop(done);
    shared.tell(&id);
}

pub(super) fn write(shared: &Shared, file: &ReleaseFile) -> std::io::Result<()> {
    let Artifacts {
        environment,
        release,
        ..
    } = &file.artifacts;
    let directory = shared.layout.release(environment, *release);
    fs::create_dir_all(&directory)?;
    files::write(&directory.join(RELEASE), file)
}

async fn make_all(
    shared: &Shared,
    artifacts: &Artifacts,
    secrets: &Secrets,
) -> Result<BTreeMap<ServiceName, PinnedImage>, Failure> {
    let docker = shared.client.get().await?;
    disk::check(shared, &docker).await?;
    let mut made: Vec<(&ImageRequest, PinnedImage)> = Vec::new();
    let mut images = BTreeMap::new();
    for (service, request) in &artifacts.images {
        let same = made.iter().find(|(one, _)| *one == request);
        let image = match same {
            Some((_, image)) => image.clone(),
            None => match made_before(shared, &docker, artifacts, request).await? {
                Some(image) => image,
                None => make(shared, &docker, artifacts, service, secrets).await?,
            },
        };
        keep(shared, &docker, artifacts, service, &image).await?;
        made.push((request, image.clone()));
        images.insert(service.clone(), image);
    }
    Ok(images)
}

/// Returns the image that was made for the same before, where Docker still has it.
async fn made_before(
    shared: &Shared,
    docker: &Docker,
    artifacts: &Artifacts,
    request: &ImageRequest,
) -> Result<Option<PinnedImage>, Trouble> {
    let found = {
        let known = shared.lock();
        let elsewhere = of_release(&known, artifacts, request);
        elsewhere.or_else(|| of_content(&known, artifacts, request))
    };
    let Some(image) = found else {
        return Ok(None);
    };
    let there = docker.inspect_image(&image.id).await;
    match there.map_err(|error| shared.client.trouble(&error)) {
        Ok(_) => Ok(Some(image)),
        Err(Trouble::Missing(_)) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// Returns the image that the same release has in another environment of the app: what was tried there
/// is what comes here, whatever a build or a tag would give now.
fn of_release(
    known: &BTreeMap<EnvironmentId, Environment>,
    artifacts: &Artifacts,
    request: &ImageRequest,
) -> Option<PinnedImage> {
    if let Image::Built(recipe) = &request.image
        && !recipe.secrets.is_empty()
    {
        // Each environment has values of its own, and a build may leave them in the image.
        return None;
    }
    let app = &artifacts.environment.app;
    let mut environments = known.iter().filter(|(id, _)| id.app == *app);
    environments.find_map(|(_, known)| known.releases.get(&artifacts.release)?.has(request))
}

/// Returns the image that another release of the environment built of the same content.
fn of_content(
    known: &BTreeMap<EnvironmentId, Environment>,
    artifacts: &Artifacts,
    request: &ImageRequest,
) -> Option<PinnedImage> {
    let Image::Built(recipe) = &request.image else {
        return None;
    };
    // What it is built of has to be known, and nothing may have to be asked of the world again.
    if recipe.content.is_none() || recipe.no_cache || recipe.pull {
        return None;
    }
    let releases = &known.get(&artifacts.environment)?.releases;
    releases
        .iter()
        .rev()
        .find_map(|(_, release)| release.has(request))
}

impl Release {
    /// Returns the image that was made for a service for which the same was asked.
    fn has(&self, request: &ImageRequest) -> Option<PinnedImage> {
        let mut same = self.file.artifacts.images.iter();
        same.find_map(|(service, one)| {
            let image = self.file.images.get(service)?;
            (one == request).then(|| image.clone())
        })
    }
}

async fn make(
    shared: &Shared,
    docker: &Docker,
    artifacts: &Artifacts,
    service: &ServiceName,
    secrets: &Secrets,
) -> Result<PinnedImage, Failure> {
    let Some(request) = artifacts.images.get(service) else {
        let reason = format!("nobody said what the image of `{service}` is");
        return Err(Failure::because(reason));
    };
    let platform = request.platform.as_deref();
    match &request.image {
        Image::Pulled { reference, policy } => {
            pull::image(shared, docker, reference, *policy, platform)
                .await
                .map_err(|reason| Failure::because(format!("the image of `{service}`: {reason}")))
        }
        Image::Built(recipe) => {
            let order = build::Order {
                artifacts,
                service,
                recipe,
                platform,
                secrets,
                named: None,
            };
            build::image(shared, docker, &order).await
        }
    }
}

/// Gives an image a tag that stays as long as the release does.
async fn keep(
    shared: &Shared,
    docker: &Docker,
    artifacts: &Artifacts,
    service: &ServiceName,
    image: &PinnedImage,
) -> Result<(), Trouble> {
    let (repository, tag) = names::image(&artifacts.environment, service, artifacts.release);
    let options = TagImageOptionsBuilder::default()
        .repo(&repository)
        .tag(&tag)
        .build();
    let tagged = docker.tag_image(&image.id, Some(options)).await;
    tagged.map_err(|error| shared.client.trouble(&error))
}

/// Tells whether an image still has the tag that keeps it: somebody may have taken it away.
fn is_kept(found: &ImageInspect, artifacts: &Artifacts, service: &ServiceName) -> bool {
    let (repository, tag) = names::image(&artifacts.environment, service, artifacts.release);
    let own = format!("{repository}:{tag}");
    found.repo_tags.iter().flatten().any(|tag| *tag == own)
}

/// Returns what is remembered of an image that Docker has.
pub(super) fn pinned(found: ImageInspect, brought: Option<String>) -> Option<PinnedImage> {
    let config = found.config.unwrap_or_default();
    let mut ports: Vec<u16> = config
        .exposed_ports
        .into_iter()
        .flatten()
        .filter_map(|port| port.strip_suffix("/tcp").unwrap_or(&port).parse().ok())
        .collect();
    ports.sort_unstable();
    Some(PinnedImage {
        id: found.id?,
        digest: found.repo_digests.into_iter().flatten().next(),
        brought,
        port: ports.first().copied(),
        check: config.healthcheck.and_then(|check| command(&check.test?)),
    })
}

/// Reads the command of an image's health check.
fn command(test: &[String]) -> Option<Command> {
    match test.split_first() {
        Some((kind, [line])) if kind == "CMD-SHELL" => Some(Command::Shell(line.clone())),
        Some((kind, words)) if kind == "CMD" && !words.is_empty() => {
            Some(Command::Exec(words.to_vec()))
        }
        _ => None,
    }
}

/// Returns what a release remembers of a service's image.
pub(super) fn of(
    shared: &Shared,
    environment: &EnvironmentId,
    release: ReleaseNumber,
    service: &ServiceName,
) -> Option<(PinnedImage, Artifacts)> {
    let known = shared.lock();
    let file = &known.get(environment)?.releases.get(&release)?.file;
    Some((file.images.get(service)?.clone(), file.artifacts.clone()))
}

/// Returns the image that an instance runs, which is made again when somebody removed it.
pub(super) async fn present(
    shared: &Shared,
    docker: &Docker,
    start: &InstanceStart,
    secrets: &Secrets,
) -> Result<PinnedImage, Trouble> {
    let (environment, service) = (&start.id.environment, &start.id.service);
    let Some((image, artifacts)) = of(shared, environment, start.release, service) else {
        return Err(Trouble::Refused(format!(
            "release {} has no image for `{service}`",
            start.release
        )));
    };
    let found = docker.inspect_image(&image.id).await;
    match found.map_err(|error| shared.client.trouble(&error)) {
        Ok(found) => {
            if !is_kept(&found, &artifacts, service) {
                keep(shared, docker, &artifacts, service, &image).await?;
            }
            return Ok(image);
        }
        Err(Trouble::Missing(_)) => {}
        Err(trouble) => return Err(trouble),
    }
    tracing::warn!(instance = %start.id, image = image.id, "the image was removed and is made again");
    let again = match &image.digest {
        // The very same, whatever its tag means by now.
        Some(digest) => pull::again(shared, docker, digest).await.ok(),
        None => None,
    };
    let again = match again {
        Some(again) => again,
        None => make(shared, docker, &artifacts, service, secrets)
            .await
            .map_err(|failure| {
                let reason = failure.reason;
                Trouble::Refused(format!(
                    "its image was removed and cannot be made again: {reason}"
                ))
            })?,
    };
    keep(shared, docker, &artifacts, service, &again).await?;
    let mut known = shared.lock();
    let release = known
        .get_mut(environment)
        .and_then(|known| known.releases.get_mut(&start.release));
    if let Some(release) = release {
        release.file.images.insert(service.clone(), again.clone());
        let written = write(shared, &release.file);
        written.map_err(|error| Trouble::Refused(format!("cannot write it down: {error}")))?;
    }
    Ok(again)
}
