//! An engine, a prober and a router that do at once what they are told, in memory: for tests of what
//! stands above the ports. Not the simulation, which has faults, a clock of its own, and seeds.

mod console;
mod draft;
mod files;
mod log;
mod notifier;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result as Anyhow;
use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Notify;
use towpath_control::{Config, Platform, Ports};
use towpath_model::adoption::takeover::Redirect;
use towpath_model::console::DetachedEnd;
use towpath_model::id::{EnvironmentId, InstanceId, ReleaseNumber, SecretName, ServiceName};
use towpath_model::observation::{
    ArtifactState, Exit, InstanceState, ObservedInstance, ProbeRecord,
};
use towpath_model::port::{
    Artifacts, Capabilities, Clock, DataDirectory, Engine, EngineObservation, FilesTaken,
    FilesWanted, InstanceStart, LogLines, LogQuery, PortError, ProbeTarget, Prober, Redirects,
    Router, Stop, Volumes,
};
use towpath_model::repository::GitProgram;
use towpath_model::routing::{RouteTable, RouterReport};
use towpath_model::workload::{Command, SecretValue};
use towpath_pipeline::GitRepositories;
use towpath_store::{MasterKey, Store};

pub use console::WorldConsole;
pub use draft::draft;
pub use log::Logs;
pub use notifier::Letters;

/// The clock of the machine.
#[derive(Debug)]
pub struct Now;

impl Clock for Now {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Everything that runs. It outlives any control plane.
#[derive(Debug, Default)]
pub struct World {
    /// What people were told.
    pub letters: Arc<Letters>,
    state: Mutex<State>,
    moved: Notify,
}

/// The bytes of archives.
type Archives = Vec<Vec<u8>>;

#[derive(Debug, Default)]
struct State {
    instances: BTreeMap<InstanceId, ObservedInstance>,
    artifacts: BTreeSet<(EnvironmentId, ReleaseNumber)>,
    table: RouteTable,
    secrets: Vec<(String, Vec<u8>)>,
    destroyed: Vec<(EnvironmentId, Volumes)>,
    starts: u32,
    removal: Removal,
    logs: Logs,
    ill: BTreeSet<InstanceId>,
    one_offs: BTreeSet<InstanceId>,
    detached: Vec<DetachedEnd>,
    given: BTreeMap<(EnvironmentId, ServiceName), Archives>,
    left: BTreeMap<String, Vec<u8>>,
}

impl State {
    /// Keeps what was revealed.
    fn given(&mut self, secrets: &BTreeMap<SecretName, SecretValue>) {
        for (name, value) in secrets {
            let value = value.expose().to_vec();
            self.secrets.push((name.to_string(), value));
        }
    }
}

/// How the engine takes it that an environment is to be removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Removal {
    /// It does so.
    #[default]
    Works,
    /// It fails.
    Fails,
    /// It does not end.
    Hangs,
}

impl World {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.moved.notify_waiters();
        value
    }

    /// Starts a platform in this world, with its store in a directory. Port 9 is never free.
    pub async fn platform(self: &Arc<Self>, directory: &Path) -> Anyhow<Platform> {
        let key = MasterKey::from_directory(directory)?;
        let data = DataDirectory(directory.to_owned());
        let ports = Ports {
            store: Arc::new(Store::open(directory, key).await?),
            engine: Arc::new(WorldEngine(Arc::clone(self))),
            console: Arc::new(WorldConsole(Arc::clone(self))),
            prober: Arc::new(WorldProber::new(Arc::clone(self))),
            router: Arc::new(WorldRouter(Arc::clone(self))),
            notifier: Arc::<Letters>::clone(&self.letters),
            forges: Arc::<Letters>::clone(&self.letters),
            redirects: Arc::new(WorldRedirects::default()),
            repositories: Arc::new(GitRepositories::new(data.clone(), GitProgram::default())),
            clock: Arc::new(Now),
            is_free: Arc::new(|address| address.port() != 9),
        };
        let config = Config::new(data);
        Ok(Platform::start(config, ports).await?)
    }

    /// Returns the local ids of the instances that run.
    pub fn running(&self) -> Vec<String> {
        self.change(|state| {
            let runs = |one: &&ObservedInstance| matches!(one.state, InstanceState::Running { .. });
            state
                .instances
                .values()
                .filter(runs)
                .map(|one| one.id.local())
                .collect()
        })
    }

    /// Returns how many instances were ever started.
    pub fn starts(&self) -> u32 {
        self.change(|state| state.starts)
    }

    /// Returns the table in force.
    pub fn table(&self) -> RouteTable {
        self.change(|state| state.table.clone())
    }

    /// Returns every secret value that an instance was given.
    pub fn secrets(&self) -> Vec<(String, Vec<u8>)> {
        self.change(|state| state.secrets.clone())
    }

    /// Returns the environments that were destroyed.
    pub fn destroyed(&self) -> Vec<(EnvironmentId, Volumes)> {
        self.change(|state| state.destroyed.clone())
    }

    /// Has the engine remove environments like this from now on.
    pub fn set_removal(&self, removal: Removal) {
        self.change(|state| state.removal = removal);
    }

    /// Has the engine read logs like this from now on.
    pub fn set_logs(&self, logs: Logs) {
        self.change(|state| state.logs = logs);
    }

    async fn moved(&self) {
        // A move between the look and the wait is caught by the short wait.
        drop(tokio::time::timeout(Duration::from_millis(20), self.moved.notified()).await);
    }
}

