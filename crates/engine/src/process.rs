//! The embedded engine: plain processes of this machine. Not their number, health or traffic,
//! which are the platform's.
//!
//! Everything is in files under the data directory, so that another control plane can take over
//! after any crash ([`layout`]). Each instance runs under a supervisor of its own
//! ([`crate::shim`]) that outlives this process.

mod cgroup;
pub mod config;
mod console;
mod instance;
mod layout;
mod logs;
mod one_off;
mod open;
mod plan;
mod ports;
mod release;
mod removal;
mod runner;
mod secrets;
mod session;
mod shared;
mod signals;
mod start;
mod state;
mod sweep;
mod tree;
mod usage;
mod user;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::task::JoinSet;
use towpath_model::id::{EnvironmentId, InstanceId, ReleaseNumber, SecretName, ServiceName};
use towpath_model::port::{
    Artifacts, Capabilities, Clock, DataDirectory, Engine, EngineObservation, FilesTaken,
    FilesWanted, InstanceStart, LogLines, LogQuery, PortError, Stop, Volumes,
};
use towpath_model::workload::{Command, SecretValue};

pub use self::config::ProcessConfig;
pub use self::open::OpenError;
use self::shared::Shared;
use crate::probe::RunInInstance;
use crate::workspace;

/// Runs instances as processes of this machine.
#[derive(Debug)]
pub struct ProcessEngine {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
    runtime: tokio::runtime::Handle,
}

impl ProcessEngine {
    /// Opens what the data directory has, and adopts the instances that still run. The caller
    /// holds the data directory's lock, and calls from within a runtime.
    ///
    /// Dropping the engine leaves the instances running; builds end with it.
    pub fn open(
        data: &DataDirectory,
        clock: Arc<dyn Clock>,
        config: ProcessConfig,
    ) -> Result<Self, OpenError> {
        let opened = open::open(data, clock, config)?;
        let engine = Self {
            shared: Arc::new(opened.shared),
            tasks: Mutex::new(JoinSet::new()),
            runtime: tokio::runtime::Handle::current(),
        };
        for adopted in opened.adopted {
            engine.spawn(instance::adopt(Arc::clone(&engine.shared), adopted));
        }
        Ok(engine)
    }

    /// Runs a task until it ends or the engine is dropped.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.runtime);
    }
}

#[async_trait]
impl Engine for ProcessEngine {
    fn capabilities(&self) -> Capabilities {
        self.shared.capabilities()
    }

    async fn observe(&self, environment: &EnvironmentId) -> Result<EngineObservation, PortError> {
        Ok(self.shared.observe(environment))
    }

    async fn changed(&self, environment: &EnvironmentId) {
        self.shared.changes.of(environment).notified().await;
    }

    async fn prepare(
        &self,
        artifacts: &Artifacts,
        _secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<(), PortError> {
        if let Some(task) = release::begin(&self.shared, artifacts) {
            self.spawn(task);
        }
        Ok(())
    }

    async fn start(
        &self,
        start: &InstanceStart,
        secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<(), PortError> {
        let Some(stop) = self.shared.insert_starting(start)? else {
            return Ok(());
        };
        // A task of its own: a caller that gives up must not leave half a start behind.
        let (recorded, written_down) = tokio::sync::oneshot::channel();
        let order = start::Order {
            start: start.clone(),
            secrets: secrets.clone(),
            stop,
        };
        self.spawn(instance::start(Arc::clone(&self.shared), order, recorded));
        written_down.await.unwrap_or_else(|_| {
            Err(PortError::Failed {
                attempted: format!("start {}", start.id),
                reason: "the engine is shutting down".to_owned(),
            })
        })
    }

    async fn stop(&self, id: &InstanceId, stop: &Stop) -> Result<(), PortError> {
        self.shared.stop(id, stop)
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), PortError> {
        let shared = Arc::clone(&self.shared);
        let id = id.clone();
        blocking(move || shared.remove(&id)).await
    }

    async fn keep_artifacts(
        &self,
        environment: &EnvironmentId,
        releases: &[ReleaseNumber],
    ) -> Result<(), PortError> {
        let shared = Arc::clone(&self.shared);
        let (environment, releases) = (environment.clone(), releases.to_vec());
        release::give_up(&shared, &environment, |number| !releases.contains(&number)).await;
        blocking(move || release::keep(&shared, &environment, &releases)).await
    }

    async fn destroy(
        &self,
        environment: &EnvironmentId,
        volumes: Volumes,
    ) -> Result<(), PortError> {
        let shared = Arc::clone(&self.shared);
        let environment = environment.clone();
        release::give_up(&shared, &environment, |_| true).await;
        blocking(move || shared.destroy(&environment, volumes)).await
    }

    async fn give_files(
        &self,
        environment: &EnvironmentId,
        service: &ServiceName,
        archives: &[PathBuf],
    ) -> Result<(), PortError> {
        let directory = self.shared.layout.environment(environment);
        let (service, archives) = (service.clone(), archives.to_vec());
        blocking(move || workspace::give(&directory, &service, &archives)).await
    }

    async fn take_files(
        &self,
        environment: &EnvironmentId,
        service: &ServiceName,
        wanted: &FilesWanted,
        archive: &Path,
    ) -> Result<FilesTaken, PortError> {
        let workspace = self.shared.workspace(environment, service);
        let workspace =
            workspace.ok_or_else(|| PortError::Refused(format!("`{service}` has no instance")))?;
        let (service, wanted, archive) = (service.clone(), wanted.clone(), archive.to_owned());
        blocking(move || {
            let taken = workspace::take(&workspace, &wanted, &archive);
            taken.map_err(|error| error.port(&service))
        })
        .await
    }

    async fn logs(
        &self,
        environment: &EnvironmentId,
        query: &LogQuery,
    ) -> Result<Box<dyn LogLines>, PortError> {
        let directory = self.shared.layout.environment(environment);
        Ok(Box::new(logs::open(
            directory,
            environment.clone(),
            query.clone(),
        )))
    }
}

#[async_trait]
impl RunInInstance for ProcessEngine {
    async fn run_in(&self, id: &InstanceId, command: &Command) -> Result<(), String> {
        instance::run_beside(&self.shared, id, command).await
    }
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(PortError::Failed {
                attempted: "work on the engine's files".to_owned(),
                reason: error.to_string(),
            })
        })
}
