//! Runs: begun by a push, stopped, tried again, approved, looked at. Each has a keeper, which moves
//! it. Not the rules, which are `model::pipeline`.

mod act;
mod ancestry;
mod cache;
pub(crate) mod groups;
mod keeper;
mod kept;
mod last_lines;
mod log;
mod look;
mod observe;
mod promote;
mod reach;
mod reuse;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use towpath_model::delivery::DeliveryFile;
use towpath_model::event::NewEvent;
use towpath_model::id::{AppName, EnvironmentName, ReleaseNumber, RunId, RunNumber};
use towpath_model::pipeline::command::Refusal;
use towpath_model::pipeline::plan::{Plan, plan};
use towpath_model::pipeline::run::{Gate, Run, TargetState};
use towpath_model::pipeline::{Push, Reference};
use towpath_store::{ReleaseOfRun, StoredRun};

use crate::checkout::Checkout;
use crate::error::Error;
use crate::platform::{Platform, Shared};
use keeper::RunKeeper;
pub use log::{RunLog, RunLogLine, RunLogQuery};
pub use promote::Promote;

/// Runs of an app whose logs and artifacts are kept.
const KEPT_RUNS: u32 = 200;

/// Runs that are looked through for that of a push that is handed in again.
const RECENT: u32 = 100;

/// The keepers of all runs for which something is to be done.
#[derive(Debug, Default)]
pub(crate) struct Runs(Mutex<BTreeMap<RunId, RunKeeper>>);

impl Runs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<RunId, RunKeeper>> {
        // The map is whole between any two statements that hold the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keeper(&self, id: &RunId) -> Option<RunKeeper> {
        self.lock().get(id).cloned()
    }

    fn awaited(&self) -> Vec<Awaited> {
        let runs: Vec<Arc<Run>> = self.lock().values().map(RunKeeper::run).collect();
        let of_run = |run: &Arc<Run>| {
            let targets = run.targets.iter();
            let waiting = targets.filter_map(|target| match &target.state {
                TargetState::Gated { gate, since } if *gate == Gate::Approval => Some(Awaited {
                    run: Arc::clone(run),
                    environment: target.environment.clone(),
                    since: *since,
                }),
                _ => None,
            });
            waiting.collect::<Vec<_>>()
        };
        runs.iter().flat_map(of_run).collect()
    }

    /// Returns the releases that runs still bring out: nothing of them may be pruned.
    pub(crate) fn releases(&self, app: &AppName) -> Vec<ReleaseNumber> {
        let runs = self.lock();
        let own = runs.iter().filter(|(id, _)| &id.app == app);
        own.map(|(_, keeper)| keeper.run().release).collect()
    }
}

/// A release that waits for people before an environment.
#[derive(Debug, Clone)]
pub struct Awaited {
    /// The run that brings it.
    pub run: Arc<Run>,
    /// The environment.
    pub environment: EnvironmentName,
    /// Since when.
    pub since: Timestamp,
}

/// What somebody decides on a release that waits before an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The environment.
    pub environment: EnvironmentName,
    /// Whether it may come.
    pub approve: bool,
    /// What they say of it.
    pub comment: Option<String>,
    /// Who decides.
    pub actor: String,
}

impl Platform {
    /// Begins the run of a push whose tree is stored: everything that can be wrong with its files is
    /// said now. Returns its number; `None` when the delivery file has nothing to do for such a push.
    /// The same commit on the same branch or tag, handed in again after a crash, is the same run.
    pub async fn submit(&self, push: Push) -> Result<Option<RunNumber>, Error> {
        let shared = &self.shared;
        if shared.ports.store.source(&push.source).await?.is_none() {
            return Err(Error::NoSource(push.source.to_string()));
        }
        if let Some(number) = self.same_run(&push).await? {
            return Ok(Some(number));
        }
        let checkout = shared.check_out(&push.app, &push.source).await?;
        let file = self.file_for(&checkout, &push).await;
        let Some(plan) = plan(&file, &push) else {
            return Ok(None);
        };
        let warnings = checkout.check(&plan).await?;
        Ok(Some(self.begin_new(push, (plan, warnings)).await?))
    }

