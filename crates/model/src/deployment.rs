//! One attempt to take an environment from its stable release to a candidate: its record. Not the
//! rules by which it moves ([`crate::advance`]).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{DeploymentNumber, InstanceId, ReleaseNumber, RunNumber, ServiceName, WorkloadId};
use crate::rollout::Settings;
use crate::traffic::TrafficCounters;

/// The record of one deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// The number within the environment.
    pub number: DeploymentNumber,
    /// Why it was made.
    pub kind: Kind,
    /// The candidate.
    pub release: ReleaseNumber,
    /// The stable release when it began.
    pub from: Option<ReleaseNumber>,
    /// Who asked for it.
    pub actor: String,
    /// Whether nobody in particular did: it does not begin while the environment is held.
    #[serde(default)]
    pub automatic: bool,
    /// The run that asked for it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// How it is rolled out.
    pub settings: Settings,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When all traffic was on the candidate, confirmed by the router.
    pub shifted_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How far it is.
    pub phase: Phase,
    /// When it last made progress: it moved on, or [`Deployment::reached`] more than before.
    pub progress_at: Timestamp,
    /// The most instances of each workload that were healthy at once, on the way forward or, after a
    /// turn, on the way back.
    #[serde(default)]
    pub reached: BTreeMap<WorkloadId, u32>,
    /// Why it does not move, where it was paused.
    pub paused: Option<Pause>,
    /// Why it is rolled back, or failed.
    pub failure: Option<Failure>,
    /// The release jobs that were started.
    pub jobs: BTreeMap<ServiceName, JobState>,
    /// How often instances of a candidate workload failed.
    pub failures: BTreeMap<WorkloadId, u32>,
    /// The last of these failures, or that of a release job.
    pub last_failure: Option<Failure>,
    /// That a candidate's instance never became well in the time that its check grants.
    #[serde(default)]
    pub never_well: Option<Failure>,
    /// What the router had counted when the present share of traffic was confirmed.
    pub baseline: Option<Baseline>,
}

impl Deployment {
    /// Returns the state in DESIGN's words.
    pub fn state(&self) -> State {
        if self.paused.is_some() && !matches!(self.phase, Phase::Ended(_)) {
            return State::Paused;
        }
        match &self.phase {
            Phase::Queued => State::Queued,
            Phase::Preparing => State::Preparing,
            Phase::Vacating | Phase::Provisioning { .. } => {
                if self
                    .jobs
                    .values()
                    .any(|job| matches!(job, JobState::Running { .. }))
                {
                    State::Preparing
                } else {
                    State::Provisioning
                }
            }
            Phase::Shifting { .. } | Phase::Soaking { .. } => State::Shifting,
            Phase::Baking { .. } => State::Baking,
            Phase::Draining => State::Draining,
            Phase::Restoring | Phase::Reverting | Phase::Discarding => State::RollingBack,
            Phase::Ended(outcome) => match outcome {
                Outcome::Succeeded => State::Succeeded,
                Outcome::Failed => State::Failed,
                Outcome::RolledBack => State::RolledBack,
                Outcome::Aborted => State::Aborted,
                Outcome::Superseded => State::Superseded,
                Outcome::RollbackFailed => State::RollbackFailed,
            },
        }
    }

    /// Tells whether the deployment is on its way back.
    pub fn is_rolling_back(&self) -> bool {
        matches!(
            self.phase,
            Phase::Restoring | Phase::Reverting | Phase::Discarding
        )
    }

    /// Returns how it ended, when it did.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.phase {
            Phase::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }
}

/// The attempt of a run that asks for a deployment. It asks again after a crash, and there is one
/// deployment for it all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The run.
    pub run: RunNumber,
    /// The attempt of the run at this environment, from 1.
    pub attempt: u32,
}

/// Why a deployment was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A release is to be brought out.
    Release,
    /// An earlier release is to come back. It skips jobs, analysis and bake, and is never rolled
    /// back itself.
    Rollback,
}

/// How far a deployment is. Being in a variant is the state; each holds exactly its own data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Another deployment is active.
    Queued,
    /// The artifacts are made.
    Preparing,
    /// Recreate only: requests are held while the stable release stops.
    Vacating,
    /// Release jobs run, candidates start in the order of their dependencies and become healthy.
    Provisioning {
        /// The index of the stage.
        stage: usize,
    },
    /// The stage's share of traffic was set and is not confirmed yet.
    Shifting {
        /// The index of the stage.
        stage: usize,
    },
    /// The stage's share was confirmed; it is held, and analysed.
    Soaking {
        /// The index of the stage.
        stage: usize,
        /// Since when.
        since: Timestamp,
    },
    /// All traffic is on the candidate; the old release is warm.
    Baking {
        /// Since when.
        since: Timestamp,
    },
    /// The candidate is the stable release; the old one ends.
    Draining,
    /// On the way back: the stable release is brought to full capacity.
    Restoring,
    /// On the way back: all traffic was set to stable and is not confirmed yet.
    Reverting,
    /// On the way back: the candidate ends.
    Discarding,
    /// It is over.
    Ended(Outcome),
}

/// How a deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The candidate is the stable release.
    Succeeded,
    /// It failed and there was no stable release to go back to.
    Failed,
    /// It failed; the stable release serves.
    RolledBack,
    /// Somebody stopped it; the stable release serves.
    Aborted,
    /// A newer one took its place before it began.
    Superseded,
    /// It failed and the way back did too: a person is needed.
    RollbackFailed,
}

/// The states of DESIGN section 5, for people and programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are those of the glossary")]
pub enum State {
    Queued,
    Preparing,
    Provisioning,
    Shifting,
    Baking,
    Draining,
    Paused,
    RollingBack,
    Succeeded,
    Failed,
    RolledBack,
    Aborted,
    Superseded,
    RollbackFailed,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Provisioning => "provisioning",
            Self::Shifting => "shifting",
            Self::Baking => "baking",
            Self::Draining => "draining",
            Self::Paused => "paused",
            Self::RollingBack => "rolling back",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::RolledBack => "failed (rolled back)",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
            Self::RollbackFailed => "rollback failed",
        })
    }
}

/// Why a deployment does not move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The kind of reason.
    pub reason: PauseReason,
    /// Since when.
    pub since: Timestamp,
    /// What a person should know.
    pub detail: String,
}

/// The kinds of reasons to pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// Somebody asked for it.
    Manual,
    /// The canary step asks for a person.
    Step,
    /// There is no verdict yet: too few requests. It goes on by itself when there are enough.
    Inconclusive,
    /// It failed, and must not be rolled back by itself.
    Failed,
}

/// Why a deployment is rolled back, or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What happened, in one sentence.
    pub reason: String,
    /// The service that it happened to.
    pub service: Option<ServiceName>,
    /// The last lines that it wrote, newest last.
    pub log_tail: Vec<String>,
    /// The instance whose last lines are not known, and are to be read when it comes to a verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unheard: Option<InstanceId>,
    /// Whether it was a person's wish.
    pub aborted: bool,
    /// When.
    pub at: Timestamp,
}

/// How far a release job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It was decided on, under this instance number.
    Running {
        /// The number of its instance.
        instance: u32,
    },
    /// It ended with exit code 0.
    Succeeded,
    /// It ended otherwise.
    Failed,
}

/// What the router had counted at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The router's boot: other counters than these when it changes.
    pub boot: String,
    /// The counters by workload, over all of its routes.
    pub counters: BTreeMap<WorkloadId, TrafficCounters>,
}
