//! The record of one run: everything of it that must survive a crash of the control plane. It is
//! written down before anything is done. Not the rules by which it moves ([`super::step()`]).

mod job;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cache::Reach;
use super::push::Push;
use super::window::{Freeze, Window};
use crate::delivery::pipeline::Approvals;
use crate::duration;
use crate::id::{
    AppName, DeploymentNumber, EnvironmentId, EnvironmentName, ReleaseNumber, RunNumber,
};
use crate::preview::{OfRequest, Terms};
use crate::rollout::Strategy;

pub use job::{Amount, Artifacts, Attempt, Job, JobState, Left, Verdict};

/// One run: a push on its way through jobs and environments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The app.
    pub app: AppName,
    /// The number within the app.
    pub number: RunNumber,
    /// What it is of.
    pub push: Push,
    /// The release that it brings out.
    pub release: ReleaseNumber,
    /// Whether somebody promotes a release that another run made.
    #[serde(default)]
    pub is_promotion: bool,
    /// What was found unwise in its files, such as variables without a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whether it goes straight to its environments, behind people alone.
    #[serde(default)]
    pub is_hotfix: bool,
    /// What its jobs may use of what others left, and for whom they leave something.
    #[serde(default)]
    pub reach: Reach,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// The jobs, in the order of the file.
    pub jobs: Vec<Job>,
    /// The environments that the release is brought to, each after that it comes from.
    pub targets: Vec<Target>,
    /// Why nothing new is begun, where that is so.
    pub stop: Option<Stop>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All jobs passed, and the release is where it should be.
    Succeeded,
    /// A job or a deployment failed, or somebody rejected it.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// A newer run took its place.
    Superseded,
}

/// Why nothing new is begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Whether somebody stopped it, or a newer run took its place.
    pub kind: StopKind,
    /// Who did it.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

/// The kinds of stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    /// Somebody wishes so: what is under way is aborted.
    Cancelled,
    /// A newer run took its place: a deployment that is under way goes on.
    Superseded,
}

/// One environment that a release is brought to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The environment.
    pub environment: EnvironmentName,
    /// The environment that it comes from.
    pub after: Option<EnvironmentName>,
    /// What has to be true before. While it waits it follows what counts in the environment.
    pub gates: Gates,
    /// Another strategy than the release's own, where somebody named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// How far it is.
    pub state: TargetState,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The deployment of this attempt.
    pub deployment: Option<DeploymentNumber>,
    /// When all traffic was on the release.
    pub delivered_at: Option<Timestamp>,
    /// Who approved this attempt.
    pub approvals: Vec<Approval>,
    /// What is to be a preview, where the environment is one that the run makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<PreviewTarget>,
}

/// A preview that a run makes where it is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewTarget {
    /// The environment that it is like.
    pub like: EnvironmentName,
    /// The pull request that it goes with.
    pub request: OfRequest,
    /// What the delivery file says of it.
    pub terms: Terms,
}

impl Target {
    /// Returns the environment of the delivery file that the release is rendered for.
    pub fn rendered_as(&self) -> &EnvironmentName {
        let preview = self.preview.as_ref();
        preview.map_or(&self.environment, |preview| &preview.like)
    }

    /// Makes one that nothing was done for.
    pub fn new(environment: EnvironmentName, gates: Gates) -> Self {
        Self {
            environment,
            after: None,
            gates,
            strategy: None,
            state: TargetState::Waiting,
            attempt: 1,
            deployment: None,
            delivered_at: None,
            approvals: Vec::new(),
            preview: None,
        }
    }

    /// Returns the environment that the release has to be brought to before, whoever says so.
    pub fn comes_after(&self) -> Option<&EnvironmentName> {
        self.gates.after.as_ref().or(self.after.as_ref())
    }

    /// Tells whether all traffic is on the release there.
    pub fn is_delivered(&self) -> bool {
        matches!(self.state, TargetState::Delivered | TargetState::Succeeded)
    }

    /// Tells whether people are what it waits for.
    pub fn awaits_approval(&self) -> bool {
        matches!(
            self.state,
            TargetState::Gated {
                gate: Gate::Approval,
                ..
            }
        )
    }

    /// Tells whether nothing more comes of it.
    pub fn has_ended(&self) -> bool {
        match self.state {
            TargetState::Waiting
            | TargetState::Gated { .. }
            | TargetState::Deploying { .. }
            | TargetState::Delivered => false,
            TargetState::Succeeded
            | TargetState::Failed { .. }
            | TargetState::Skipped { .. }
            | TargetState::Cancelled => true,
        }
    }
}

/// What has to be true before a release may come to an environment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Gates {
    /// The environment that it has to be brought to before.
    #[serde(default)]
    pub after: Option<EnvironmentName>,
    /// How long it has to be in the environment that it comes from.
    #[serde(with = "duration")]
    pub soak: Duration,
    /// Who has to approve.
    pub approvals: Option<Approvals>,
    /// When it may come; always when empty.
    pub windows: Vec<Window>,
    /// When it may not.
    pub freezes: Vec<Freeze>,
}

