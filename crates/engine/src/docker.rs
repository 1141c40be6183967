//! Containers, by the API of a Docker Engine on this machine. Not their number, health or traffic,
//! which are the platform's.
//!
//! What Docker keeps (containers, images, networks, volumes) is found by labels; what it does not
//! keep is in files under the data directory ([`state`]). So another control plane can take over
//! after any crash. Docker is connected to when it is first needed, and may go away at any time.

mod adopt;
mod body;
mod build;
mod client;
pub mod config;
mod console;
mod context;
mod credentials;
mod disk;
mod ended;
mod events;
mod exec;
mod files;
mod given;
mod hijack;
mod ignore;
mod image;
mod join;
mod limits;
mod logs;
mod mounts;
mod names;
mod naming;
mod network;
mod observe;
mod one_off;
mod open;
mod pull;
mod rejoin;
mod removal;
mod session;
mod shared;
mod start;
mod state;
mod stop;
#[cfg(test)]
mod testing;
mod usage;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use towpath_model::adoption::AdoptedContainer;
use towpath_model::adoption::found::FoundProject;
use towpath_model::id::{EnvironmentId, InstanceId, ReleaseNumber, SecretName, ServiceName};
use towpath_model::observation::ArtifactState;
use towpath_model::port::{
    Artifacts, Capabilities, Clock, DataDirectory, Engine, EngineObservation, FilesTaken,
    FilesWanted, InstanceStart, LogLines, LogQuery, PortError, Stop, Volumes,
};
use towpath_model::workload::{Command, SecretValue};

pub use self::config::{DockerConfig, Names};
use self::observe::Look;
pub use self::open::OpenError;
use self::shared::{Instance, Shared, Work};
use self::state::StopOrder;
use crate::probe::RunInInstance;

/// The longest time between two looks, though nothing was heard of Docker.
const TICK: Duration = Duration::from_secs(2);

/// Runs instances as containers of a Docker Engine.
#[derive(Debug)]
pub struct DockerEngine {
    shared: Arc<Shared>,
    tasks: Mutex<Tasks>,
    runtime: tokio::runtime::Handle,
}

#[derive(Debug, Default)]
struct Tasks {
    running: JoinSet<()>,
    listening: bool,
}

