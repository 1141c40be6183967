//! The record of one instance: what was decided about it and what was last seen of it. Not the
//! decisions ([`crate::reconcile`]).

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{DeploymentNumber, ReleaseNumber, WorkloadId};
use crate::observation::{ChangedLimits, ProbeRecord};
use crate::workload::HealthCheck;

/// The record of one instance. It is written down before the engine is asked to start it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The number within the environment.
    pub number: u32,
    /// What it is a copy of.
    pub workload: WorkloadId,
    /// The release whose artifacts it runs.
    pub release: ReleaseNumber,
    /// The deployment whose release job it is; `None` for an instance that serves.
    pub job: Option<DeploymentNumber>,
    /// How far it is.
    pub phase: Phase,
    /// Whether it is well.
    pub health: Health,
    /// What somebody made of its limits, which was told already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ChangedLimits>,
}

impl Instance {
    /// Tells whether the instance is there to serve and nobody told it to go.
    pub fn is_live(&self) -> bool {
        self.job.is_none() && matches!(self.phase, Phase::Pending { .. } | Phase::Running { .. })
    }

    /// Tells whether requests may be given to it.
    pub fn is_serving(&self) -> bool {
        self.is_live() && self.is_running() && self.health == Health::Healthy
    }

    /// Tells whether it runs and was not told to go.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }
}

/// How far an instance is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It was decided on; the engine may or may not have heard of it.
    Pending {
        /// Since when.
        since: Timestamp,
    },
    /// The engine said that it runs.
    Running {
        /// Where it was told to listen.
        address: SocketAddr,
        /// Since when.
        since: Timestamp,
    },
    /// It gets no new requests; those in flight go on.
    Draining {
        /// Since when.
        since: Timestamp,
        /// The generation of the route table that does not name it.
        generation: u64,
        /// When the router's confirmation of that table was seen: what is in flight has its time
        /// from then on.
        #[serde(default)]
        confirmed: Option<Timestamp>,
        /// Whether nothing that the router gave it is in flight any more, or had its time.
        #[serde(default)]
        idle: bool,
        /// The table in which no name is answered with it.
        #[serde(default)]
        unnamed: Option<Unnamed>,
    },
    /// It was told to stop.
    Stopping {
        /// Since when.
        since: Timestamp,
    },
}

impl Phase {
    /// Begins to take an instance out of service.
    pub fn draining(since: Timestamp) -> Self {
        Self::Draining {
            since,
            generation: 0,
            confirmed: None,
            idle: false,
            unnamed: None,
        }
    }
}

/// A table in which no name is answered with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unnamed {
    /// Its generation.
    pub generation: u64,
    /// When the router's confirmation of it was seen: who was answered before has its time from then
    /// on.
    pub confirmed: Option<Timestamp>,
}

/// Whether an instance is well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// No try was conclusive yet.
    #[default]
    Unknown,
    /// The last conclusive tries were good.
    Healthy,
    /// As many tries in a row failed as the health check allows.
    Unhealthy,
}

impl Health {
    /// Returns the health after what the prober found of an instance of this age. An inconclusive
    /// record changes nothing.
    ///
    /// An instance that was never well has [`HealthCheck::first_patience`]: it is tried far more often
    /// than its interval says while a verdict is waited for, and an app that takes a second to listen
    /// is no bad app.
    #[must_use]
    pub fn after(self, record: &ProbeRecord, check: &HealthCheck, age: Duration) -> Self {
        if record.successes > 0 {
            Self::Healthy
        } else if self == Self::Unknown && age < check.first_patience() {
            Self::Unknown
        } else if record.counted_failures >= check.retries.max(1) {
            Self::Unhealthy
        } else {
            self
        }
    }
}

/// How often instances of a workload ended or had to be replaced lately, and when the next one may
/// be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Failures in a row.
    pub failures: u32,
    /// No start before.
    pub until: Timestamp,
    /// When the last failure was.
    pub last: Timestamp,
    /// What it was.
    pub reason: String,
}

