//! Tries health checks, each instance by a task of its own. Not the verdict, which the model draws
//! from the records.

mod record;
mod tries;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use towpath_model::id::{EnvironmentId, InstanceId};
use towpath_model::observation::ProbeRecord;
use towpath_model::port::{Clock, ProbeTarget, Prober};
use towpath_model::workload::{Command, Probe};

use self::record::{Weight, note};

/// How long an instance without a check must run to be well.
const SETTLING: Duration = Duration::from_secs(1);

/// Shorter intervals would be a load of their own.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Runs a command where an instance runs, with its variables. An engine can.
#[async_trait]
pub trait RunInInstance: Send + Sync + std::fmt::Debug {
    /// Returns when the command ended with exit code 0; the error says what was met otherwise.
    /// Whoever drops the future ends the command and all that it started.
    async fn run_in(&self, id: &InstanceId, command: &Command) -> Result<(), String>;

    /// Returns the command that tells how the instance is in place of the specification's check: its
    /// image has one, and nobody said anything else.
    fn own_check(&self, _id: &InstanceId) -> Option<Command> {
        None
    }

    /// Returns why an instance cannot be well, where that is known without a try.
    fn ailment(&self, _id: &InstanceId) -> Option<String> {
        None
    }
}

/// Tries the health checks of instances on this machine: HTTP, TCP, commands, and that one runs.
#[derive(Debug)]
pub struct HttpProber {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
    runtime: tokio::runtime::Handle,
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    commands: Arc<dyn RunInInstance>,
    environments: Mutex<BTreeMap<EnvironmentId, Environment>>,
}

#[derive(Debug, Default)]
struct Environment {
    watched: BTreeMap<InstanceId, Watched>,
    changes: Arc<Notify>,
}

#[derive(Debug)]
struct Watched {
    target: watch::Sender<ProbeTarget>,
    record: Option<ProbeRecord>,
    task: AbortHandle,
}

impl HttpProber {
    /// Makes a prober that watches nothing yet. Called from within a runtime.
    pub fn new(clock: Arc<dyn Clock>, commands: Arc<dyn RunInInstance>) -> Self {
        Self {
            shared: Arc::new(Shared {
                clock,
                commands,
                environments: Mutex::default(),
            }),
            tasks: Mutex::new(JoinSet::new()),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    fn begin(&self, target: ProbeTarget) -> Watched {
        let (sender, receiver) = watch::channel(target);
        let task = probe(Arc::clone(&self.shared), receiver);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        Watched {
            target: sender,
            record: None,
            task: tasks.spawn_on(task, &self.runtime),
        }
    }
}

#[async_trait]
impl Prober for HttpProber {
    fn watch(&self, environment: &EnvironmentId, targets: Vec<ProbeTarget>) {
        let mut environments = self.shared.lock();
        let known = environments.entry(environment.clone()).or_default();
        let mut before = std::mem::take(&mut known.watched);
        for target in targets {
            let id = target.id.clone();
            let watched = match before.remove(&id) {
                Some(mut watched) => {
                    if !is_same_run(&watched.target.borrow(), &target) {
                        watched.record = None;
                    }
                    watched.target.send_if_modified(|old| {
                        let changed = *old != target;
                        *old = target;
                        changed
                    });
                    watched
                }
                None => self.begin(target),
            };
            known.watched.insert(id, watched);
        }
        for gone in before.values() {
            gone.task.abort();
        }
    }

    fn records(&self, environment: &EnvironmentId) -> BTreeMap<InstanceId, ProbeRecord> {
        let environments = self.shared.lock();
        let watched = environments.get(environment).map(|known| &known.watched);
        let watched = watched.into_iter().flatten();
        watched
            .filter_map(|(id, watched)| Some((id.clone(), watched.record.clone()?)))
            .collect()
    }

    async fn changed(&self, environment: &EnvironmentId) {
        let changes = {
            let mut environments = self.shared.lock();
            Arc::clone(&environments.entry(environment.clone()).or_default().changes)
        };
        changes.notified().await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<EnvironmentId, Environment>> {
        self.environments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the outcome of a try, and tells whoever waits if it matters.
    fn enter(&self, target: &ProbeTarget, outcome: Result<(), String>) {
        let now = self.clock.now();
        let mut environments = self.lock();
        let Some(known) = environments.get_mut(&target.id.environment) else {
            return;
        };
        let Some(watched) = known.watched.get_mut(&target.id) else {
            return;
        };
        // It is another run by now, of which this says nothing.
        if !is_same_run(&watched.target.borrow(), target) {
            return;
        }
        let (record, weight) = note(watched.record.take(), target, outcome, now);
        watched.record = Some(record);
        if weight == Weight::Matters {
            known.changes.notify_waiters();
            known.changes.notify_one();
        }
    }
}

/// Tells whether what was found of one is true of the other: neither was it started again, nor is it
/// somewhere else.
fn is_same_run(one: &ProbeTarget, other: &ProbeTarget) -> bool {
    one.since == other.since && one.address == other.address
}

/// Tries one instance's check again and again: at once, and then in the interval of the target,
/// which may change meanwhile.
async fn probe(shared: Arc<Shared>, mut targets: watch::Receiver<ProbeTarget>) {
    loop {
        let target = targets.borrow_and_update().clone();
        let begun = Instant::now();
        let outcome = attempt(&shared, &target).await;
        shared.enter(&target, outcome);
        loop {
            let interval = targets.borrow_and_update().interval.max(SHORTEST_INTERVAL);
            tokio::select! {
                () = tokio::time::sleep_until(begun + interval) => break,
                changed = targets.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }
}

async fn attempt(shared: &Shared, target: &ProbeTarget) -> Result<(), String> {
    let check = &target.check;
    if let Some(ailment) = shared.commands.ailment(&target.id) {
        return Err(ailment);
    }
    let own = shared.commands.own_check(&target.id).map(Probe::Command);
    let probe = own.as_ref().unwrap_or(&check.probe);
    let attempt = async {
        match probe {
            Probe::Running => {
                settle(shared, target).await;
                Ok(())
            }
            Probe::Tcp => tries::tcp(target.address).await,
            Probe::Http { path } => tries::http(target.address, path).await,
            Probe::Command(command) => shared.commands.run_in(&target.id, command).await,
        }
    };
    if *probe == Probe::Running {
        return attempt.await;
    }
    tokio::time::timeout(check.timeout, attempt)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {:?}", check.timeout)))
}

/// Waits until the instance has run for long enough.
async fn settle(shared: &Shared, target: &ProbeTarget) {
    let run = shared.clock.now().duration_since(target.since);
    let run = Duration::try_from(run).unwrap_or(Duration::ZERO);
    tokio::time::sleep(SETTLING.saturating_sub(run)).await;
}
