//! A distribution of durations with three significant digits. It is not a list of samples: its size
//! does not grow with the number of requests.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

/// Ten minutes in microseconds: longer durations count as this.
const LONGEST_US: u64 = 600_000_000;

/// How long things took, in microseconds, up to ten minutes.
///
/// Serialises as `{"count", "p50_us", "p99_us", "max_us"}`.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

#[derive(Serialize)]
struct Quantiles {
    count: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl Latency {
    /// How many durations are in it.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration that half of the requests did not exceed; zero when there is none.
    pub fn p50(&self) -> Duration {
        self.quantile(0.5)
    }

    /// The duration that 99 of 100 requests did not exceed; zero when there is none.
    pub fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    /// The longest duration; zero when there is none.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }

    /// The duration that this share of requests (0 to 1) did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(share))
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(LONGEST_US);
        self.0.saturating_record(us.clamp(1, LONGEST_US));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds, which is all that can make it fail.
        self.0
            .add(&other.0)
            .expect("histograms have the same bounds");
    }

    /// What was recorded after `earlier`, an older copy of the same distribution.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut later = self.clone();
        match later.0.subtract(&earlier.0) {
            Ok(()) => later,
            // Not an older copy: there is nothing sensible to take away.
            Err(_) => self.clone(),
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are constant"))
    }
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let us = |share| self.0.value_at_quantile(share);
        Quantiles {
            count: self.0.len(),
            p50_us: us(0.5),
            p99_us: us(0.99),
            max_us: self.0.max(),
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_has_only_what_came_later() {
        let mut latency = Latency::default();
        latency.record(Duration::from_secs(9));
        let earlier = latency.clone();
        for _ in 0..99 {
            latency.record(Duration::from_millis(2));
        }
        let phase = latency.since(&earlier);
        assert_eq!(phase.count(), 99);
        assert!(
            phase.max() < Duration::from_millis(3),
            "max is {:?}",
            phase.max()
        );
        assert!(latency.max() >= Duration::from_secs(9));
    }

    #[test]
    fn extreme_durations_are_kept_within_bounds() {
        let mut latency = Latency::default();
        latency.record(Duration::ZERO);
        latency.record(Duration::MAX);
        assert_eq!(latency.count(), 2);
        assert!(latency.max() >= Duration::from_mins(10));
    }
}
