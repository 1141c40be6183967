//! A data directory with a Docker engine on it, and specifications to start. Not tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use towpath_engine::docker::{DockerConfig, DockerEngine};
use towpath_model::container::{Container, Image, ImageBuild, PullPolicy};
use towpath_model::id::{
    Digest, EnvironmentId, InstanceId, ReleaseNumber, SecretName, ServiceName,
};
use towpath_model::observation::{ArtifactState, Exit, InstanceState};
use towpath_model::port::{
    Artifacts, DataDirectory, Engine as _, EngineObservation, ImageRequest, InstanceStart, Stop,
};
use towpath_model::workload::{SecretValue, WorkloadSpec};

use super::daemon::{self, IMAGE};
use crate::support::{RealClock, state_in};

/// Nothing in these tests takes longer, on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) const FIRST: ReleaseNumber = ReleaseNumber(1);

/// An engine on a directory that is removed at the end, with all that it made on Docker.
pub(crate) struct World {
    pub(crate) engine: Arc<DockerEngine>,
    pub(crate) docker: Docker,
    pub(crate) environment: EnvironmentId,
    directory: Directory,
}

/// The directory, and whose images on which Docker are removed with it.
struct Directory {
    path: tempfile::TempDir,
    app: String,
    host: String,
}

impl Drop for Directory {
    fn drop(&mut self) {
        let data_id = daemon::data_id(self.path.path());
        daemon::clean(&self.host, &data_id, &self.app);
    }
}

impl World {
    /// Opens an engine for an app that no other test has, with a release of the tests' image.
    pub(crate) async fn new() -> Self {
        let world = Self::without_release().await;
        let services = [web(), client()];
        let images = services.map(|service| (service, pulled(IMAGE)));
        world.prepare_all(FIRST, images.into(), None, &[]).await;
        world
    }

    pub(crate) async fn without_release() -> Self {
        Self::at(&daemon::host()).await
    }

    /// Opens an engine on another Docker than that of all tests.
    pub(crate) async fn at(host: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let environment = format!("t{}/dev", daemon::data_id(directory.path()));
        Self::with(directory, &environment, host).await
    }

    pub(crate) async fn of(directory: tempfile::TempDir, environment: &str) -> Self {
        Self::with(directory, environment, &daemon::host()).await
    }

    async fn with(directory: tempfile::TempDir, environment: &str, host: &str) -> Self {
        let docker = daemon::docker(host).await;
        daemon::image(&docker).await;
        let environment: EnvironmentId = environment.parse().unwrap();
        let directory = Directory {
            path: directory,
            app: environment.app.to_string(),
            host: host.to_owned(),
        };
        Self {
            engine: open(&directory, |_| {}),
            docker,
            environment,
            directory,
        }
    }

