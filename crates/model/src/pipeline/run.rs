//! The record of one run: everything of it that must survive a crash of the control plane. It is
//! written down before anything is done. Not the rules by which it moves ([`super::step()`]).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cache::{Given, Reach};
use super::junit::Tests;
use super::push::Push;
use super::reuse::{Lookup, Reused};
use super::steps::StepRecord;
use super::window::{Freeze, Window};
use crate::delivery::pipeline::{Approvals, ArtifactSettings, CacheSettings};
use crate::duration;
use crate::id::{
    AppName, DeploymentNumber, Digest, EnvironmentId, EnvironmentName, JobName, ReleaseNumber,
    RunNumber,
};
use crate::preview::{OfRequest, Terms};
use crate::rollout::Strategy;

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

/// One job of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The name in the delivery file.
    pub name: JobName,
    /// The number within the run, from 1.
    pub number: u32,
    /// The values of the matrix.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variant: BTreeMap<String, String>,
    /// The jobs that have to pass before.
    pub needs: Vec<JobName>,
    /// The environment that the release has to be in before.
    pub after: Option<EnvironmentName>,
    /// The longest that it may run.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How often it is tried again.
    pub retries: u32,
    /// The group of jobs of which one runs at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<String>,
    /// The environment that its own is like.
    pub like: EnvironmentName,
    /// The names of its steps; none where it is a single command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// The test reports that it leaves behind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<String>,
    /// The files that it makes for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<ArtifactSettings>,
    /// The files that it leaves for later runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSettings>,
    /// How old a result may be that counts in place of a run of it.
    #[serde(
        default,
        with = "duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub reuse: Option<Duration>,
    /// What was found when such a result was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Lookup>,
    /// How far it is.
    pub state: JobState,
    /// The attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

impl Job {
    /// Returns the name, with the values of the matrix.
    pub fn label(&self) -> String {
        let values: Vec<&str> = self.variant.values().map(String::as_str).collect();
        if values.is_empty() {
            return self.name.to_string();
        }
        format!("{} ({})", self.name, values.join(", "))
    }

    /// Tells whether something is to be looked at when its program is over.
    pub fn leaves_something(&self) -> bool {
        !self.steps.is_empty()
            || !self.reports.is_empty()
            || self.artifacts.is_some()
            || self.cache.is_some()
    }

    /// Returns the result that counts in place of a run of it.
    pub fn reused(&self) -> Option<&Reused> {
        self.lookup.as_ref()?.result.as_ref()
    }

    /// Returns the files that are kept of it.
    pub fn kept_artifacts(&self) -> Option<&Artifacts> {
        if let Some(reused) = self.reused() {
            return reused.artifacts.as_ref();
        }
        let attempts = self.attempts.iter().rev();
        let mut left = attempts.filter_map(|one| one.left.as_ref());
        left.find_map(|left| left.artifacts.as_ref())
    }

    /// Tells whether it is over.
    pub fn has_ended(&self) -> bool {
        match self.state {
            JobState::Waiting | JobState::Active => false,
            JobState::Succeeded
            | JobState::Failed { .. }
            | JobState::Skipped { .. }
            | JobState::Cancelled => true,
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Something has to be true before.
    Waiting,
    /// Its last attempt is under way.
    Active,
    /// It passed.
    Succeeded,
    /// It did not.
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

/// One attempt at a job: an environment of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The number within the job, from 1.
    pub number: u32,
    /// The environment, which nothing else ever has.
    pub environment: EnvironmentName,
    /// When it was decided on.
    pub asked_at: Timestamp,
    /// When the job's own program was started.
    pub started_at: Option<Timestamp>,
    /// What it was given of the job's caches, once that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Given>,
    /// How its steps went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepRecord>,
    /// How its program ended, while what it leaves behind is still being looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Verdict>,
    /// What it left behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
    /// How it ended.
    pub verdict: Option<Verdict>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Whether its log is kept and its environment is gone.
    pub is_cleared: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The program ended with exit code 0.
    Passed,
    /// It did not, or never began.
    Failed {
        /// Why, in one sentence.
        reason: String,
    },
    /// It was stopped.
    Cancelled,
}

/// What an attempt left behind, as far as the job says that somebody wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// What its test reports say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<Tests>,
    /// The files that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Artifacts>,
    /// The cache that it left for later runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Amount>,
    /// Why the files cannot be kept: the job fails with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What is good to know of it, each in one sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The files that are kept of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifacts {
    /// How many.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
    /// The digest of what they are: paths, content, and whether they may be executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// How much something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// How many files.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
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
