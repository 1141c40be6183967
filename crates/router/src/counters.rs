//! Counters of one workload behind one route, apart for each worker so that workers never contend.
//! Not how they are printed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use towpath_model::traffic::{LATENCY_BUCKETS, LatencyHistogram, TrafficCounters};

/// The counters of all workers. Each worker adds to its own shard; a snapshot sums them.
#[derive(Debug)]
pub(crate) struct Counters {
    shards: Box<[Shard]>,
}

/// Aligned to two cache lines, which is what prefetchers fetch together.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    classes: [AtomicU64; 5],
    unanswered: AtomicU64,
    shielded: AtomicU64,
    latency_sum_us: AtomicU64,
    latency: [AtomicU64; LATENCY_BUCKETS],
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            classes: Default::default(),
            unanswered: AtomicU64::default(),
            shielded: AtomicU64::default(),
            latency_sum_us: AtomicU64::default(),
            latency: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

fn add(counter: Option<&AtomicU64>, more: u64) {
    if let Some(counter) = counter {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

impl Counters {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            shards: (0..workers).map(|_| Shard::default()).collect(),
        }
    }

    /// Counts an answer whose first byte came `latency` after the request was given away.
    pub(crate) fn answered(&self, worker: usize, status: StatusCode, latency: Duration) {
        let Some(shard) = self.shards.get(worker) else {
            return;
        };
        let class = usize::from(status.as_u16() / 100).saturating_sub(1).min(4);
        add(shard.classes.get(class), 1);
        add(shard.latency.get(LatencyHistogram::bucket(latency)), 1);
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        add(Some(&shard.latency_sum_us), us);
    }

    /// Counts a request that the workload did not answer.
    pub(crate) fn unanswered(&self, worker: usize) {
        add(self.shards.get(worker).map(|shard| &shard.unanswered), 1);
    }

    /// Counts a request that was replayed on the stable side.
    pub(crate) fn shielded(&self, worker: usize) {
        add(self.shards.get(worker).map(|shard| &shard.shielded), 1);
    }

    /// Returns the sums over all workers.
    pub(crate) fn snapshot(&self) -> TrafficCounters {
        let mut total = TrafficCounters::default();
        for shard in &self.shards {
            let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let buckets: Vec<u64> = shard.latency.iter().map(load).collect();
            total.merge(&TrafficCounters {
                classes: std::array::from_fn(|i| shard.classes.get(i).map_or(0, load)),
                unanswered: load(&shard.unanswered),
                shielded: load(&shard.shielded),
                latency: LatencyHistogram::from(buckets),
            });
        }
        total
    }

    /// Returns the sum of all answered requests' times to the first byte.
    pub(crate) fn latency_sum(&self) -> Duration {
        let sum = self
            .shards
            .iter()
            .map(|shard| shard.latency_sum_us.load(Ordering::Relaxed))
            .sum();
        Duration::from_micros(sum)
    }
}
