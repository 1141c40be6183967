//! The one writer of an environment: a task that observes, steps, writes down, and does. It is
//! level-triggered: whatever woke it, it looks at everything and does what is missing. Not the
//! rules, which are `model::step`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use towpath_model::command::{Change, Refusal};
use towpath_model::console::OneOffs;
use towpath_model::deployment::{Deployment, Kind as DeploymentKind};
use towpath_model::environment::{Environment, Lifecycle};
use towpath_model::id::EnvironmentId;
use towpath_model::instance::elapsed;
use towpath_model::observation::Observation;
use towpath_model::pipeline::is_ephemeral;
use towpath_model::port::PortError;
use towpath_model::step::{Action, step};
use towpath_store::DeploymentRow;

use crate::error::{Error, describe};
use crate::last_words;
use crate::mask::Mask;
use crate::observe::observe;
use crate::platform::Shared;

/// The longest time between two looks, though nothing was heard.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The time until the next look after something failed.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The least time between two looks, so that a chatty port cannot keep a core busy.
const BREATH: Duration = Duration::from_millis(2);

/// Commands that wait for their turn; more senders wait themselves.
const QUEUE: usize = 64;

/// An environment and what was observed of it, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The record.
    pub environment: Environment,
    /// What the record was last compared with.
    pub observation: Observation,
    /// Why the engine cannot say how it is, while it cannot: nothing is decided meanwhile.
    pub engine_fault: Option<String>,
}

type Edit = Box<dyn FnOnce(&mut Environment, Timestamp) -> Result<Change, Refusal> + Send>;

struct Command {
    edit: Edit,
    done: oneshot::Sender<Result<(), Error>>,
}

/// A cheap handle to a keeper.
#[derive(Debug, Clone)]
pub(crate) struct Keeper {
    commands: mpsc::Sender<Command>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    stop: CancellationToken,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").finish_non_exhaustive()
    }
}

impl Keeper {
    /// Makes a keeper, and the future that does its work until `stop`.
    pub(crate) fn new(
        shared: Arc<Shared>,
        environment: Environment,
        version: u64,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (commands, receiver) = mpsc::channel(QUEUE);
        let snapshot = Snapshot {
            environment: environment.clone(),
            observation: Observation::default(),
            engine_fault: None,
        };
        let (sender, snapshots) = watch::channel(Arc::new(snapshot));
        let task = Task {
            shared,
            environment,
            version,
            snapshots: sender,
        };
        (
            Self {
                commands,
                snapshots,
                stop: stop.clone(),
            },
            task.run(receiver, stop),
        )
    }

    /// Has the record edited and written down. The edit sees the latest record.
    pub(crate) async fn edit<T, F>(&self, edit: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Environment, Timestamp) -> Result<(T, Change), Refusal> + Send + 'static,
    {
        let (value_sender, value) = oneshot::channel();
        let edit: Edit = Box::new(move |environment, now| {
            let (value, change) = edit(environment, now)?;
            // The other end waits for it below.
            drop(value_sender.send(value));
            Ok(change)
        });
        let (done, answer) = oneshot::channel();
        self.commands
            .send(Command { edit, done })
            .await
            .map_err(|_| Error::Stopping)?;
        answer.await.map_err(|_| Error::Stopping)??;
        value.await.map_err(|_| Error::Stopping)
    }

    /// Returns a receiver of the latest snapshot.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Ends the keeper's task.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the keeper's task has ended.
    pub(crate) async fn ended(&self) {
        let mut snapshots = self.snapshots.clone();
        while snapshots.changed().await.is_ok() {}
    }
}