impl Backoff {
    /// So many failures in a row are a crash loop.
    pub const CRASH_LOOP: u32 = 3;

    /// A workload that runs for so long starts with a clean slate.
    pub const FORGIVE_AFTER: Duration = Duration::from_mins(1);

    const FIRST_DELAY: Duration = Duration::from_millis(250);
    const LONGEST_DELAY: Duration = Duration::from_mins(1);

    /// Returns the record after one more failure. The first failure is made good at once; then the
    /// delay doubles from 250 ms to a minute.
    #[must_use]
    pub fn after_failure(before: Option<&Self>, reason: String, now: Timestamp) -> Self {
        let recent = before.filter(|backoff| elapsed(backoff.last, now) < Self::FORGIVE_AFTER);
        let failures = recent
            .map_or(0, |backoff| backoff.failures)
            .saturating_add(1);
        let delay = match failures {
            1 => Duration::ZERO,
            more => Self::FIRST_DELAY
                .saturating_mul(2_u32.saturating_pow(more - 2))
                .min(Self::LONGEST_DELAY),
        };
        Self {
            failures,
            until: after(now, delay),
            last: now,
            reason,
        }
    }

    /// Tells whether the workload is in a crash loop.
    pub fn is_crash_loop(&self) -> bool {
        self.failures >= Self::CRASH_LOOP
    }
}

/// Returns the time from `earlier` to `now`, nothing when it lies ahead.
pub fn elapsed(earlier: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

/// Returns the moment `delay` after `at`, the end of time at the most.
pub fn after(at: Timestamp, delay: Duration) -> Timestamp {
    at.checked_add(delay).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn the_first_failure_is_made_good_at_once_and_the_delay_doubles_to_a_minute() {
        let mut backoff = None;
        let mut delays = Vec::new();
        for _ in 0..12 {
            let next = Backoff::after_failure(backoff.as_ref(), "x".to_owned(), at(0));
            delays.push(elapsed(at(0), next.until).as_millis());
            backoff = Some(next);
        }
        assert_eq!(
            delays,
            [
                0, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000
            ]
        );
    }

    #[test]
    fn a_minute_without_failure_is_forgiven() {
        let backoff = Backoff::after_failure(None, "x".to_owned(), at(0));
        let again = Backoff::after_failure(Some(&backoff), "x".to_owned(), at(60_000));
        assert_eq!(again.failures, 1);
    }

    #[test]
    fn a_single_failed_try_does_not_make_a_healthy_instance_unhealthy() {
        let check = HealthCheck::default();
        let failed = |counted_failures| ProbeRecord {
            counted_failures,
            ..ProbeRecord::default()
        };
        let old = Duration::from_hours(1);
        assert_eq!(
            Health::Healthy.after(&failed(2), &check, old),
            Health::Healthy
        );
        assert_eq!(
            Health::Healthy.after(&failed(3), &check, old),
            Health::Unhealthy
        );
        let good = ProbeRecord {
            successes: 1,
            ..ProbeRecord::default()
        };
        assert_eq!(Health::Unhealthy.after(&good, &check, old), Health::Healthy);
    }

    #[test]
    fn an_instance_that_was_never_well_has_the_time_that_its_check_grants() {
        let failing = ProbeRecord {
            counted_failures: 99,
            ..ProbeRecord::default()
        };
        for (start_period, patience) in [(10, 15), (20, 20)] {
            let check = HealthCheck {
                start_period: Duration::from_secs(start_period),
                interval: Duration::from_secs(5),
                ..HealthCheck::default()
            };
            let at = |age| Health::Unknown.after(&failing, &check, Duration::from_secs(age));
            let around = (at(patience - 1), at(patience));
            assert_eq!(around, (Health::Unknown, Health::Unhealthy));
        }
    }
}
