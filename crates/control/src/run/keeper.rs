//! The one writer of a run: a task that observes, steps, writes down, and does, until nothing more is
//! to be done. It is level-triggered, as that of an environment is. Not the rules, which are
//! `model::pipeline::step`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use towpath_model::event::NewEvent;
use towpath_model::id::RunId;
use towpath_model::instance::elapsed;
use towpath_model::pipeline::command::Refusal;
use towpath_model::pipeline::run::Run;
use towpath_model::pipeline::step;
use towpath_model::repository::status::Status;
use towpath_store::{Progress, Said};

use super::act::Done;
use super::document;
use super::log::Collector;
use super::look::Looker;
use crate::checkout::Checkout;
use crate::error::{Error, describe};
use crate::platform::Shared;

/// The longest time between two looks, though nothing was heard.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The time until the next look after something failed.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The time until the next look while something is about to be done.
const SOON: Duration = Duration::from_millis(50);

/// The least time between two looks.
const BREATH: Duration = Duration::from_millis(5);

/// Commands that wait for their turn; more senders wait themselves.
const QUEUE: usize = 16;

type Edit = Box<dyn FnOnce(&mut Run, Timestamp) -> Result<Vec<NewEvent>, Refusal> + Send>;

struct Command {
    edit: Edit,
    done: oneshot::Sender<Result<(), Error>>,
}

/// A cheap handle to the keeper of a run.
#[derive(Debug, Clone)]
pub(crate) struct RunKeeper {
    commands: mpsc::Sender<Command>,
    latest: watch::Receiver<Arc<Run>>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").finish_non_exhaustive()
    }
}

impl RunKeeper {
    /// Makes a keeper, and the future that does its work.
    pub(super) fn new(
        shared: Arc<Shared>,
        run: Run,
        version: u64,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (commands, receiver) = mpsc::channel(QUEUE);
        let (sender, latest) = watch::channel(Arc::new(run.clone()));
        let task = Task {
            id: RunId::new(run.app.clone(), run.number),
            shared,
            run,
            version,
            latest: sender,
            checkout: None,
            logs: BTreeMap::new(),
            told: None,
            lookers: BTreeMap::new(),
        };
        (Self { commands, latest }, task.run(receiver))
    }

    /// Has the record edited and written down.
    pub(super) async fn edit<F>(&self, edit: F) -> Result<(), Error>
    where
        F: FnOnce(&mut Run, Timestamp) -> Result<Vec<NewEvent>, Refusal> + Send + 'static,
    {
        let (done, answer) = oneshot::channel();
        let edit: Edit = Box::new(edit);
        let sent = self.commands.send(Command { edit, done }).await;
        sent.map_err(|_| Error::Stopping)?;
        answer.await.map_err(|_| Error::Stopping)?
    }

    /// Returns a receiver of the latest record.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Run>> {
        self.latest.clone()
    }

    /// Returns the latest record.
    pub(super) fn run(&self) -> Arc<Run> {
        self.latest.borrow().clone()
    }
}

pub(super) struct Task {
    pub(super) id: RunId,
    pub(super) shared: Arc<Shared>,
    pub(super) run: Run,
    version: u64,
    latest: watch::Sender<Arc<Run>>,
    /// The tree of the run, once it was needed.
    pub(super) checkout: Option<Checkout>,
    /// Who keeps the logs of attempts, by the numbers of the job and the attempt.
    pub(super) logs: BTreeMap<(u32, u32), Collector>,
    /// What the forge is told of it at last, once that was written down.
    told: Option<Vec<Status>>,
    /// Who looks at what attempts left behind.
    pub(super) lookers: BTreeMap<(u32, u32), Looker>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let stop = self.shared.stopping();
        let mut bell = self.shared.bell();
        loop {
            bell.mark_unchanged();
            let turned = self.turn().await;
            let wait = turned.unwrap_or_else(|error| {
                let error = describe(&error);
                tracing::warn!(run = %self.id, error, "a step failed and is tried again");
                RETRY_AFTER
            });
            if self.run.is_settled() && self.leave(&mut commands) {
                return;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(command) = commands.recv() => self.serve(command).await,
                Ok(()) = bell.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
            tokio::time::sleep(BREATH).await;
        }
    }

    /// Ends the keeper, unless somebody asks for something in this moment.
    fn leave(&self, commands: &mut mpsc::Receiver<Command>) -> bool {
        let mut runs = self.shared.runs.lock();
        // Whoever has a handle but has not sent yet is told that the keeper ended, and asks anew.
        if !commands.is_empty() {
            return false;
        }
        commands.close();
        runs.remove(&self.id);
        true
    }

    /// Looks once, writes down what follows, and does it. Returns how long nothing has to be done.
    async fn turn(&mut self) -> Result<Duration, Error> {
        let observation = self.observe().await?;
        let now = self.shared.ports.clock.now();
        let next = step(&self.run, &observation, now);
        if next.run != self.run || !next.events.is_empty() || self.told.is_none() {
            self.commit(next.run, &next.events).await?;
        }
        self.collect_logs(&observation);
        let mut wait = next
            .wake_at
            .map_or(LONGEST_WAIT, |at| elapsed(now, at).min(LONGEST_WAIT));
        for action in next.actions {
            match self.act(&action, &observation).await {
                Ok(Done::Asked) => {}
                Ok(Done::NotYet) => wait = wait.min(SOON),
                Ok(Done::Edit(edit)) => {
                    self.edit(edit).await?;
                    wait = Duration::ZERO;
                }
                Err(error) => {
                    let error = describe(&error);
                    tracing::warn!(run = %self.id, error, "an action failed and is tried again");
                    wait = wait.min(RETRY_AFTER);
                }
            }
        }
        Ok(wait)
    }

    async fn edit(&mut self, edit: super::act::Edit) -> Result<(), Error> {
        let mut edited = self.run.clone();
        let events = edit(&mut edited, self.shared.ports.clock.now());
        self.commit(edited, &events).await
    }

    async fn serve(&mut self, command: Command) {
        let mut edited = self.run.clone();
        let now = self.shared.ports.clock.now();
        let answer = match (command.edit)(&mut edited, now) {
            Ok(events) => self.commit(edited, &events).await,
            Err(refusal) => Err(refusal.into()),
        };
        // Whoever asked may have stopped waiting; what was committed stays.
        drop(command.done.send(answer));
    }

    /// Writes the record down, with its events. Only then is it the record.
    async fn commit(&mut self, run: Run, events: &[NewEvent]) -> Result<(), Error> {
        let document = document(&run)?;
        let progress = if run.is_settled() {
            Progress::Settled
        } else {
            Progress::Unsettled
        };
        let wanted = self.shared.statuses_of(&run).await?;
        let is_news = self.told.as_ref() != Some(&wanted);
        let said = Said {
            at: self.shared.ports.clock.now(),
            events,
            statuses: if is_news { &wanted } else { &[] },
        };
        let store = &self.shared.ports.store;
        let committed = store.commit_run(&self.id, self.version, &document, progress, said);
        self.version = committed.await?;
        if is_news && !wanted.is_empty() {
            self.shared.statuses.wake();
        }
        self.told = Some(wanted);
        if self.shared.groups.update(&run) {
            self.shared.ring();
        }
        self.latest.send_replace(Arc::new(run.clone()));
        self.run = run;
        Ok(())
    }
}
