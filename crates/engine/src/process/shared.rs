//! What the engine knows, shared by its calls and its tasks. Not the work, which is in the
//! modules beside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use towpath_model::id::{EnvironmentId, InstanceId, ReleaseNumber, ServiceName, WorkloadId};
use towpath_model::observation::{ArtifactState, InstanceState, ObservedInstance};
use towpath_model::port::{Capabilities, Clock, EngineObservation, InstanceStart, PortError, Stop};

use super::cgroup::Cgroups;
use super::config::ProcessConfig;
use super::layout::Layout;
use super::ports::Ports;
use super::state::StateFile;
use crate::changes::Changes;
use crate::console::Untold;

/// Where the task of an instance hears that it is to stop.
pub(super) type Asked = watch::Receiver<Option<Stop>>;

/// The engine without its tasks.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: ProcessConfig,
    pub(super) ports: Ports,
    /// Tells this data directory from others on the machine.
    pub(super) data_id: String,
    /// Where secrets are put; in the instances' directories when absent.
    pub(super) secret_place: Option<PathBuf>,
    /// Whether instances may run as another user.
    pub(super) users: Result<(), String>,
    /// Where limits can be enforced, or why they cannot.
    pub(super) cgroups: Result<Cgroups, String>,
    pub(super) known: Mutex<BTreeMap<EnvironmentId, Environment>>,
    pub(super) changes: Changes,
    /// One-offs that this control plane sees to.
    pub(super) one_offs: Mutex<BTreeSet<InstanceId>>,
    /// How detached commands and one-offs ended.
    pub(super) untold: Untold,
}

/// What there is of an environment.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) instances: BTreeMap<InstanceId, Instance>,
    pub(super) releases: BTreeMap<ReleaseNumber, Artifact>,
}

/// An instance from its start to its removal.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) workload: WorkloadId,
    pub(super) release: ReleaseNumber,
    pub(super) state: InstanceState,
    /// What was written down of it; absent until it was.
    pub(super) file: Option<Arc<StateFile>>,
    /// Tells its task that it was asked to stop.
    pub(super) stop: watch::Sender<Option<Stop>>,
}

/// The artifacts of a release.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) state: ArtifactState,
    /// While they are made: asks to give up, and is told when nothing of it runs any more.
    pub(super) making: Option<(CancellationToken, CancellationToken)>,
}

impl Shared {
    /// Locks what is known. Never held over an await or file work.
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<EnvironmentId, Environment>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the one-offs that this control plane sees to. Never held over an await.
    pub(super) fn one_offs(&self) -> MutexGuard<'_, BTreeSet<InstanceId>> {
        self.one_offs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all that wait for a change of an environment, or the next one that will.
    pub(super) fn tell(&self, environment: &EnvironmentId) {
        self.changes.tell(environment);
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        Capabilities {
            engine: "process".to_owned(),
            limits: self.cgroups.as_ref().map(|_| ()).map_err(Clone::clone),
            users: self.users.clone(),
        }
    }

    pub(super) fn observe(&self, environment: &EnvironmentId) -> EngineObservation {
        let known = self.lock();
        let Some(environment) = known.get(environment) else {
            return EngineObservation::default();
        };
        let observed = |(id, instance): (&InstanceId, &Instance)| {
            let (workload, state) = (instance.workload.clone(), instance.state.clone());
            ObservedInstance::new(id.clone(), workload, state)
        };
        EngineObservation {
            instances: environment.instances.iter().map(observed).collect(),
            artifacts: environment
                .releases
                .iter()
                .map(|(release, artifact)| (*release, artifact.state.clone()))
                .collect(),
            // Processes find one another by variables.
            networks: BTreeMap::new(),
        }
    }

    /// Notes a new instance. `None` when there is one with this id.
    pub(super) fn insert_starting(
        &self,
        start: &InstanceStart,
    ) -> Result<Option<Asked>, PortError> {
        let mut known = self.lock();
        let environment = known.entry(start.id.environment.clone()).or_default();
        if environment.instances.contains_key(&start.id) {
            return Ok(None);
        }
        let release = environment.releases.get(&start.release);
        if !release.is_some_and(|release| release.state == ArtifactState::Ready) {
            return Err(PortError::Failed {
                attempted: format!("start {}", start.id),
                reason: format!("the artifacts of release {} are not ready", start.release),
            });
        }
        if super::signals::parse(&start.spec.stop_signal).is_none() {
            return Err(unknown_signal(&start.spec.stop_signal));
        }
        let (stop, asked) = watch::channel(None);
        let instance = Instance {
            workload: start.workload.clone(),
            release: start.release,
            state: InstanceState::Starting,
            file: None,
            stop,
        };
        environment.instances.insert(start.id.clone(), instance);
        Ok(Some(asked))
    }

    /// Changes an instance, if it is known, and tells of it.
    pub(super) fn update<T>(
        &self,
        id: &InstanceId,
        change: impl FnOnce(&mut Instance) -> T,
    ) -> Option<T> {
        let mut known = self.lock();
        let instance = known.get_mut(&id.environment)?.instances.get_mut(id)?;
        let result = change(instance);
        drop(known);
        self.tell(&id.environment);
        Some(result)
    }

    /// Looks at an instance, if it is known.
    pub(super) fn look<T>(&self, id: &InstanceId, at: impl FnOnce(&Instance) -> T) -> Option<T> {
        self.lock().get(&id.environment)?.instances.get(id).map(at)
    }

    /// Returns where the newest instance of a service runs, or ran.
    pub(super) fn workspace(
        &self,
        environment: &EnvironmentId,
        service: &ServiceName,
    ) -> Option<PathBuf> {
        let known = self.lock();
        let instances = known.get(environment)?.instances.iter();
        let own = instances.filter(|(id, _)| &id.service == service);
        let (_, newest) = own.max_by_key(|(id, _)| id.number)?;
        Some(newest.file.as_ref()?.directory.clone())
    }

    /// Forgets an instance that could not be written down, or was removed.
    pub(super) fn forget(&self, id: &InstanceId) {
        if let Some(environment) = self.lock().get_mut(&id.environment) {
            environment.instances.remove(id);
        }
        self.tell(&id.environment);
    }
}

pub(super) fn unknown_signal(name: &str) -> PortError {
    PortError::Refused(format!("`{name}` is not the name of a signal"))
}

/// Returns the words for something that was met in file work.
pub(super) fn failed(attempted: impl Into<String>, error: &std::io::Error) -> PortError {
    PortError::Failed {
        attempted: attempted.into(),
        reason: error.to_string(),
    }
}
