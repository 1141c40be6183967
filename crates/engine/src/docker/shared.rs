//! What the engine knows, shared by its calls and its tasks. Not the work, which is in the modules
//! beside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use towpath_model::id::{EnvironmentId, InstanceId, ReleaseNumber};
use towpath_model::observation::{ChangedLimits, Exit};
use towpath_model::port::{Clock, PortError};

use super::client::Client;
use super::config::DockerConfig;
use super::names;
use super::state::{INSTANCE, Layout, Record, ReleaseFile, Stage};
use crate::changes::Changes;
use crate::console::Untold;
use crate::secret_place;
use crate::shim::files;

/// The engine without its tasks.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: DockerConfig,
    /// Tells this data directory from others on the same Docker.
    pub(super) data_id: String,
    /// Where secrets are put; in the instances' directories when absent.
    pub(super) secret_place: Option<PathBuf>,
    pub(super) client: Client,
    /// Networks are made one at a time: Docker makes two of a name when it is asked twice at once.
    pub(super) networks: Semaphore,
    pub(super) known: Mutex<BTreeMap<EnvironmentId, Environment>>,
    pub(super) changes: Changes,
    /// One-offs that are being made or that somebody is attached to.
    pub(super) one_offs: Mutex<BTreeSet<InstanceId>>,
    /// How detached commands and one-offs ended.
    pub(super) untold: Untold,
}

/// What there is of an environment.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) instances: BTreeMap<InstanceId, Instance>,
    pub(super) releases: BTreeMap<ReleaseNumber, Release>,
    /// Containers that nobody wrote down were looked for.
    pub(super) swept: bool,
    /// The networks of its own, with the address at which the router answers for names, or why it
    /// does not.
    pub(super) networks: BTreeMap<String, Result<IpAddr, String>>,
    /// Docker was asked which networks there are.
    pub(super) networks_are_known: bool,
}

/// An instance from its start to its removal.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) record: Record,
    pub(super) work: Work,
    /// The container that was seen to run, and since when.
    pub(super) seen: Option<(String, jiff::Timestamp)>,
    /// Somebody paused its container.
    pub(super) paused: bool,
    /// What somebody else than us asked Docker to do to its end.
    pub(super) hand: Option<Hand>,
    /// What somebody made of its limits.
    pub(super) limits: Option<ChangedLimits>,
}

/// What another hand did to the end of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hand {
    /// It was sent a signal that need not end it.
    Signalled,
    /// It was stopped or killed.
    Ended,
}

/// What a task is doing about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    None,
    Starting,
    Stopping,
    /// It is put back into its networks.
    Joining,
    /// Its limits are put back.
    Limiting,
}

/// The artifacts of a release.
#[derive(Debug, Clone)]
pub(super) struct Release {
    pub(super) file: ReleaseFile,
    /// While they are made: asks to give up, and is told when nothing of it runs any more.
    pub(super) making: Option<(CancellationToken, CancellationToken)>,
}

impl Shared {
    /// Locks what is known. Never held over an await; file work under it is the writing of one
    /// record, so that the last change is also the last written.
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<EnvironmentId, Environment>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the one-offs that somebody sees to. Never held over an await.
    pub(super) fn one_offs(&self) -> MutexGuard<'_, BTreeSet<InstanceId>> {
        self.one_offs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all that wait for a change of an environment, or the next one that will.
    pub(super) fn tell(&self, environment: &EnvironmentId) {
        self.changes.tell(environment);
    }

    /// Tells of changes everywhere: nobody knows what was missed.
    pub(super) fn tell_all(&self) {
        let known: Vec<EnvironmentId> = self.lock().keys().cloned().collect();
        for environment in known {
            self.forget_seen(&environment);
            self.tell(&environment);
        }
    }

    /// Has what was seen of an environment's containers looked at again.
    pub(super) fn forget_seen(&self, environment: &EnvironmentId) {
        if let Some(known) = self.lock().get_mut(environment) {
            for instance in known.instances.values_mut() {
                instance.seen = None;
            }
        }
    }

    /// Returns what is known of an instance.
    pub(super) fn instance(&self, id: &InstanceId) -> Option<Instance> {
        let known = self.lock();
        known.get(&id.environment)?.instances.get(id).cloned()
    }

    /// Returns the instance that a container is which was taken over.
    pub(super) fn adopted(&self, container: &str) -> Option<InstanceId> {
        let known = self.lock();
        let has = |instance: &Instance| instance.record.container.as_deref() == Some(container);
        let mut all = known.values().flat_map(|known| &known.instances);
        all.find(|(_, instance)| has(instance))
            .map(|(id, _)| id.clone())
    }

