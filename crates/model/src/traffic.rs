//! What the router counted, as cumulative counters. Not how it is counted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{EnvironmentId, WorkloadId};

/// The number of buckets of a [`LatencyHistogram`].
pub const LATENCY_BUCKETS: usize = 64;

/// Upper bound of the first bucket, in microseconds.
const FIRST_BOUND_US: f64 = 100.0;

/// Each bucket's upper bound is this much larger than the one before it, so a quantile is never
/// off by more than 26 % (2 to the power of 1/3).
const GROWTH: f64 = 1.259_921_049_894_873_2;

/// How many of the slowest requests are no verdict where they are more than a percent of all: every
/// start has first requests, and every app has answers that take longer than others.
const CHANCE: u64 = 4;

/// A latency histogram with 64 exponential buckets from 100 us to about 167 s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<u64>", into = "Vec<u64>")]
pub struct LatencyHistogram {
    buckets: [u64; LATENCY_BUCKETS],
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self {
            buckets: [0; LATENCY_BUCKETS],
        }
    }
}

impl From<Vec<u64>> for LatencyHistogram {
    /// Takes the buckets in order; missing ones are empty, surplus ones are dropped.
    fn from(counts: Vec<u64>) -> Self {
        let mut histogram = Self::default();
        for (bucket, count) in histogram.buckets.iter_mut().zip(counts) {
            *bucket = count;
        }
        histogram
    }
}

impl From<LatencyHistogram> for Vec<u64> {
    fn from(histogram: LatencyHistogram) -> Self {
        let used = histogram
            .buckets
            .iter()
            .rposition(|&count| count > 0)
            .map_or(0, |last| last + 1);
        histogram.buckets.iter().take(used).copied().collect()
    }
}

impl LatencyHistogram {
    /// Returns the index of the bucket that counts `latency`.
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "float casts saturate, and the result is clamped to the number of buckets"
    )]
    pub fn bucket(latency: Duration) -> usize {
        let us = latency.as_micros() as f64;
        if us <= FIRST_BOUND_US {
            return 0;
        }
        let index = ((us / FIRST_BOUND_US).ln() / GROWTH.ln()).ceil() as usize;
        index.min(LATENCY_BUCKETS - 1)
    }

    /// Returns the upper bound of bucket `index`.
    pub fn upper_bound(index: usize) -> Duration {
        let exponent = i32::try_from(index.min(LATENCY_BUCKETS - 1)).unwrap_or(i32::MAX);
        Duration::from_secs_f64(FIRST_BOUND_US * GROWTH.powi(exponent) / 1e6)
    }

    /// Counts one request.
    pub fn record(&mut self, latency: Duration) {
        if let Some(bucket) = self.buckets.get_mut(Self::bucket(latency)) {
            *bucket += 1;
        }
    }

    /// Returns how many requests were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns what was counted since `earlier`, never less than nothing.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        for (bucket, before) in difference.buckets.iter_mut().zip(earlier.buckets) {
            *bucket = bucket.saturating_sub(before);
        }
        difference
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
    }

    /// Returns the latency that the slowest percent of requests is above, as the upper bound of its
    /// bucket, or `None` when nothing was counted: no data is not a fast answer. Of few requests that
    /// percent is less than one, and who is in it is chance: the slowest [`CHANCE`] of them are left
    /// out, and never more than a fifth.
    pub fn p99(&self) -> Option<Duration> {
        let count = self.count();
        let slowest = count.div_ceil(100).max(CHANCE.min(count / 5));
        let rank = count.saturating_sub(slowest).max(1);
        let mut seen = 0;
        self.buckets
            .iter()
            .position(|&count| {
                seen += count;
                seen >= rank
            })
            .map(Self::upper_bound)
    }
}

/// Cumulative counts of one workload behind one route since the router started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficCounters {
    /// Answers by status class: index 0 is 1xx, 4 is 5xx.
    pub classes: [u64; 5],
    /// Requests that got no answer from the workload: refused, reset, timed out, malformed.
    pub unanswered: u64,
    /// Requests that the canary shield replayed on the stable side. They are also counted in
    /// `classes` or `unanswered`: the black mark stays with the workload.
    pub shielded: u64,
    /// Time to the first byte of the answer, answered requests only.
    pub latency: LatencyHistogram,
}

impl TrafficCounters {
    /// Returns how many requests the workload was given.
    pub fn requests(&self) -> u64 {
        self.classes.iter().sum::<u64>() + self.unanswered
    }

    /// Returns how many of them failed by the workload's fault: 5xx or no answer.
    pub fn failures(&self) -> u64 {
        let [_, _, _, _, server_errors] = self.classes;
        server_errors + self.unanswered
    }

    /// Returns what was counted since `earlier`, never less than nothing.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut classes = self.classes;
        for (class, before) in classes.iter_mut().zip(earlier.classes) {
            *class = class.saturating_sub(before);
        }
        Self {
            classes,
            unanswered: self.unanswered.saturating_sub(earlier.unanswered),
            shielded: self.shielded.saturating_sub(earlier.shielded),
            latency: self.latency.since(&earlier.latency),
        }
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (class, more) in self.classes.iter_mut().zip(other.classes) {
            *class += more;
        }
        self.unanswered += other.unanswered;
        self.shielded += other.shielded;
        self.latency.merge(&other.latency);
    }
}

/// The counters of one workload behind one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTraffic {
    /// The environment that the route belongs to.
    pub environment: EnvironmentId,
    /// The route's name within the environment.
    pub route: String,
    /// The workload that was given the requests.
    pub workload: WorkloadId,
    /// The counts.
    pub counters: TrafficCounters,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_p99_of_nothing_is_nothing() {
        assert_eq!(LatencyHistogram::default().p99(), None);
    }

    #[test]
    fn a_p99_is_within_a_bucket_of_the_truth() {
        let mut histogram = LatencyHistogram::default();
        for ms in 1..=1000_u64 {
            histogram.record(Duration::from_millis(ms));
        }
        let p99 = histogram.p99().unwrap().as_secs_f64();
        assert!((0.99..=0.99 * 1.26).contains(&p99), "{p99}");
    }

    #[test]
    fn the_slowest_of_few_requests_are_chance_and_no_p99() {
        let of = |fast: u64, slow: u64| {
            let mut histogram = LatencyHistogram::default();
            (0..fast).for_each(|_| histogram.record(Duration::from_millis(5)));
            (0..slow).for_each(|_| histogram.record(Duration::from_millis(500)));
            histogram.p99().unwrap() > Duration::from_millis(100)
        };
        for (fast, slow, is_slow) in [
            (60, 4, false),
            (60, 5, true),
            (16, 4, false),
            (15, 5, true),
            (4, 1, false),
            (0, 1, true),
            (990, 10, false),
            (989, 11, true),
        ] {
            assert_eq!(of(fast, slow), is_slow, "{slow} slow ones and {fast}");
        }
    }

    #[test]
    fn counters_since_a_snapshot_count_only_what_came_after() {
        let mut counters = TrafficCounters::default();
        counters.classes[1] = 10;
        let before = counters.clone();
        counters.classes[4] = 2;
        counters.unanswered = 1;
        let after = counters.since(&before);
        assert_eq!((after.requests(), after.failures()), (3, 3));
    }
}