struct Task {
    shared: Arc<Shared>,
    environment: Environment,
    version: u64,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

impl Task {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, stop: CancellationToken) {
        let shared = Arc::clone(&self.shared);
        let id = self.environment.id.clone();
        let mut reports = shared.hub.reports();
        loop {
            let turned = self.turn().await;
            let failed = turned.is_err();
            let wait = turned.unwrap_or_else(|error| {
                let error = describe(&error);
                tracing::warn!(environment = %id, error, "a step failed and is tried again");
                RETRY_AFTER
            });
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(command) = commands.recv() => self.serve(command).await,
                // After a failure only time helps: what changes meanwhile would fail again.
                () = shared.ports.engine.changed(&id), if !failed => {}
                () = shared.ports.prober.changed(&id), if !failed => {}
                Ok(()) = reports.changed(), if !failed => {}
                () = tokio::time::sleep(wait) => {}
            }
            // Ports that are always ready would else keep every other task from its turn.
            tokio::time::sleep(BREATH).await;
        }
    }

    /// Returns what may not be in what is written down of a job's environment.
    async fn mask(&self) -> Result<Option<Mask>, Error> {
        let id = &self.environment.id;
        if !is_ephemeral(&id.name) {
            return Ok(None);
        }
        let release = self.environment.deployment.as_ref();
        let mask = Mask::of(&self.shared, id, release.map(|one| one.release)).await?;
        Ok(Some(mask))
    }

    /// Looks once, writes down what follows, and does it. Returns how long nothing has to be done.
    async fn turn(&mut self) -> Result<Duration, Error> {
        let mut observation = match observe(&self.shared, &self.environment).await {
            Ok(observation) => observation,
            Err(error) => {
                self.tell_fault(&error);
                return Err(error.into());
            }
        };
        self.settle().await;
        let mask = self.mask().await?;
        if let Some(mask) = &mask {
            mask.cover_observation(&mut observation);
        }
        let now = self.shared.ports.clock.now();
        let mut next = step(&self.environment, &observation, now);
        if let Some(id) = next.unheard() {
            let mut lines = last_words::read(self.shared.ports.engine.as_ref(), id).await;
            if let Some(mask) = &mask {
                for line in &mut lines {
                    mask.cover_text(line);
                }
            }
            next.hear(&lines);
        }
        if next.environment != self.environment || !next.events.is_empty() {
            let change = Change {
                events: next.events,
                finished: next.finished.clone(),
            };
            self.commit(next.environment, &change).await?;
        }
        let environment = self.environment.clone();
        self.snapshots.send_replace(Arc::new(Snapshot {
            environment,
            observation,
            engine_fault: None,
        }));
        let id = self.environment.id.clone();
        self.shared
            .ports
            .prober
            .watch(&id, self.environment.probe_targets());
        let mut wait = next
            .wake_at
            .map_or(LONGEST_WAIT, |at| elapsed(now, at).min(LONGEST_WAIT));
        for action in next.actions {
            match self.act(&action).await {
                // The router's answer may let the next step follow at once, as a redirect does.
                Ok(()) if matches!(action, Action::Publish | Action::Redirect(_)) => {
                    wait = Duration::ZERO;
                }
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(environment = %id, error = %describe(&error), "an action failed and is tried again");
                    wait = wait.min(RETRY_AFTER);
                }
            }
        }
        if !next.finished.is_empty() {
            self.shared.prune(&self.environment).await;
        }
        Ok(wait)
    }

    /// Has one-off instances end that nobody wants any more.
    async fn settle(&self) {
        let wanted = match self.environment.lifecycle {
            Lifecycle::Up => OneOffs::Keep,
            Lifecycle::Down => OneOffs::End,
        };
        let id = &self.environment.id;
        if let Err(error) = self.shared.settle(id, wanted).await {
            let error = describe(&error);
            tracing::warn!(environment = %id, error, "one-off instances cannot be ended yet");
        }
    }

    /// Has whoever looks know that nothing is known, and what was asked for meanwhile.
    fn tell_fault(&self, error: &PortError) {
        let reason = match error {
            PortError::Failed { reason, .. } | PortError::Refused(reason) => reason.clone(),
        };
        self.snapshots.send_if_modified(|last| {
            let told = Snapshot {
                environment: self.environment.clone(),
                observation: last.observation.clone(),
                engine_fault: Some(reason),
            };
            let is_new = **last != told;
            *last = Arc::new(told);
            is_new
        });
    }

    async fn act(&self, action: &Action) -> Result<(), Error> {
        let engine = &self.shared.ports.engine;
        match action {
            Action::Prepare(artifacts) => {
                let id = &self.environment.id;
                let secrets = self.shared.reveal(id, artifacts.build_secrets()).await?;
                engine.prepare(artifacts, &secrets).await?;
            }
            Action::Publish => {
                let published = self.environment.published.clone();
                self.shared
                    .hub
                    .publish(&self.environment.id, Some(published))
                    .await?;
            }
            Action::Start(start) => {
                let secrets = self
                    .shared
                    .reveal_to(&self.environment.id, &start.spec)
                    .await?;
                engine.start(start, &secrets).await?;
            }
            Action::Stop { id, stop } => engine.stop(id, stop).await?,
            Action::Remove(id) => engine.remove(id).await?,
            Action::Adopt(container) => engine.adopt(container).await?,
            Action::LetGo(id) => engine.let_go(id).await?,
            Action::Redirect(wanted) => {
                let redirects = &self.shared.ports.redirects;
                redirects.set(&self.environment.id, wanted).await?;
            }
        }
        Ok(())
    }

    async fn serve(&mut self, command: Command) {
        let mut edited = self.environment.clone();
        let now = self.shared.ports.clock.now();
        let answer = match (command.edit)(&mut edited, now) {
            Ok(change) => self.commit(edited, &change).await,
            Err(refusal) => Err(refusal.into()),
        };
        // Whoever asked may have stopped waiting; what was committed stays.
        drop(command.done.send(answer));
    }

    /// Writes the record down, with its deployments and events. Only then is it the record.
    async fn commit(&mut self, environment: Environment, change: &Change) -> Result<(), Error> {
        let unreadable = |source| Error::Unreadable {
            environment: environment.id.clone(),
            source,
        };
        let document = serde_json::to_value(&environment).map_err(unreadable)?;
        let current = environment.deployment.iter().chain(&environment.waiting);
        let rows = change
            .finished
            .iter()
            .chain(current)
            .map(|deployment| row(&environment.id, deployment))
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?;
        let store = &self.shared.ports.store;
        self.version = store
            .commit_environment(
                &environment.id,
                self.version,
                &document,
                &rows,
                &change.events,
            )
            .await?;
        self.environment = environment;
        self.shared.ring();
        Ok(())
    }
}

fn row(id: &EnvironmentId, deployment: &Deployment) -> Result<DeploymentRow, serde_json::Error> {
    let kind = match deployment.kind {
        DeploymentKind::Release => "release",
        DeploymentKind::Rollback => "rollback",
    };
    Ok(DeploymentRow {
        environment: id.clone(),
        number: deployment.number,
        release: deployment.release,
        kind: kind.to_owned(),
        state: deployment.state().to_string(),
        // When it was asked for: a row's begin never changes.
        started_at: deployment.requested_at,
        finished_at: deployment.finished_at,
        document: serde_json::to_value(deployment)?,
    })
}