    /// Returns the run of a push that was handed in before, where nothing came to its branch or tag
    /// since.
    async fn same_run(&self, push: &Push) -> Result<Option<RunNumber>, Error> {
        if push.commit.is_empty() || push.reference == Reference::WorkingTree {
            return Ok(None);
        }
        let runs = self.runs(&push.app, RECENT).await?;
        let mut own = runs.iter().filter(|run| !run.is_promotion);
        let last = own.find(|run| run.push.reference == push.reference);
        let same = last.filter(|last| last.push.commit == push.commit);
        let same = same.filter(|last| last.push.source == push.source);
        // The preview of a pull request that was closed and is open again is to be made again.
        let same = same.filter(|last| last.outcome.is_none() || !self.has_lost_preview(last));
        Ok(same.map(|last| last.number))
    }

    /// Tells whether a preview that a run made is gone.
    fn has_lost_preview(&self, run: &Run) -> bool {
        let mut previews = run.targets.iter().filter(|one| one.preview.is_some());
        previews.any(|one| {
            let id = run.environment(&one.environment);
            self.snapshot(&id).is_err() || self.is_being_destroyed(&id)
        })
    }

    /// Returns the delivery file by which a push is delivered: its own. What is said of previews for
    /// forks is what the branch says that it is meant for.
    async fn file_for<'c>(&self, checkout: &'c Checkout, push: &Push) -> Cow<'c, DeliveryFile> {
        let Reference::PullRequest {
            into, fork: true, ..
        } = &push.reference
        else {
            return Cow::Borrowed(checkout.file());
        };
        let mut file = checkout.file().clone();
        let previews = self.previews_of_branch(&push.app, into).await;
        file.previews = previews.unwrap_or_default();
        Cow::Owned(file)
    }

    /// Stops the runs of a pull request.
    pub(crate) async fn cancel_runs_of_request(
        &self,
        app: &AppName,
        number: u64,
        actor: &str,
    ) -> Result<(), Error> {
        let of_request = |run: &Run| {
            let reference = &run.push.reference;
            matches!(reference, Reference::PullRequest { number: own, .. } if *own == number)
        };
        let runs: Vec<RunId> = {
            let runs = self.shared.runs.lock();
            let own = runs.iter().filter(|(id, _)| &id.app == app);
            let own = own.filter(|(_, keeper)| of_request(&keeper.run()));
            own.map(|(id, _)| id.clone()).collect()
        };
        for id in runs {
            match self.cancel_run(&id, actor).await {
                Ok(()) | Err(Error::RunRefused(_) | Error::Stopping) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Stops a run. What is under way is aborted.
    pub async fn cancel_run(&self, id: &RunId, actor: &str) -> Result<(), Error> {
        let actor = actor.to_owned();
        let edit = move |run: &mut Run, now| run.cancel(&actor, now);
        self.shared.edit_run(id, edit).await
    }

    /// Tries again what failed of a run.
    pub async fn retry_run(&self, id: &RunId, actor: &str) -> Result<(), Error> {
        let actor = actor.to_owned();
        let edit = move |run: &mut Run, now| run.retry(&actor, now);
        self.shared.edit_run(id, edit).await
    }

    /// Lets the release of a run come to an environment, or not.
    pub async fn decide(&self, id: &RunId, decision: Decision) -> Result<(), Error> {
        let Decision {
            environment,
            approve,
            comment,
            actor,
        } = decision;
        let edit = move |run: &mut Run, now| {
            if approve {
                run.approve(&environment, &actor, comment, now)
            } else {
                run.reject(&environment, &actor, comment, now)
            }
        };
        self.shared.edit_run(id, edit).await
    }

    /// Returns the latest runs of an app, newest first.
    pub async fn runs(&self, app: &AppName, limit: u32) -> Result<Vec<Run>, Error> {
        let stored = self.shared.ports.store.runs(app, limit).await?;
        stored.iter().map(read).collect()
    }

    /// Returns a run.
    pub async fn show_run(&self, id: &RunId) -> Result<Run, Error> {
        let stored = self.shared.ports.store.run(id).await?;
        let stored = stored.ok_or_else(|| Error::NotFound(id.to_string()))?;
        read(&stored)
    }

    /// Returns what waits for people, oldest first.
    pub fn awaited(&self) -> Vec<Awaited> {
        let mut found = self.shared.runs.awaited();
        found.sort_by_key(|one| one.since);
        found
    }

    /// Returns a receiver of a run's latest record; `None` when nothing more happens to it.
    pub fn watch_run(&self, id: &RunId) -> Option<watch::Receiver<Arc<Run>>> {
        self.shared.runs.keeper(id).map(|keeper| keeper.watch())
    }
}

impl Shared {
    /// Takes up the runs that were under way when the control plane ended.
    pub(crate) async fn resume_runs(self: &Arc<Self>) -> Result<(), Error> {
        let mut runs = Vec::new();
        for stored in self.ports.store.unsettled_runs().await? {
            runs.push((read(&stored)?, stored.version));
        }
        self.groups.take_up(runs.iter().map(|(run, _)| run));
        for (run, version) in runs {
            self.keep_run(run, version);
        }
        Ok(())
    }

    /// Writes a run down, and has it moved.
    async fn begin(
        self: &Arc<Self>,
        push: Push,
        (plan, warnings): (Plan, Vec<String>),
        release: ReleaseOfRun,
    ) -> Result<RunNumber, Error> {
        let now = self.ports.clock.now();
        let is_promotion = matches!(release, ReleaseOfRun::Present(_));
        let is_hotfix = plan.is_hotfix;
        let app = push.app.clone();
        let write = |number, release| {
            let run = Run {
                app: push.app.clone(),
                number,
                push,
                release,
                is_promotion,
                warnings,
                is_hotfix,
                reach: plan.reach,
                created_at: now,
                jobs: plan.jobs,
                targets: plan.targets,
                stop: None,
                outcome: None,
                finished_at: None,
            };
            let begun = begun(&run, now);
            Ok((serde_json::to_value(&run)?, vec![begun]))
        };
        let stored = self.ports.store.create_run(&app, release, now, write);
        let stored = stored.await?;
        self.forget_old_logs(&stored.id).await;
        self.keep_run(read(&stored)?, stored.version);
        Ok(stored.id.number)
    }

    /// Returns the keepers of runs that are under way of the same reference.
    fn active(&self, app: &AppName, reference: &Reference, is_hotfix: bool) -> Vec<RunKeeper> {
        let runs = self.runs.lock();
        let same = runs.values().filter(|keeper| {
            let run = keeper.run();
            &run.app == app
                && &run.push.reference == reference
                && run.outcome.is_none()
                && !run.is_promotion
                && run.is_hotfix == is_hotfix
        });
        same.cloned().collect()
    }

    /// Has a record edited and written down, whether something is to be done for the run or not.
    async fn edit_run<F>(self: &Arc<Self>, id: &RunId, edit: F) -> Result<(), Error>
    where
        F: FnOnce(&mut Run, Timestamp) -> Result<Vec<NewEvent>, Refusal> + Clone + Send + 'static,
    {
        match self.try_edit_run(id, edit.clone()).await {
            // The keeper ended as nothing was to be done any more: the next one does it.
            Err(Error::Stopping) if !self.stopping().is_cancelled() => {
                self.try_edit_run(id, edit).await
            }
            edited => edited,
        }
    }

    async fn try_edit_run<F>(self: &Arc<Self>, id: &RunId, edit: F) -> Result<(), Error>
    where
        F: FnOnce(&mut Run, Timestamp) -> Result<Vec<NewEvent>, Refusal> + Send + 'static,
    {
        let keeper = if let Some(keeper) = self.runs.keeper(id) {
            keeper
        } else {
            let stored = self.ports.store.run(id).await?;
            let stored = stored.ok_or_else(|| Error::NotFound(id.to_string()))?;
            self.keep_run(read(&stored)?, stored.version)
        };
        keeper.edit(edit).await
    }

    /// Starts the keeper of a run, unless it has one.
    fn keep_run(self: &Arc<Self>, run: Run, version: u64) -> RunKeeper {
        let id = RunId::new(run.app.clone(), run.number);
        let mut runs = self.runs.lock();
        if let Some(keeper) = runs.get(&id) {
            return keeper.clone();
        }
        let (keeper, work) = RunKeeper::new(Arc::clone(self), run, version);
        runs.insert(id, keeper.clone());
        drop(runs);
        self.spawn(work);
        keeper
    }
}

fn begun(run: &Run, at: Timestamp) -> NewEvent {
    NewEvent {
        at,
        actor: run.push.actor.clone(),
        what: "run.started".to_owned(),
        subject: run.subject(),
        from: None,
        to: Some(run.push.commit.clone()).filter(|commit| !commit.is_empty()),
        reason: Some(run.push.reference.to_string()),
    }
}

fn read(stored: &StoredRun) -> Result<Run, Error> {
    serde_json::from_value(stored.document.clone()).map_err(|source| Error::UnreadableRun {
        run: stored.id.clone(),
        source,
    })
}

/// Writes a record for the store.
fn document(run: &Run) -> Result<Value, Error> {
    serde_json::to_value(run).map_err(|source| Error::UnreadableRun {
        run: RunId::new(run.app.clone(), run.number),
        source,
    })
}
