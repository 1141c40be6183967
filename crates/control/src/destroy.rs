//! The removal of environments: asked for once, then carried to its end by a task of the platform,
//! whoever asked stays or goes, over failures of the engine and restarts of the control plane. Not
//! how instances stop, which is each environment's keeper's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use towpath_model::command::Change;
use towpath_model::console::OneOffs;
use towpath_model::environment::Lifecycle;
use towpath_model::id::EnvironmentId;
use towpath_model::port::{PortError, Volumes};

use crate::error::{Error, describe};
use crate::platform::{Platform, Shared};

/// The time between two attempts, where nobody asks for one earlier.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The longest that the instances of an environment may take to stop before an attempt counts as
/// failed. They are being stopped all the same.
const LONGEST_STOP: Duration = Duration::from_mins(10);

/// How far a removal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is tried.
    Trying,
    /// The last attempt failed; there will be another.
    Failed(String),
    /// The environment is gone.
    Gone,
}

/// A removal under way.
#[derive(Debug, Clone)]
struct Removal {
    progress: watch::Receiver<Progress>,
    again: Arc<Notify>,
}

/// All removals under way.
#[derive(Debug, Default)]
pub(crate) struct Removals(Mutex<BTreeMap<EnvironmentId, Removal>>);

impl Removals {
    /// Tells whether an environment is being removed.
    pub(crate) fn has(&self, id: &EnvironmentId) -> bool {
        self.lock().contains_key(id)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<EnvironmentId, Removal>> {
        // The map is whole between any two statements that hold the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Platform {
    /// Takes an environment down and removes everything of it, its volumes only when asked. Returns
    /// when that is done, or when an attempt at it failed: it is tried again then until it is done,
    /// as it is when the caller stops waiting or the control plane is restarted.
    pub async fn destroy(
        &self,
        id: &EnvironmentId,
        volumes: Volumes,
        actor: &str,
    ) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let (of, actor) = (id.clone(), actor.to_owned());
        // A task of its own: a caller that goes away between the record and the removal must not
        // leave the one without the other.
        let asked = self
            .shared
            .spawn(async move { shared.ask_to_destroy(&of, volumes, &actor).await });
        let mut progress = asked.await.map_err(|_| Error::Stopping)??;
        loop {
            progress.changed().await.map_err(|_| Error::Stopping)?;
            match &*progress.borrow_and_update() {
                Progress::Trying => {}
                Progress::Failed(reason) => {
                    let (environment, reason) = (id.clone(), reason.clone());
                    return Err(Error::NotDestroyed {
                        environment,
                        reason,
                    });
                }
                Progress::Gone => return Ok(()),
            }
        }
    }

    /// Tells whether an environment is being removed.
    pub fn is_being_destroyed(&self, id: &EnvironmentId) -> bool {
        self.shared.removals.has(id)
    }
}

impl Shared {
    /// Goes on with the removals that were under way when the control plane ended.
    pub(crate) async fn resume_destructions(self: &Arc<Self>) -> Result<(), Error> {
        for destruction in self.ports.store.destructions().await? {
            self.begin_to_destroy(&destruction.environment);
        }
        Ok(())
    }

    /// Writes down that an environment is to be removed, and has it removed. Nothing is stopped
    /// that is not written down.
    pub(crate) async fn ask_to_destroy(
        self: &Arc<Self>,
        id: &EnvironmentId,
        volumes: Volumes,
        actor: &str,
    ) -> Result<watch::Receiver<Progress>, Error> {
        self.keeper(id)?;
        let now = self.ports.clock.now();
        let store = &self.ports.store;
        store.request_destruction(id, volumes, actor, now).await?;
        Ok(self.begin_to_destroy(id))
    }