fn exited(code: i32) -> InstanceState {
    InstanceState::Exited(Exit {
        code: Some(code),
        signal: None,
        error: None,
        is_by_hand: false,
        note: None,
        at: Timestamp::now(),
        log_tail: vec!["the last line".to_owned()],
    })
}

/// The engine of a world.
#[derive(Debug)]
pub struct WorldEngine(pub Arc<World>);

#[async_trait]
impl Engine for WorldEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            engine: "world".to_owned(),
            limits: Ok(()),
            users: Ok(()),
        }
    }

    async fn observe(&self, environment: &EnvironmentId) -> Result<EngineObservation, PortError> {
        Ok(self.0.change(|state| EngineObservation {
            instances: state
                .instances
                .values()
                .filter(|one| &one.id.environment == environment)
                .cloned()
                .collect(),
            artifacts: state
                .artifacts
                .iter()
                .filter(|(of, _)| of == environment)
                .map(|(_, release)| (*release, ArtifactState::Ready))
                .collect(),
            networks: BTreeMap::new(),
        }))
    }

    async fn changed(&self, _: &EnvironmentId) {
        self.0.moved().await;
    }

    async fn prepare(
        &self,
        artifacts: &Artifacts,
        secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<(), PortError> {
        let key = (artifacts.environment.clone(), artifacts.release);
        self.0.change(|state| {
            state.artifacts.insert(key);
            state.given(secrets);
        });
        Ok(())
    }

    async fn start(
        &self,
        start: &InstanceStart,
        secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<(), PortError> {
        self.0.change(|state| {
            if state.instances.contains_key(&start.id) {
                return;
            }
            state.starts += 1;
            state.given(secrets);
            let is = |version: &str| start.spec.command == Command::Shell(version.to_owned());
            if is("ill") {
                state.ill.insert(start.id.clone());
            }
            let address = SocketAddr::from(([127, 0, 0, 1], 40_000));
            let running = InstanceState::Running {
                address,
                since: Timestamp::now(),
            };
            let observed = ObservedInstance {
                id: start.id.clone(),
                workload: start.workload.clone(),
                state: match () {
                    () if is("bad") => exited(1),
                    () if is("done") => exited(0),
                    () => running,
                },
                limits: None,
            };
            state.instances.insert(start.id.clone(), observed);
        });
        Ok(())
    }

    async fn stop(&self, id: &InstanceId, _: &Stop) -> Result<(), PortError> {
        self.0.change(|state| {
            if let Some(one) = state.instances.get_mut(id) {
                one.state = exited(0);
            }
        });
        Ok(())
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), PortError> {
        self.0.change(|state| state.instances.remove(id));
        Ok(())
    }

    async fn keep_artifacts(
        &self,
        _: &EnvironmentId,
        _: &[ReleaseNumber],
    ) -> Result<(), PortError> {
        Ok(())
    }

    async fn destroy(
        &self,
        environment: &EnvironmentId,
        volumes: Volumes,
    ) -> Result<(), PortError> {
        loop {
            match self.0.change(|state| state.removal) {
                Removal::Works => break,
                Removal::Fails => {
                    return Err(PortError::Failed {
                        attempted: format!("removing {environment}"),
                        reason: "the disk is on fire".to_owned(),
                    });
                }
                Removal::Hangs => self.0.moved().await,
            }
        }
        self.0
            .change(|state| state.destroyed.push((environment.clone(), volumes)));
        Ok(())
    }

    async fn give_files(
        &self,
        environment: &EnvironmentId,
        service: &ServiceName,
        archives: &[PathBuf],
    ) -> Result<(), PortError> {
        self.0.keep_given(environment, service, archives)
    }

    async fn take_files(
        &self,
        _: &EnvironmentId,
        _: &ServiceName,
        wanted: &FilesWanted,
        archive: &Path,
    ) -> Result<FilesTaken, PortError> {
        self.0.pack_left(wanted, archive)
    }

    async fn logs(
        &self,
        environment: &EnvironmentId,
        query: &LogQuery,
    ) -> Result<Box<dyn LogLines>, PortError> {
        let lines = self.0.change(|state| log::open(state, environment, query));
        Ok(Box::new(lines))
    }
}

/// The prober of a world: whatever runs is well, but for the version `ill`.
#[derive(Debug)]
pub struct WorldProber {
    world: Arc<World>,
    watched: Mutex<BTreeMap<EnvironmentId, Vec<InstanceId>>>,
}

impl WorldProber {
    /// Makes one that watches nothing yet.
    pub fn new(world: Arc<World>) -> Self {
        Self {
            world,
            watched: Mutex::default(),
        }
    }
}

#[async_trait]
impl Prober for WorldProber {
    fn watch(&self, environment: &EnvironmentId, targets: Vec<ProbeTarget>) {
        let ids = targets.into_iter().map(|target| target.id).collect();
        self.watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(environment.clone(), ids);
    }

    fn records(&self, environment: &EnvironmentId) -> BTreeMap<InstanceId, ProbeRecord> {
        let well = ProbeRecord {
            successes: 1,
            ..ProbeRecord::default()
        };
        let failed = ProbeRecord {
            failures: 3,
            counted_failures: 3,
            last_error: Some("answered 500".to_owned()),
            ..ProbeRecord::default()
        };
        let ill = self.world.change(|state| state.ill.clone());
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = watched.get(environment).into_iter().flatten();
        ids.map(|id| {
            let record = if ill.contains(id) { &failed } else { &well };
            (id.clone(), record.clone())
        })
        .collect()
    }

    async fn changed(&self, _: &EnvironmentId) {
        // sleep: a prober has news now and then; the engine's moves wake the keeper as well.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The router of a world.
#[derive(Debug)]
pub struct WorldRouter(pub Arc<World>);

fn report(table: &RouteTable) -> RouterReport {
    RouterReport {
        boot: "one".to_owned(),
        generation: table.generation,
        environments: table.environments.clone(),
        ..RouterReport::default()
    }
}

#[async_trait]
impl Router for WorldRouter {
    async fn publish(&self, table: &RouteTable) -> Result<RouterReport, PortError> {
        self.0.change(|state| {
            if table.generation <= state.table.generation {
                return Err(PortError::Refused("an older table".to_owned()));
            }
            state.table = table.clone();
            Ok(report(table))
        })
    }

    async fn report(&self) -> Result<RouterReport, PortError> {
        Ok(report(&self.0.table()))
    }

    async fn changed(&self) -> Result<RouterReport, PortError> {
        self.0.moved().await;
        self.report().await
    }
}

/// The packet filter of a world: it does what it is told.
#[derive(Debug, Default)]
pub struct WorldRedirects(Mutex<BTreeMap<EnvironmentId, BTreeSet<Redirect>>>);

#[async_trait]
impl Redirects for WorldRedirects {
    async fn available(&self) -> Result<Vec<String>, PortError> {
        Ok(Vec::new())
    }

    async fn get(&self, environment: &EnvironmentId) -> Result<BTreeSet<Redirect>, PortError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(all.get(environment).cloned().unwrap_or_default())
    }

    async fn set(
        &self,
        environment: &EnvironmentId,
        wanted: &BTreeSet<Redirect>,
    ) -> Result<(), PortError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(environment.clone(), wanted.clone());
        Ok(())
    }
}
