//! What all workers and the control side share: the table in force, and the signals between them.
//! Not what the table says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::config::Limits;
use crate::instance::Signals;
use crate::table::Table;

/// State shared by the threads of the router.
#[derive(Debug)]
pub(crate) struct Shared {
    table: ArcSwap<Table>,
    version: AtomicU64,
    swaps: watch::Sender<u64>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) limits: Limits,
}

impl Shared {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::default()),
            version: AtomicU64::new(0),
            swaps: watch::Sender::new(0),
            signals: Arc::default(),
            limits,
        }
    }

    /// Returns the table in force.
    pub(crate) fn table(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// Puts `table` in force.
    ///
    /// A worker counts a request as in flight and then calls [`Self::is_current`]. Both that and
    /// this are sequentially consistent, so one of two things is true: the worker sees the new
    /// version and chooses again, or whoever reads the count after this returns sees the request.
    pub(crate) fn swap(&self, table: Table) {
        let version = table.version;
        self.table.store(Arc::new(table));
        self.version.store(version, Ordering::SeqCst);
        self.swaps.send_replace(version);
    }

    /// Whether `table` is still the one in force.
    pub(crate) fn is_current(&self, table: &Table) -> bool {
        self.version.load(Ordering::SeqCst) == table.version
    }

    /// Returns a receiver that sees every swap from now on.
    pub(crate) fn swaps(&self) -> watch::Receiver<u64> {
        self.swaps.subscribe()
    }
}
