//! What the router knows of one instance, across tables: its load, whether it answers, its idle
//! connections. Not which requests it gets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use towpath_model::id::InstanceId;

use crate::upstream::h1::Connection;
use crate::upstream::h2::Multiplexed;

/// Most idle connections that one worker keeps to one instance.
const MAX_IDLE: usize = 128;

/// An idle connection older than this is closed: few servers keep one for longer.
const MAX_IDLE_AGE: Duration = Duration::from_secs(55);

/// The idle connections of one worker.
type IdlePool = Mutex<VecDeque<Box<Connection>>>;

/// One instance, from the first table that names it until it is idle and no table names it.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) address: SocketAddr,
    in_flight: AtomicU32,
    upgraded: AtomicU32,
    retired: AtomicBool,
    ejected: AtomicBool,
    idle: Box<[IdlePool]>,
    multiplexed: Box<[Mutex<Option<Multiplexed>>]>,
    signals: Arc<Signals>,
}

/// How an instance tells the control side that something worth a look happened.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Counts drain ends, ejections, restorations and faults.
    pub(crate) changes: watch::Sender<u64>,
    /// Wakes the active checks.
    pub(crate) ejected: Notify,
}

impl Signals {
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Instance {
    pub(crate) fn new(
        id: InstanceId,
        address: SocketAddr,
        workers: usize,
        signals: Arc<Signals>,
    ) -> Self {
        Self {
            id,
            address,
            in_flight: AtomicU32::new(0),
            upgraded: AtomicU32::new(0),
            retired: AtomicBool::new(false),
            ejected: AtomicBool::new(false),
            idle: (0..workers).map(|_| Mutex::default()).collect(),
            multiplexed: (0..workers).map(|_| Mutex::default()).collect(),
            signals,
        }
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn upgraded(&self) -> u32 {
        self.upgraded.load(Ordering::SeqCst)
    }

    pub(crate) fn is_answering(&self) -> bool {
        !self.ejected.load(Ordering::Relaxed)
    }

    /// Takes the instance out of the choice until an active check restores it.
    pub(crate) fn eject(&self) {
        if !self.ejected.swap(true, Ordering::SeqCst) {
            tracing::warn!(instance.id = %self.id, instance.address = %self.address,
                "an instance refuses connections, it gets no requests until it accepts them again");
            self.signals.changed();
            self.signals.ejected.notify_one();
        }
    }

    /// Puts an ejected instance back into the choice.
    pub(crate) fn restore(&self) {
        if self.ejected.swap(false, Ordering::SeqCst) {
            tracing::info!(instance.id = %self.id, "an instance accepts connections again");
            self.signals.changed();
        }
    }

    /// Marks whether the table in force names the instance. One that leaves loses its idle
    /// connections; its requests in flight go on.
    pub(crate) fn set_retired(&self, retired: bool) {
        self.retired.store(retired, Ordering::SeqCst);
        if retired {
            self.idle.iter().for_each(|pool| locked(pool).clear());
            self.multiplexed
                .iter()
                .for_each(|slot| *locked(slot) = None);
        }
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// Takes the idle connection of `worker` that was used last, if it is still open and was idle
    /// for no longer than `max_age`.
    pub(crate) fn take_idle(&self, worker: usize, max_age: Duration) -> Option<Box<Connection>> {
        let now = Instant::now();
        loop {
            let connection = locked(self.idle.get(worker)?).pop_back()?;
            if connection.idle_for(now) > max_age {
                self.put_idle(worker, connection);
                return None;
            }
            if connection.is_open() {
                return Some(connection);
            }
        }
    }

    /// Keeps `connection` for another request.
    pub(crate) fn put_idle(&self, worker: usize, connection: Box<Connection>) {
        let Some(pool) = self.idle.get(worker) else {
            return;
        };
        let mut pool = locked(pool);
        // Checked under the lock, which `set_retired` takes after it sets the mark.
        if !self.is_retired() {
            if pool.len() >= MAX_IDLE {
                drop(pool.pop_front());
            }
            pool.push_back(connection);
        }
    }

    /// Closes the idle connections of `worker` that are old or were closed by the instance.
    pub(crate) fn sweep(&self, worker: usize) {
        if let Some(pool) = self.idle.get(worker) {
            let now = Instant::now();
            let mut pool = locked(pool);
            pool.retain(|idle| idle.idle_for(now) < MAX_IDLE_AGE && idle.is_open());
            if pool.is_empty() {
                pool.shrink_to_fit();
            }
        }
    }

    /// The HTTP/2 connection of `worker`, if one is open.
    pub(crate) fn multiplexed(&self, worker: usize) -> Option<Multiplexed> {
        locked(self.multiplexed.get(worker)?).clone()
    }

    /// Keeps `connection` as the HTTP/2 connection of `worker`.
    pub(crate) fn set_multiplexed(&self, worker: usize, connection: Multiplexed) {
        if let Some(slot) = self.multiplexed.get(worker) {
            let mut slot = locked(slot);
            if !self.is_retired() {
                *slot = Some(connection);
            }
        }
    }
}

/// Counts one request as in flight to an instance for as long as it lives.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Instance>);

impl InFlight {
    pub(crate) fn enter(instance: &Arc<Instance>) -> Self {
        instance.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(instance))
    }

    pub(crate) fn instance(&self) -> &Arc<Instance> {
        &self.0
    }

    /// Counts the connection as upgraded from now on, with no moment at which it is neither.
    pub(crate) fn upgrade(self) -> Upgraded {
        self.0.upgraded.fetch_add(1, Ordering::SeqCst);
        Upgraded(Arc::clone(&self.0))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let last = self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.0.is_retired() {
            self.0.signals.changed();
        }
    }
}

/// Counts one upgraded or TCP connection to an instance for as long as it lives.
#[derive(Debug)]
pub(crate) struct Upgraded(Arc<Instance>);

impl Drop for Upgraded {
    fn drop(&mut self) {
        let last = self.0.upgraded.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.0.is_retired() {
            self.0.signals.changed();
        }
    }
}