    pub(crate) fn data(&self) -> DataDirectory {
        DataDirectory(self.path().to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path.path()
    }

    /// Drops the engine and opens another one, as a restart does.
    pub(crate) fn reopen(self) -> Self {
        self.reopen_with(|_| {})
    }

    pub(crate) fn reopen_with(self, configure: impl FnOnce(&mut DockerConfig)) -> Self {
        let Self {
            engine,
            docker,
            environment,
            directory,
        } = self;
        drop(engine);
        Self {
            engine: open(&directory, configure),
            docker,
            environment,
            directory,
        }
    }

    /// Stores a source tree of these files.
    pub(crate) fn source(&self, files: &[(&str, &str)]) -> Digest {
        let digest = Digest::of(format!("{files:?}").as_bytes());
        for (name, content) in files {
            let path = self.data().source(&digest).join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        digest
    }

    /// Makes a release of the service `web` and waits for it.
    pub(crate) async fn prepare(
        &self,
        release: ReleaseNumber,
        image: ImageRequest,
    ) -> ArtifactState {
        self.prepare_from(release, image, None).await
    }

    pub(crate) async fn prepare_from(
        &self,
        release: ReleaseNumber,
        image: ImageRequest,
        source: Option<Digest>,
    ) -> ArtifactState {
        let images = BTreeMap::from([(web(), image)]);
        self.prepare_all(release, images, source, &[]).await
    }

    /// Makes a release of the service `web` with the values of its build secrets.
    pub(crate) async fn prepare_with(
        &self,
        release: ReleaseNumber,
        image: ImageRequest,
        secrets: &[(&str, &str)],
    ) -> ArtifactState {
        let images = BTreeMap::from([(web(), image)]);
        self.prepare_all(release, images, None, secrets).await
    }

    async fn prepare_all(
        &self,
        release: ReleaseNumber,
        images: BTreeMap<ServiceName, ImageRequest>,
        source: Option<Digest>,
        secrets: &[(&str, &str)],
    ) -> ArtifactState {
        let artifacts = self.artifacts(release, images, source);
        let secrets = secrets.iter().map(|(name, value)| {
            let value = SecretValue::new(value.as_bytes().to_vec());
            (SecretName::new(*name).unwrap(), value)
        });
        let secrets = secrets.collect();
        self.engine.prepare(&artifacts, &secrets).await.unwrap();
        self.until(|observation| {
            let state = observation.artifacts.get(&release)?;
            (*state != ArtifactState::Building).then(|| state.clone())
        })
        .await
    }

    fn artifacts(
        &self,
        release: ReleaseNumber,
        images: BTreeMap<ServiceName, ImageRequest>,
        source: Option<Digest>,
    ) -> Artifacts {
        Artifacts {
            environment: self.environment.clone(),
            release,
            source,
            builds: Vec::new(),
            images,
        }
    }

    /// Begins to make a release of the service `web`.
    pub(crate) async fn begin(&self, release: ReleaseNumber, image: ImageRequest) {
        let images = BTreeMap::from([(web(), image)]);
        let artifacts = self.artifacts(release, images, None);
        let secrets = BTreeMap::new();
        self.engine.prepare(&artifacts, &secrets).await.unwrap();
    }

    /// Returns the tag of the image of the service `web`.
    pub(crate) fn tag(&self, release: ReleaseNumber) -> String {
        format!("towpath/{}-dev-web:r{release}", self.environment.app)
    }

    /// Waits until something is seen.
    pub(crate) async fn until<T>(&self, seen: impl Fn(&EngineObservation) -> Option<T>) -> T {
        let waiting = async {
            loop {
                // Docker may be away for a while.
                if let Ok(observation) = self.engine.observe(&self.environment).await
                    && let Some(found) = seen(&observation)
                {
                    return found;
                }
                self.engine.changed(&self.environment).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("it is never seen")
    }

    pub(crate) async fn state(&self, id: &InstanceId) -> Option<InstanceState> {
        let observation = self.engine.observe(&self.environment).await.unwrap();
        state_in(&observation, id)
    }

    pub(crate) async fn until_running(&self, id: &InstanceId) -> std::net::SocketAddr {
        self.until(|observation| match state_in(observation, id)? {
            InstanceState::Running { address, .. } => Some(address),
            InstanceState::Starting => None,
            other => panic!("{other:?}"),
        })
        .await
    }

    pub(crate) async fn until_exited(&self, id: &InstanceId) -> Exit {
        self.until(|observation| match state_in(observation, id)? {
            InstanceState::Exited(exit) => Some(exit),
            _ => None,
        })
        .await
    }

    pub(crate) fn id(&self, number: u32) -> InstanceId {
        InstanceId {
            environment: self.environment.clone(),
            service: web(),
            number,
        }
    }

    pub(crate) async fn start(&self, number: u32, spec: WorkloadSpec) -> InstanceId {
        self.start_with(number, spec, &[]).await
    }

    pub(crate) async fn start_with(
        &self,
        number: u32,
        spec: WorkloadSpec,
        secrets: &[(&str, &str)],
    ) -> InstanceId {
        let start = InstanceStart {
            id: InstanceId {
                service: spec.service.clone(),
                ..self.id(number)
            },
            workload: spec.id(),
            release: FIRST,
            spec: Arc::new(spec),
            fixed_port: None,
            peers: BTreeMap::new(),
        };
        let secrets = secrets.iter().map(|(name, value)| {
            let value = SecretValue::new(value.as_bytes().to_vec());
            (SecretName::new(*name).unwrap(), value)
        });
        let secrets: BTreeMap<_, _> = secrets.collect();
        self.engine.start(&start, &secrets).await.unwrap();
        start.id
    }

    pub(crate) async fn stop(&self, id: &InstanceId) -> Exit {
        let stop = Stop {
            signal: "SIGTERM".to_owned(),
            grace: Duration::from_secs(10),
        };
        self.engine.stop(id, &stop).await.unwrap();
        self.until_exited(id).await
    }

    /// Returns the name of an instance's container.
    pub(crate) fn container(&self, id: &InstanceId) -> String {
        let EnvironmentId { app, name } = &self.environment;
        format!("{app}-{name}-{}-{}", id.service, id.number)
    }
}

fn open(directory: &Directory, configure: impl FnOnce(&mut DockerConfig)) -> Arc<DockerEngine> {
    let mut config = DockerConfig::new(Some(directory.host.clone()));
    configure(&mut config);
    let data = DataDirectory(directory.path.path().to_owned());
    Arc::new(DockerEngine::open(&data, Arc::new(RealClock), config).unwrap())
}

pub(crate) fn web() -> ServiceName {
    ServiceName::new("web").unwrap()
}

/// A second service of every release.
pub(crate) fn client() -> ServiceName {
    ServiceName::new("client").unwrap()
}

pub(crate) fn pulled(reference: &str) -> ImageRequest {
    ImageRequest {
        image: Image::Pulled {
            reference: reference.to_owned(),
            policy: PullPolicy::Missing,
        },
        platform: None,
    }
}

pub(crate) fn built(recipe: ImageBuild) -> ImageRequest {
    ImageRequest {
        image: Image::Built(Box::new(recipe)),
        platform: None,
    }
}

/// Returns a recipe of a Dockerfile's text.
pub(crate) fn inline(text: &str) -> ImageBuild {
    ImageBuild {
        dockerfile_inline: Some(text.to_owned()),
        ..ImageBuild::default()
    }
}

/// Returns why an image could not be made, and the last lines of its build.
pub(crate) fn failure(state: ArtifactState) -> (String, Vec<String>) {
    match state {
        ArtifactState::Failed {
            reason, log_tail, ..
        } => (reason, log_tail),
        other => panic!("{other:?}"),
    }
}

/// Returns a specification of a shell line in a container.
pub(crate) fn spec(line: &str) -> WorkloadSpec {
    let mut spec = crate::support::spec("");
    let words = ["/bin/sh", "-c", line].map(str::to_owned);
    spec.container = Some(Box::new(Container {
        entrypoint: Some(words.to_vec()),
        ..Container::default()
    }));
    spec
}
