//! How a release is rolled out: strategies and settings. The state machine is
//! [`crate::deployment`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;
use crate::routing::FULL_WEIGHT;

/// How instances and traffic move from the stable release to the candidate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A few instances at a time; traffic follows the instances.
    #[default]
    Rolling,
    /// The whole candidate beside the stable release, then all traffic at once.
    BlueGreen,
    /// The candidate takes a growing share of the traffic, with a verdict at each step.
    Canary,
    /// The stable release stops, then the candidate starts. HTTP requests are held meanwhile.
    Recreate,
}

/// All settings of a rollout, with the defaults of DESIGN's table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How instances and traffic move.
    pub strategy: Strategy,
    /// Canary: the shares of traffic, growing to the whole.
    pub steps: Vec<CanaryStep>,
    /// Rolling: instances above the wanted number while they are replaced, not counting those
    /// that drain. At least 1 where
    /// `unavailable` is 0.
    pub surge: u32,
    /// Rolling: instances that may be missing while they are replaced.
    pub unavailable: u32,
    /// The longest time without progress; not counted while paused.
    #[serde(with = "duration")]
    pub progress_deadline: Duration,
    /// How long the old release is kept warm after the full shift.
    #[serde(with = "duration")]
    pub bake: Duration,
    /// How long requests in flight may take to end.
    #[serde(with = "duration")]
    pub drain: Duration,
    /// How long upgraded connections (`WebSocket`) may take to end.
    #[serde(with = "duration")]
    pub drain_upgraded: Duration,
    /// Failures to start before a candidate is given up.
    pub start_failures: u32,
    /// Whether a failed deployment is rolled back by itself; it pauses for a person otherwise.
    pub automatic_rollback: bool,
    /// What makes the router's counts a verdict against the candidate.
    pub analysis: Analysis,
    /// How long a pause for a person may last before the deployment is aborted.
    #[serde(with = "duration")]
    pub pause_expiry: Duration,
}

impl Settings {
    /// Returns the same settings with another strategy.
    #[must_use]
    pub fn with(&self, strategy: Strategy) -> Self {
        Self {
            strategy,
            ..self.clone()
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            steps: [500, 2_500, 5_000, FULL_WEIGHT]
                .map(|weight| CanaryStep {
                    weight,
                    soak: Duration::from_mins(1),
                    pause: false,
                })
                .to_vec(),
            surge: 1,
            unavailable: 0,
            progress_deadline: Duration::from_mins(10),
            bake: Duration::from_mins(5),
            drain: Duration::from_secs(30),
            drain_upgraded: Duration::from_mins(5),
            start_failures: 3,
            automatic_rollback: true,
            analysis: Analysis::default(),
            pause_expiry: Duration::from_hours(24),
        }
    }
}

/// One step of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryStep {
    /// The candidate's share of [`FULL_WEIGHT`].
    pub weight: u32,
    /// How long the share is held, and counts are gathered, before the next step.
    #[serde(with = "duration")]
    pub soak: Duration,
    /// Whether a person must resume before the next step.
    #[serde(default)]
    pub pause: bool,
}

/// What makes the router's counts a verdict against the candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Analysis {
    /// Fewer requests than this are no data: inconclusive, never a pass.
    pub min_requests: u64,
    /// The share of failed requests above which the candidate fails, 0 to 1; the stable side's own
    /// share is added to it.
    pub max_error_rate: f64,
    /// The latency of the slowest percent above which the candidate fails, whatever stable's is.
    #[serde(with = "duration::optional")]
    pub max_p99: Option<Duration>,
    /// The candidate fails when its slowest percent takes more than this many times stable's, and
    /// at least 100 ms more.
    pub max_p99_ratio: f64,
}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            min_requests: 50,
            max_error_rate: 0.01,
            max_p99: None,
            max_p99_ratio: 3.0,
        }
    }
}