    /// Notes what another hand did to the end of an instance: none of what we ask for, which is written
    /// down before. `None` forgets it.
    pub(super) fn note_hand(&self, id: &InstanceId, hand: Option<Hand>) {
        if let Some(known) = self.lock().get_mut(&id.environment)
            && let Some(instance) = known.instances.get_mut(id)
        {
            let is_ours = instance.record.stop.is_some();
            let before = instance.hand.filter(|_| hand.is_some());
            instance.hand = before.max(hand).filter(|_| !is_ours);
        }
    }

    /// Forgets what other hands did: a Docker that goes away stops what runs, too.
    pub(super) fn forget_hands(&self) {
        let mut known = self.lock();
        let instances = known
            .values_mut()
            .flat_map(|known| known.instances.values_mut());
        for instance in instances {
            instance.hand = None;
        }
    }

    /// Returns what Docker knows an instance's container by.
    pub(super) fn container_of(&self, id: &InstanceId) -> String {
        let known = self.instance(id);
        known.map_or_else(|| names::container(id), |known| known.record.container())
    }

    /// Notes what a task does about an instance.
    pub(super) fn set_work(&self, id: &InstanceId, work: Work) {
        if let Some(known) = self.lock().get_mut(&id.environment)
            && let Some(instance) = known.instances.get_mut(id)
        {
            instance.work = work;
        }
        self.tell(&id.environment);
    }

    /// Changes the record of an instance, if there is one, and writes it down. What cannot be
    /// written down is not changed.
    pub(super) fn change(
        &self,
        id: &InstanceId,
        change: impl FnOnce(&mut Record),
    ) -> io::Result<Option<Record>> {
        let mut known = self.lock();
        let instance = known
            .get_mut(&id.environment)
            .and_then(|environment| environment.instances.get_mut(id));
        let Some(instance) = instance else {
            return Ok(None);
        };
        let mut changed = instance.record.clone();
        change(&mut changed);
        if changed != instance.record {
            self.write(&changed)?;
            instance.record = changed.clone();
        }
        drop(known);
        self.tell(&id.environment);
        Ok(Some(changed))
    }

    /// Writes down that an instance ended, unless that was done.
    pub(super) fn ended(&self, id: &InstanceId, exit: Exit) {
        let written = self.change(id, |record| {
            if !matches!(record.stage, Stage::Ended(_)) {
                record.stage = Stage::Ended(exit);
            }
        });
        if let Err(error) = written {
            tracing::error!(instance = %id, %error, "the end of an instance cannot be written down");
        }
        self.remove_secrets(id);
    }

    /// Writes a record in the instance's directory, which is made.
    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        let directory = self.layout.instance(&record.labelled.id);
        fs::create_dir_all(&directory)?;
        files::write(&directory.join(INSTANCE), record)
    }

    /// Forgets an instance with all that it has on the disk.
    pub(super) fn forget(&self, id: &InstanceId) -> io::Result<()> {
        secret_place::remove(&self.secrets_of(id))?;
        match fs::remove_dir_all(self.layout.instance(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if let Some(environment) = self.lock().get_mut(&id.environment) {
            environment.instances.remove(id);
        }
        self.tell(&id.environment);
        Ok(())
    }

    /// Returns where the source tree of a release is.
    pub(super) fn source_of(
        &self,
        environment: &EnvironmentId,
        release: ReleaseNumber,
    ) -> Option<PathBuf> {
        let known = self.lock();
        let release = known.get(environment)?.releases.get(&release)?;
        let source = release.file.artifacts.source.as_ref()?;
        Some(self.layout.data.source(source))
    }

    /// Returns where the secrets of an instance are.
    pub(super) fn secrets_of(&self, id: &InstanceId) -> PathBuf {
        match &self.secret_place {
            Some(place) => place.join(secret_place::directory_name(id)),
            None => self.layout.instance(id).join("secrets"),
        }
    }

    /// Removes the secrets of an instance that ended.
    pub(super) fn remove_secrets(&self, id: &InstanceId) {
        if let Err(error) = secret_place::remove(&self.secrets_of(id)) {
            tracing::warn!(instance = %id, %error, "secrets could not be removed");
        }
    }
}

/// Returns the words for something that was met in file work.
pub(super) fn failed(attempted: impl Into<String>, error: &io::Error) -> PortError {
    PortError::Failed {
        attempted: attempted.into(),
        reason: error.to_string(),
    }
}
