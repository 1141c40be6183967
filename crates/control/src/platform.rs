//! The platform as its callers hold it: its ports, its environments' keepers, its start and stop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towpath_model::console::Console;
use towpath_model::environment::{Environment, Published};
use towpath_model::event::NewEvent;
use towpath_model::id::{AppName, EnvironmentId};
use towpath_model::port::{
    Clock, DataDirectory, Engine, INTERNAL_PORTS, Notifier, Prober, Redirects, Router,
};
use towpath_model::repository::status::Forges;
use towpath_model::repository::{GitProgram, Repositories};
use towpath_store::{Store, StoredEnvironment};

use crate::destroy::Removals;
use crate::error::Error;
use crate::follow::{self, Follower};
use crate::hub::Hub;
use crate::intake::{self, Intake};
use crate::keeper::{Keeper, Snapshot};
use crate::notify;
use crate::preview::{self, Previews};
use crate::run::Runs;
use crate::run::groups::Groups;
use crate::source::clear_leftovers;
use crate::statuses::{self, Statuses};

/// Tells whether a socket address can be listened on now.
pub type SocketTest = Arc<dyn Fn(SocketAddr) -> bool + Send + Sync>;

/// What the platform needs of the world.
#[derive(Clone)]
pub struct Ports {
    /// The database.
    pub store: Arc<Store>,
    /// Where workloads run.
    pub engine: Arc<dyn Engine>,
    /// How people reach into environments.
    pub console: Arc<dyn Console>,
    /// Who tries health checks.
    pub prober: Arc<dyn Prober>,
    /// The data plane.
    pub router: Arc<dyn Router>,
    /// Who carries messages to people.
    pub notifier: Arc<dyn Notifier>,
    /// Who sends connections to published ports elsewhere.
    pub redirects: Arc<dyn Redirects>,
    /// The Git repositories of apps.
    pub repositories: Arc<dyn Repositories>,
    /// Who tells forges of commits.
    pub forges: Arc<dyn Forges>,
    /// Who tells the time.
    pub clock: Arc<dyn Clock>,
    /// Whether a socket is free.
    pub is_free: SocketTest,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

/// The platform's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is kept.
    pub data: DataDirectory,
    /// The loopback ports at which services reach one another.
    pub internal_ports: RangeInclusive<u16>,
    /// How many releases of an app are kept for a rollback.
    pub keep_releases: u32,
    /// How Git is run.
    pub git: GitProgram,
}

impl Config {
    /// Returns the defaults for a data directory: some of [`INTERNAL_PORTS`], ten releases.
    pub fn new(data: DataDirectory) -> Self {
        Self {
            internal_ports: ports_of(&data),
            data,
            keep_releases: 10,
            git: GitProgram::default(),
        }
    }
}

/// Returns the internal ports of a data directory: all but the first few thousand at most, so that
/// several control planes on one machine rarely want the same.
fn ports_of(data: &DataDirectory) -> RangeInclusive<u16> {
    let path = data.0.as_os_str().as_encoded_bytes();
    let seed = path.iter().fold(0_u16, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u16::from(*byte))
    });
    INTERNAL_PORTS.start() + seed % 6_000..=*INTERNAL_PORTS.end()
}

/// The platform. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Platform {
    pub(crate) shared: Arc<Shared>,
}