    /// Has an environment removed by a task, the one that is at it where there is one.
    fn begin_to_destroy(self: &Arc<Self>, id: &EnvironmentId) -> watch::Receiver<Progress> {
        let mut removals = self.removals.lock();
        if let Some(removal) = removals.get(id) {
            removal.again.notify_one();
            let mut progress = removal.progress.clone();
            progress.mark_unchanged();
            return progress;
        }
        let (sender, progress) = watch::channel(Progress::Trying);
        let again = Arc::new(Notify::new());
        let removal = Removal {
            progress: progress.clone(),
            again: Arc::clone(&again),
        };
        removals.insert(id.clone(), removal);
        let (shared, id) = (Arc::clone(self), id.clone());
        self.spawn(async move {
            let stop = shared.stopping();
            shared.carry_out(&id, &sender, &again, stop).await;
        });
        progress
    }

    /// Removes an environment, over any number of attempts, until `stop`.
    async fn carry_out(
        &self,
        id: &EnvironmentId,
        progress: &watch::Sender<Progress>,
        again: &Notify,
        stop: CancellationToken,
    ) {
        let mut emptied = false;
        loop {
            let attempt = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                attempt = self.destroy_now(id, &mut emptied) => attempt,
            };
            let Err(error) = attempt else {
                self.removals.lock().remove(id);
                self.forget(id);
                progress.send_replace(Progress::Gone);
                return;
            };
            let failed = Progress::Failed(describe(&error));
            if let Progress::Failed(error) = &failed {
                tracing::warn!(environment = %id, error, "a removal failed and is tried again");
            }
            progress.send_replace(failed);
            tokio::select! {
                () = stop.cancelled() => return,
                () = again.notified() => {}
                () = tokio::time::sleep(RETRY_AFTER) => {}
            }
            progress.send_replace(Progress::Trying);
        }
    }

    /// Tries once to remove an environment. What an earlier attempt did is not done again, or does
    /// no harm.
    async fn destroy_now(&self, id: &EnvironmentId, emptied: &mut bool) -> Result<(), Error> {
        let store = &self.ports.store;
        let Some(destruction) = store.destruction(id).await? else {
            return Ok(());
        };
        if !*emptied {
            self.empty(id, &destruction.actor).await?;
            *emptied = true;
        }
        self.hub.publish(id, None).await?;
        let snapshot = self.keeper(id)?.watch().borrow().clone();
        if snapshot.environment.adopted.is_some() {
            self.ports.redirects.set(id, &BTreeSet::new()).await?;
        }
        self.ports.prober.watch(id, Vec::new());
        self.settle(id, OneOffs::End).await?;
        // Asked again meanwhile, the volumes may be wanted deleted too.
        let mut done = None;
        while let Some(wanted) = store.destruction(id).await?.map(|one| one.volumes)
            && done != Some(wanted)
        {
            self.ports.engine.destroy(id, wanted).await?;
            done = Some(wanted);
        }
        let Some(stored) = store.load_environment(id).await? else {
            return Ok(());
        };
        let destroyed = self.event(&destruction.actor, "environment.destroyed", id);
        store
            .delete_environment(id, stored.version, &[destroyed])
            .await?;
        Ok(())
    }

    /// Has the keeper stop everything, and then ends it: it would publish routes again. Its last
    /// word stays to be seen until the environment is gone.
    async fn empty(&self, id: &EnvironmentId, actor: &str) -> Result<(), Error> {
        let keeper = self.keeper(id)?;
        let actor = actor.to_owned();
        keeper
            .edit(move |environment, now| {
                let change = match environment.lifecycle {
                    Lifecycle::Down => Change::default(),
                    Lifecycle::Up => environment.take_down(&actor, now),
                };
                Ok(((), change))
            })
            .await?;
        let mut snapshots = keeper.watch();
        let gone = snapshots.wait_for(|snapshot| {
            snapshot.environment.is_empty() && snapshot.observation.instances.is_empty()
        });
        let in_time = tokio::time::timeout(LONGEST_STOP, gone).await;
        let gone = in_time.map_err(|_| PortError::Failed {
            attempted: "stopping its instances".to_owned(),
            reason: "they do not stop".to_owned(),
        })?;
        drop(gone.map_err(|_| Error::Stopping)?);
        keeper.stop();
        keeper.ended().await;
        Ok(())
    }
}