impl DockerEngine {
    /// Opens what the data directory has. Docker is not asked before something needs it. The
    /// caller holds the data directory's lock, and calls from within a runtime.
    ///
    /// Dropping the engine leaves the instances running; pulls and builds end with it.
    pub fn open(
        data: &DataDirectory,
        clock: Arc<dyn Clock>,
        config: DockerConfig,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            shared: Arc::new(open::open(data, clock, config)?),
            tasks: Mutex::default(),
            runtime: tokio::runtime::Handle::current(),
        })
    }

    /// Tells whether an environment has or had containers here.
    pub fn knows(&self, environment: &EnvironmentId) -> bool {
        self.shared.lock().contains_key(environment)
    }

    /// Tells whether an instance is a container of this engine's.
    pub fn has(&self, id: &InstanceId) -> bool {
        self.shared.instance(id).is_some()
    }

    /// Tells whether a service of an environment has an instance.
    pub(crate) fn has_service(&self, environment: &EnvironmentId, service: &ServiceName) -> bool {
        let known = self.shared.lock();
        let known = known.get(environment);
        known.is_some_and(|known| known.instances.keys().any(|id| &id.service == service))
    }

    /// Runs a task until it ends or the engine is dropped.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.running.try_join_next().is_some() {}
        tasks.running.spawn_on(task, &self.runtime);
    }

    /// Begins to listen to Docker, once.
    fn listen(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if !tasks.listening {
            tasks.listening = true;
            let listening = events::listen(Arc::clone(&self.shared));
            tasks.running.spawn_on(listening, &self.runtime);
        }
    }

    async fn look(&self, environment: &EnvironmentId) -> Result<Look, PortError> {
        if !self.knows(environment) {
            return Ok(Look::default());
        }
        self.listen();
        let look = observe::look(&self.shared, environment).await?;
        for (id, work) in &look.orphaned {
            self.take_up(id, *work);
        }
        Ok(look)
    }

    /// Goes on with what a control plane before this one, or a Docker that went away, left.
    fn take_up(&self, id: &InstanceId, work: Work) {
        {
            let mut known = self.shared.lock();
            let environment = known.get_mut(&id.environment);
            let Some(instance) =
                environment.and_then(|environment| environment.instances.get_mut(id))
            else {
                return;
            };
            if instance.work != Work::None {
                return;
            }
            instance.work = work;
        }
        let (shared, id) = (Arc::clone(&self.shared), id.clone());
        match work {
            Work::None => {}
            Work::Starting => self.spawn(start::resume(shared, id)),
            Work::Stopping => self.spawn(stop::run(shared, id)),
            Work::Joining => self.spawn(rejoin::run(shared, id)),
            Work::Limiting => self.spawn(limits::run(shared, id)),
        }
    }

    /// Writes an instance down. `false` when there is one with this id.
    fn insert(&self, start: &InstanceStart) -> Result<bool, PortError> {
        let id = &start.id;
        let mut known = self.shared.lock();
        let environment = known.entry(id.environment.clone()).or_default();
        if environment.instances.contains_key(id) {
            return Ok(false);
        }
        let release = environment.releases.get(&start.release);
        let file = release.map(|release| &release.file);
        if !file.is_some_and(|file| file.state == ArtifactState::Ready) {
            return Err(PortError::Failed {
                attempted: format!("start {id}"),
                reason: format!("the images of release {} are not ready", start.release),
            });
        }
        let image = file.and_then(|file| file.images.get(&id.service));
        let record = start::record(start, image);
        let written = self.shared.write(&record);
        written.map_err(|error| shared::failed(format!("start {id}"), &error))?;
        let instance = Instance {
            record,
            work: Work::Starting,
            seen: None,
            paused: false,
            hand: None,
            limits: None,
        };
        environment.instances.insert(id.clone(), instance);
        Ok(true)
    }
}