/// What all handles and keepers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) ports: Ports,
    pub(crate) hub: Hub,
    pub(crate) intake: Intake,
    pub(crate) follower: Follower,
    pub(crate) statuses: Statuses,
    pub(crate) removals: Removals,
    pub(crate) previews: Previews,
    pub(crate) runs: Runs,
    pub(crate) groups: Groups,
    bell: watch::Sender<()>,
    keepers: Mutex<BTreeMap<EnvironmentId, Keeper>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Platform {
    /// Starts the platform: every stored environment gets its keeper, which takes over whatever
    /// runs of it.
    pub async fn start(config: Config, ports: Ports) -> Result<Self, Error> {
        clear_sources(config.data.sources()).await;
        let mut stored = Vec::new();
        for environment in ports.store.environments().await? {
            stored.push((read(&environment)?, environment.version));
        }
        let published: BTreeMap<EnvironmentId, Published> = stored
            .iter()
            .map(|(environment, _)| (environment.id.clone(), environment.published.clone()))
            .collect();
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (hub, work) = Hub::new(Arc::clone(&ports.router), published, shutdown.child_token());
        tasks.spawn(work);
        let keepers = Mutex::new(BTreeMap::new());
        let (intake, requests) = Intake::new();
        let (follower, looks) = Follower::new();
        let shared = Arc::new(Shared {
            config,
            ports,
            hub,
            intake,
            follower,
            statuses: Statuses::default(),
            removals: Removals::default(),
            previews: Previews::default(),
            runs: Runs::default(),
            groups: Groups::default(),
            bell: watch::Sender::new(()),
            keepers,
            tasks,
            shutdown,
        });
        shared.clear_caches().await;
        for (environment, version) in stored {
            shared.keep(environment, version);
        }
        shared.resume_destructions().await?;
        shared.resume_runs().await?;
        let work = notify::run(Arc::clone(&shared), shared.stopping());
        shared.spawn(work);
        let work = preview::watch::run(Arc::clone(&shared), shared.stopping());
        shared.spawn(work);
        let work = statuses::run(Arc::clone(&shared), shared.stopping());
        shared.spawn(work);
        let platform = Self { shared };
        let stop = platform.shared.stopping();
        let work = intake::run(platform.clone(), requests, stop);
        platform.shared.tasks.spawn(work);
        let stop = platform.shared.stopping();
        let work = follow::run(platform.clone(), looks, stop);
        platform.shared.tasks.spawn(work);
        Ok(platform)
    }

    /// Stops the platform's tasks. What runs goes on running, and the router goes on serving.
    pub async fn shutdown(&self) {
        self.shared.shutdown.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Makes an environment, and registers its app when it is new. Returns whether it is new.
    pub async fn create_environment(&self, id: &EnvironmentId, actor: &str) -> Result<bool, Error> {
        let environment = Environment::new(id.clone());
        self.create(environment, actor, None).await
    }

    /// Makes an environment of which something is known already. Returns whether it is new.
    pub(crate) async fn create(
        &self,
        environment: Environment,
        actor: &str,
        words: Option<String>,
    ) -> Result<bool, Error> {
        let id = &environment.id;
        if self.shared.keepers().contains_key(id) {
            return Ok(false);
        }
        self.register(&id.app, actor).await?;
        let store = &self.shared.ports.store;
        let now = self.shared.ports.clock.now();
        let unreadable = |source| Error::Unreadable {
            environment: id.clone(),
            source,
        };
        let document = serde_json::to_value(&environment).map_err(unreadable)?;
        let mut created = self.shared.event(actor, "environment.created", id);
        created.reason = words;
        let engine = self.shared.ports.engine.capabilities().engine;
        let created = store
            .create_environment(id, &engine, &document, now, &[created])
            .await;
        let version = match created {
            Ok(version) => version,
            // Somebody else was faster.
            Err(towpath_store::Error::AlreadyExists(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        self.shared.keep(environment, version);
        Ok(true)
    }

    /// Registers an app when it is new.
    pub(crate) async fn register(&self, app: &AppName, actor: &str) -> Result<(), Error> {
        let now = self.shared.ports.clock.now();
        match self.shared.ports.store.create_app(app, actor, now).await {
            Ok(_) | Err(towpath_store::Error::AlreadyExists(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the ids of all environments.
    pub fn environments(&self) -> Vec<EnvironmentId> {
        self.shared.keepers().keys().cloned().collect()
    }

    /// Returns the latest snapshot of an environment.
    pub fn snapshot(&self, id: &EnvironmentId) -> Result<Arc<Snapshot>, Error> {
        Ok(self.shared.keeper(id)?.watch().borrow().clone())
    }

    /// Returns a receiver of an environment's latest snapshot.
    pub fn watch(&self, id: &EnvironmentId) -> Result<watch::Receiver<Arc<Snapshot>>, Error> {
        Ok(self.shared.keeper(id)?.watch())
    }
}

impl Shared {
    pub(crate) fn event(&self, actor: &str, what: &str, id: &EnvironmentId) -> NewEvent {
        NewEvent {
            at: self.ports.clock.now(),
            actor: actor.to_owned(),
            what: what.to_owned(),
            subject: id.to_string(),
            from: None,
            to: None,
            reason: None,
        }
    }

    /// Returns the keeper of an environment.
    pub(crate) fn keeper(&self, id: &EnvironmentId) -> Result<Keeper, Error> {
        self.keepers()
            .get(id)
            .cloned()
            .ok_or_else(|| Error::NoEnvironment(id.clone()))
    }

    /// Returns the latest snapshots of all environments.
    pub(crate) fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        self.keepers()
            .values()
            .map(|keeper| keeper.watch().borrow().clone())
            .collect()
    }

    fn keepers(&self) -> MutexGuard<'_, BTreeMap<EnvironmentId, Keeper>> {
        // The map is whole between any two statements that hold the lock.
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an environment that is gone.
    pub(crate) fn forget(&self, id: &EnvironmentId) {
        self.keepers().remove(id);
        self.ring();
    }

    /// Tells whoever waits for an environment that one changed.
    pub(crate) fn ring(&self) {
        self.bell.send_replace(());
    }

    /// Returns a receiver that hears whenever an environment changed.
    pub(crate) fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    /// Starts a task that the platform's stop waits for.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn(work)
    }

    /// Returns what is cancelled when the platform stops.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.shutdown.child_token()
    }

    fn keep(self: &Arc<Self>, environment: Environment, version: u64) {
        let id = environment.id.clone();
        let stop = self.shutdown.child_token();
        let (keeper, work) = Keeper::new(Arc::clone(self), environment, version, stop);
        self.keepers().insert(id, keeper);
        self.tasks.spawn(work);
    }
}

/// Removes what came in half when an earlier control plane was killed.
async fn clear_sources(sources: std::path::PathBuf) {
    let cleared = tokio::task::spawn_blocking(move || clear_leftovers(&sources)).await;
    if let Err(error) = cleared.map_err(std::io::Error::other).flatten() {
        // It takes room, and harms nothing.
        tracing::warn!(%error, "unfinished source trees cannot be removed");
    }
}

fn read(stored: &StoredEnvironment) -> Result<Environment, Error> {
    serde_json::from_value(stored.document.clone()).map_err(|source| Error::Unreadable {
        environment: stored.id.clone(),
        source,
    })
}
