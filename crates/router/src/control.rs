//! The control side: takes tables, puts them in force, reports. One task owns all of it; the path
//! of a request never comes here.

pub(crate) mod socket;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use towpath_model::routing::{ListenerFault, RouteTable, RouterReport};

use crate::checks::{self, Checks};
use crate::instance::Instance;
use crate::listeners::Listeners;
use crate::metrics;
use crate::names::NameServers;
use crate::registry::Registry;
use crate::report::report;
use crate::shared::Shared;
use crate::table_file::TableFile;
use crate::worker::Worker;

/// How often listeners that failed are tried again, and a table that could not be written.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What is asked of the control side.
#[derive(Debug)]
pub(crate) enum Call {
    Put(
        Box<RouteTable>,
        oneshot::Sender<Result<RouterReport, Refused>>,
    ),
    Report(oneshot::Sender<RouterReport>),
    Metrics(oneshot::Sender<String>),
}

/// Why a table was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("generation {given} is older than {current}, which is in force")]
    Older { given: u64, current: u64 },
    #[error("the table is in force but could not be written to disk")]
    NotWritten(#[source] std::io::Error),
}

/// The control side.
#[derive(Debug)]
pub(crate) struct Control {
    boot: String,
    file: TableFile,
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    registry: Registry,
    listeners: Listeners,
    names: NameServers,
    checks: Checks,
    /// The newest table that is in force.
    current: Arc<RouteTable>,
    /// The newest table that is in force and on disk.
    acknowledged: Arc<RouteTable>,
}

impl Control {
    pub(crate) fn new(
        boot: String,
        file: TableFile,
        shared: Arc<Shared>,
        workers: Vec<Worker>,
        names: NameServers,
    ) -> Self {
        let registry = Registry::new(workers.len(), Arc::clone(&shared.signals));
        Self {
            boot,
            file,
            shared,
            workers,
            registry,
            listeners: Listeners::default(),
            names,
            checks: Checks::default(),
            current: Arc::default(),
            acknowledged: Arc::default(),
        }
    }

    /// Puts in force the table that was on disk.
    pub(crate) async fn resume(&mut self, last: RouteTable) {
        self.acknowledged = Arc::new(last);
        self.put_in_force(Arc::clone(&self.acknowledged)).await;
    }

    /// Answers calls until `shutdown`, then closes the listeners and lets go of the workers.
    pub(crate) async fn run(
        mut self,
        mut calls: mpsc::Receiver<Call>,
        shutdown: CancellationToken,
    ) -> Vec<Worker> {
        let signals = Arc::clone(&self.shared.signals);
        let mut running = JoinSet::new();
        let mut retry = tokio::time::interval(RETRY_EVERY);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let next_check = self.checks.next();
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(call) = calls.recv() => self.answer(call).await,
                () = signals.ejected.notified() => self.checks.take_up(self.registry.instances()),
                () = until(next_check) => self.start_checks(&mut running),
                Some(Ok((instance, accepts))) = running.join_next() => {
                    self.checks.result(&instance, accepts);
                }
                _ = retry.tick() => self.retry().await,
            }
        }
        self.listeners.close_all();
        self.names.close_all().await;
        self.workers
    }

    fn start_checks(&mut self, running: &mut JoinSet<(Arc<Instance>, bool)>) {
        for instance in self.checks.start() {
            running.spawn(async move {
                let accepts = checks::accepts(&instance).await;
                (instance, accepts)
            });
        }
    }

    async fn answer(&mut self, call: Call) {
        // Who asked may have gone; then nobody needs the answer.
        match call {
            Call::Put(table, reply) => {
                let answer = self.put(*table).await;
                drop(reply.send(answer));
            }
            Call::Report(reply) => drop(reply.send(self.report())),
            Call::Metrics(reply) => {
                let generation = self.acknowledged.generation;
                let faults = self.faults().len();
                drop(reply.send(metrics::text(&self.registry, generation, faults)));
            }
        }
    }

    fn report(&self) -> RouterReport {
        report(
            &self.boot,
            &self.acknowledged,
            self.faults(),
            &self.registry,
        )
    }

    async fn put(&mut self, table: RouteTable) -> Result<RouterReport, Refused> {
        let (given, current) = (table.generation, self.current.generation);
        if given < current {
            return Err(Refused::Older { given, current });
        }
        self.put_in_force(Arc::new(table)).await;
        self.write().await.map_err(Refused::NotWritten)?;
        Ok(self.report())
    }

    async fn put_in_force(&mut self, table: Arc<RouteTable>) {
        let compiled = self.registry.compile(&table);
        self.shared.swap(compiled);
        self.registry.retire(&table, Instant::now());
        self.checks.take_up(self.registry.instances());
        self.current = table;
        self.listen().await;
    }

    async fn listen(&mut self) {
        let listeners = self.listeners.reconcile(&self.current, &self.workers).await;
        let names = self.names.reconcile(&self.current).await;
        if listeners || names {
            self.shared.signals.changed();
        }
    }

    fn faults(&self) -> Vec<ListenerFault> {
        let mut faults = self.listeners.faults();
        faults.extend(self.names.faults());
        faults
    }

    async fn write(&mut self) -> std::io::Result<()> {
        let (file, table) = (self.file.clone(), Arc::clone(&self.current));
        let written = tokio::task::spawn_blocking(move || file.save(&table)).await;
        match written.map_err(std::io::Error::other).flatten() {
            Ok(()) => {
                self.acknowledged = Arc::clone(&self.current);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the route table could not be written, will try again");
                Err(error)
            }
        }
    }

    async fn retry(&mut self) {
        self.registry.forget(Instant::now());
        if self.listeners.has_faults() || self.names.has_faults() {
            self.listen().await;
        }
        if !Arc::ptr_eq(&self.current, &self.acknowledged) && self.write().await.is_ok() {
            self.shared.signals.changed();
        }
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