#[async_trait]
impl Engine for DockerEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            engine: "docker".to_owned(),
            limits: Ok(()),
            users: Ok(()),
        }
    }

    async fn observe(&self, environment: &EnvironmentId) -> Result<EngineObservation, PortError> {
        let look = self.look(environment).await?;
        // Here alone: whoever observes is told of it before it is as it was.
        for one in &look.instances {
            if one.limits.as_ref().is_some_and(|found| found.is_put_back) {
                self.take_up(&one.id, Work::Limiting);
            }
        }
        let known = self.shared.lock();
        let releases = known.get(environment).map(|known| &known.releases);
        let artifacts = releases
            .into_iter()
            .flatten()
            .map(|(number, release)| (*number, release.file.state.clone()));
        Ok(EngineObservation {
            instances: look.instances,
            artifacts: artifacts.collect(),
            networks: look.networks,
        })
    }

    async fn changed(&self, environment: &EnvironmentId) {
        let changes = self.shared.changes.of(environment);
        if self.knows(environment) {
            // Docker's word may be lost.
            drop(tokio::time::timeout(TICK, changes.notified()).await);
        } else {
            changes.notified().await;
        }
    }

    async fn prepare(
        &self,
        artifacts: &Artifacts,
        secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<(), PortError> {
        let directory = self.shared.layout.environment(&artifacts.environment);
        std::fs::create_dir_all(&directory)
            .map_err(|error| shared::failed(format!("make {}", directory.display()), &error))?;
        if let Some(task) = image::begin(&self.shared, artifacts, secrets) {
            self.spawn(task);
        }
        self.listen();
        Ok(())
    }

    async fn start(
        &self,
        start: &InstanceStart,
        secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<(), PortError> {
        if self.insert(start)? {
            let order = start::Order {
                start: start.clone(),
                secrets: secrets.clone(),
            };
            self.spawn(start::run(Arc::clone(&self.shared), order));
        }
        self.listen();
        self.shared.tell(&start.id.environment);
        Ok(())
    }

    async fn stop(&self, id: &InstanceId, stop: &Stop) -> Result<(), PortError> {
        let now = self.shared.clock.now();
        let written = self.shared.change(id, |record| {
            if !matches!(record.stage, state::Stage::Ended(_)) && record.stop.is_none() {
                record.stop = Some(StopOrder::new(stop, now));
            }
        });
        let record = written.map_err(|error| shared::failed(format!("stop {id}"), &error))?;
        if record.is_some_and(|record| record.stop.is_some()) {
            // One that starts is stopped by whoever starts it.
            self.take_up(id, Work::Stopping);
        }
        Ok(())
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), PortError> {
        self.look(&id.environment).await?;
        removal::instance(&self.shared, id).await
    }

    async fn keep_artifacts(
        &self,
        environment: &EnvironmentId,
        releases: &[ReleaseNumber],
    ) -> Result<(), PortError> {
        removal::give_up(&self.shared, environment, |one| !releases.contains(&one)).await;
        self.look(environment).await?;
        removal::keep(&self.shared, environment, releases).await
    }

    async fn destroy(
        &self,
        environment: &EnvironmentId,
        volumes: Volumes,
    ) -> Result<(), PortError> {
        removal::give_up(&self.shared, environment, |_| true).await;
        self.look(environment).await?;
        removal::environment(&self.shared, environment, volumes).await
    }

    async fn compose_projects(&self) -> Result<Vec<FoundProject>, PortError> {
        let found = adopt::projects(&self.shared).await;
        found.map_err(|trouble| trouble.failed("look for Docker Compose projects"))
    }

    async fn adopt(&self, container: &AdoptedContainer) -> Result<(), PortError> {
        adopt::adopt(&self.shared, container).await?;
        self.listen();
        Ok(())
    }

    async fn let_go(&self, id: &InstanceId) -> Result<(), PortError> {
        adopt::let_go(&self.shared, id)
    }

    async fn give_files(
        &self,
        environment: &EnvironmentId,
        service: &ServiceName,
        archives: &[PathBuf],
    ) -> Result<(), PortError> {
        files::keep(&self.shared, environment, service, archives)
    }

    async fn take_files(
        &self,
        environment: &EnvironmentId,
        service: &ServiceName,
        wanted: &FilesWanted,
        archive: &Path,
    ) -> Result<FilesTaken, PortError> {
        files::take(&self.shared, environment, service, wanted, archive).await
    }

    async fn logs(
        &self,
        environment: &EnvironmentId,
        query: &LogQuery,
    ) -> Result<Box<dyn LogLines>, PortError> {
        self.look(environment).await?;
        logs::open(&self.shared, environment, query).await
    }
}

#[async_trait]
impl RunInInstance for DockerEngine {
    async fn run_in(&self, id: &InstanceId, command: &Command) -> Result<(), String> {
        let (outcome, ended) = tokio::sync::oneshot::channel();
        let (shared, id, command) = (Arc::clone(&self.shared), id.clone(), command.clone());
        // A task of its own: whoever stops waiting leaves nothing running.
        self.spawn(exec::check(shared, id, command, outcome));
        let ended = ended.await;
        ended.unwrap_or_else(|_| Err("the engine is shutting down".to_owned()))
    }

    fn own_check(&self, id: &InstanceId) -> Option<Command> {
        exec::own_check(&self.shared, id)
    }

    fn ailment(&self, id: &InstanceId) -> Option<String> {
        let instance = self
            .shared
            .instance(id)
            .filter(|instance| instance.paused)?;
        let container = instance.record.container();
        Some(format!(
            "its container is paused (`docker unpause {container}` has it go on)"
        ))
    }
}