/// How far a target is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetState {
    /// Jobs, or an environment before it, are not there yet.
    Waiting,
    /// All before it is done; a gate is closed.
    Gated {
        /// Which.
        gate: Gate,
        /// Since when that gate is what it waits for.
        since: Timestamp,
    },
    /// The deployment is asked for.
    Deploying {
        /// Since when.
        since: Timestamp,
    },
    /// All traffic is on the release; the deployment is not over.
    Delivered,
    /// The release is the stable one.
    Succeeded,
    /// It is not.
    Failed {
        /// Why, in one sentence.
        reason: String,
    },
    /// It was never begun.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It was stopped.
    Cancelled,
}

/// What a target waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The time in the environment that it comes from.
    Soak,
    /// People.
    Approval,
    /// The hours in which it may come.
    Window,
    /// Automatic deployment to the environment is on hold.
    Hold,
}

/// That somebody approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// What they say of it.
    pub comment: Option<String>,
}

impl Run {
    /// Tells whether all before a job is done.
    pub(super) fn is_due(&self, job: &Job) -> bool {
        let mut needed = self.jobs.iter().filter(|one| job.needs.contains(&one.name));
        let target = |name| self.targets.iter().find(|one| &one.environment == name);
        let place = job.after.as_ref().and_then(target);
        needed.all(Job::has_ended) && place.is_none_or(Target::is_delivered)
    }

    /// Tells whether a job would run now, were it not for others of its group.
    pub fn awaits_turn(&self, job: &Job) -> bool {
        let looks_up = job.reuse.is_some() && job.lookup.is_none();
        let is_ready = job.state == JobState::Waiting && self.stop.is_none() && !looks_up;
        is_ready && job.concurrency.is_some() && job.reused().is_none() && self.is_due(job)
    }

    /// Returns the groups that its jobs have their turn in, or wait for it: the group, the number of the
    /// job, and whether it runs.
    pub fn turns(&self) -> Vec<(&str, u32, bool)> {
        let jobs = self.jobs.iter().filter_map(|job| {
            let runs = job.state == JobState::Active;
            let group = job.concurrency.as_deref()?;
            (runs || self.awaits_turn(job)).then_some((group, job.number, runs))
        });
        jobs.collect()
    }

    /// Says what failed of it and why: jobs, then environments.
    pub fn failures(&self) -> Vec<String> {
        let jobs = self.jobs.iter().filter_map(|job| match &job.state {
            JobState::Failed { reason } => Some(format!("job `{}`: {reason}", job.label())),
            _ => None,
        });
        let targets = self
            .targets
            .iter()
            .filter_map(|target| match &target.state {
                TargetState::Failed { reason } => {
                    Some(format!("`{}`: {reason}", target.environment))
                }
                _ => None,
            });
        jobs.chain(targets).collect()
    }

    /// Returns how many of those who have to approve a target did.
    pub fn approvals_given(&self, target: &Target) -> u32 {
        let given = target.approvals.iter();
        let counts = |one: &&Approval| match &target.gates.approvals {
            Some(approvals) => self.may_approve(approvals, &one.actor).is_ok(),
            None => true,
        };
        u32::try_from(given.filter(counts).count()).unwrap_or(u32::MAX)
    }

    /// Returns the id of an environment of the run's app.
    pub fn environment(&self, name: &EnvironmentName) -> EnvironmentId {
        EnvironmentId::new(self.app.clone(), name.clone())
    }

    /// Returns what it is called in the audit trail.
    pub fn subject(&self) -> String {
        format!("{} run {}", self.app, self.number)
    }

    /// Tells whether nothing more is to be done for it.
    pub fn is_settled(&self) -> bool {
        let mut attempts = self.jobs.iter().flat_map(|job| &job.attempts);
        self.outcome.is_some() && attempts.all(|attempt| attempt.is_cleared)
    }

    /// Returns its state in a word.
    pub fn state(&self) -> State {
        match self.outcome {
            Some(Outcome::Succeeded) => return State::Succeeded,
            Some(Outcome::Failed) => return State::Failed,
            Some(Outcome::Cancelled) => return State::Cancelled,
            Some(Outcome::Superseded) => return State::Superseded,
            None => {}
        }
        if self.jobs.iter().any(|job| job.state == JobState::Active) {
            return State::Running;
        }
        let has = |wanted: fn(&TargetState) -> bool| {
            self.targets.iter().any(|target| wanted(&target.state))
        };
        if has(|state| matches!(state, TargetState::Deploying { .. })) {
            return State::Deploying;
        }
        if self.targets.iter().any(Target::awaits_approval) {
            return State::AwaitingApproval;
        }
        if has(|state| matches!(state, TargetState::Gated { .. })) {
            return State::Held;
        }
        if has(|state| matches!(state, TargetState::Delivered)) {
            return State::Baking;
        }
        State::Running
    }
}

/// The states of a run, for people and programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Jobs run, or are about to.
    Running,
    /// A deployment is under way.
    Deploying,
    /// Somebody has to approve.
    AwaitingApproval,
    /// Another gate is closed.
    Held,
    /// The release is everywhere, and can go back by itself.
    Baking,
    /// All went well.
    Succeeded,
    /// Something did not.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// A newer run took its place.
    Superseded,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Deploying => "deploying",
            Self::AwaitingApproval => "awaiting approval",
            Self::Held => "held",
            Self::Baking => "baking",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        })
    }
}
