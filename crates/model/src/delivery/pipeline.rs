//! The part of the delivery file that says how a push becomes deployments: the jobs that have to
//! pass, and what brings a release to an environment. Not what becomes of a push:
//! [`crate::pipeline`] says that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Engine, schema};
use crate::duration;
use crate::id::{EnvironmentName, JobName, SecretName, ServiceName};
use crate::pipeline::steps;
use crate::pipeline::window::{Freeze, Window};
use crate::workload::Command;

/// How long a job may take where nobody says it.
pub const JOB_TIMEOUT: Duration = Duration::from_hours(1);

/// How long an approval is waited for where nobody says it.
pub const APPROVAL_EXPIRY: Duration = Duration::from_hours(24);

/// The branches that a push to brings out where nobody says it.
pub const MAIN_BRANCHES: [&str; 2] = ["main", "master"];

/// One job: a command that has to end with exit code 0, in a clean copy of the source tree, with its
/// own instances of services beside it.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct JobSettings {
    /// The name: lower-case letters, digits and hyphens.
    #[schemars(with = "schema::AppNameText")]
    pub name: JobName,
    /// What to run: a line or several for the shell, which stops at the first that fails, or a list
    /// of words. This or `steps`.
    #[schemars(with = "Option<schema::OneOrMany>")]
    pub run: Option<Command>,
    /// What to run, in parts with names: one after another in the same directory, up to the first
    /// that fails. Each has a shell of its own: what it sets is gone in the next.
    #[schemars(default)]
    pub steps: Vec<StepSettings>,
    /// Services of the Compose files, of which the job has instances of its own that are well before
    /// it starts, and what those depend on. One whose profile no environment has is only for jobs.
    #[schemars(with = "Vec<String>", default)]
    pub services: Vec<ServiceName>,
    /// The service that the job runs as: in its image, with its variables and its volumes, which are
    /// new. Default: none; the job has the source tree and nothing else.
    #[schemars(with = "Option<String>")]
    pub service: Option<ServiceName>,
    /// The image that the job runs in, on Docker. Variables of `matrix` may be in it:
    /// `python:${PYTHON}`.
    pub image: Option<String>,
    /// The environment whose services, variables, secrets and engine the job has. Default: the first
    /// that the pipeline deploys to; `dev` where there is none.
    #[schemars(with = "Option<String>")]
    pub like: Option<EnvironmentName>,
    /// More variables.
    #[schemars(with = "BTreeMap<String, schema::PlainText>", default)]
    pub environment: BTreeMap<String, String>,
    /// Secrets of the environment `like`, given as variables: the secret's name, by the variable's.
    /// What the job writes has `***` in place of their values.
    #[schemars(with = "BTreeMap<String, String>", default)]
    pub secrets: BTreeMap<String, SecretName>,
    /// Jobs that have to pass before.
    #[schemars(with = "Vec<String>", default)]
    pub needs: Vec<JobName>,
    /// Variables with several values each: the job runs once for each combination.
    #[schemars(with = "BTreeMap<String, Vec<schema::PlainText>>", default)]
    pub matrix: BTreeMap<String, Vec<String>>,
    /// What has to be true of a push for the job to run. Default: nothing.
    #[schemars(rename = "if", default)]
    pub condition: Condition,
    /// The environment that the release has to be brought to before: the job looks at it there, by
    /// the variable `TOWPATH_URL`. Environments that come after that one wait for the job. Default:
    /// none; the job is before all deployments.
    #[schemars(with = "Option<String>")]
    pub after: Option<EnvironmentName>,
    /// The longest that it may run. Default: 1h.
    #[schemars(with = "Option<schema::DurationText>")]
    pub timeout: Option<Duration>,
    /// How often it is tried again when it failed. Default: 0.
    pub retries: Option<u32>,
    /// Jobs with the same word here, of whichever run of the app, run one at a time; the others wait for
    /// their turn, those of older runs first. Default: none; the job waits for nobody.
    pub concurrency: Option<String>,
    /// JUnit files that are read when the job is over, whether it passed or not: `target/junit/*.xml`.
    /// `*` stands for anything but `/`, `**` for anything.
    #[schemars(with = "schema::OneOrMany", default)]
    pub reports: Vec<String>,
    /// Files that are kept when the job passed, as long as its log is: `[dist/**]`, or a mapping with
    /// `paths` and `when`. Jobs that need this one find them at the same paths. 512 MiB at most.
    #[schemars(with = "Option<schema::ArtifactsText>")]
    pub artifacts: Option<ArtifactSettings>,
    /// Files that later runs of the job find again, so that they are faster: `[node_modules]`, or a
    /// mapping with `paths`, `files` and `name`. 2 GiB at most. Without them the job has to work as well.
    #[schemars(with = "Option<schema::CacheText>")]
    pub cache: Option<CacheSettings>,
    /// How old a result of the same inputs may be to count in place of a run of the job: the source
    /// tree, what is said of the job and the services beside it, secrets, artifacts. The job is not told
    /// what it runs for (`TOWPATH_COMMIT` and its like). Default: it runs every time.
    #[schemars(with = "Option<schema::DurationText>")]
    pub reuse: Option<Duration>,
}

/// Files that a job leaves for later runs of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheSettings {
    /// Their paths, or those of directories that they are in.
    pub paths: Vec<String>,
    /// The files of the source tree whose content decides: where it is the same, what was left is as
    /// good as new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Its name, by which jobs share it; that of the job where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Files that a job makes for others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactSettings {
    /// Their paths, or those of directories that they are in.
    pub paths: Vec<String>,
    /// Whether they are kept also when the job did not pass.
    #[serde(default)]
    pub always: bool,
}

/// One step of a job.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct StepSettings {
    /// The name, on one line.
    pub name: String,
    /// What to run: a line or several for the shell, which stops at the first that fails, or a list
    /// of words.
    #[schemars(with = "schema::OneOrMany")]
    pub run: Command,
}

/// What has to be true of a push. What is left out is true.
#[derive(Debug, Clone, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Condition {
    /// It is to one of these branches. `*` stands for anything but `/`, `**` for anything.
    #[schemars(with = "schema::OneOrMany", default)]
    pub branch: Vec<String>,
    /// It is one of these tags.
    #[schemars(with = "schema::OneOrMany", default)]
    pub tag: Vec<String>,
    /// One of these files was changed.
    #[schemars(with = "schema::OneOrMany", default)]
    pub paths: Vec<String>,
}

/// What brings releases to an environment, and what has to be true before.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct DeploySettings {
    /// `push`: to a branch; `tag`; `manual`: only when somebody promotes a release. Default: `tag`
    /// where `tag` is written, `push` where `branch` is, else `manual`.
    #[schemars(with = "Option<schema::TriggerText>")]
    pub on: Option<Trigger>,
    /// The branches. `*` stands for anything but `/`, `**` for anything. Default: `main`, `master`.
    #[schemars(with = "schema::OneOrMany", default)]
    pub branch: Vec<String>,
    /// The tags. Default: all.
    #[schemars(with = "schema::OneOrMany", default)]
    pub tag: Vec<String>,
    /// Only pushes that change one of these files. Default: all.
    #[schemars(with = "schema::OneOrMany", default)]
    pub paths: Vec<String>,
    /// The environment that a release has to be brought to before; from there it comes by itself,
    /// but where `on` is `manual`.
    #[schemars(with = "Option<String>")]
    pub after: Option<EnvironmentName>,
    /// How long a release has to be in the environment `after`. Default: 0.
    #[schemars(with = "Option<schema::DurationText>")]
    pub soak: Option<Duration>,
    /// How many have to approve, or who. Default: nobody.
    #[schemars(with = "Option<schema::ApprovalsText>")]
    pub approvals: Option<Approvals>,
    /// When releases may come: days, hours and time zone. Default: always.
    #[schemars(with = "Vec<schema::WindowText>", default)]
    pub windows: Vec<Window>,
    /// When they may not: from one day to another, both included. Default: never.
    #[schemars(with = "Vec<schema::FreezeText>", default)]
    pub freezes: Vec<Freeze>,
    /// What comes straight here as a hotfix: its jobs run, and who has to approve it is asked; the
    /// environment `after`, `soak` and `windows` are not waited for. Default: what `towpath hotfix`
    /// names.
    pub hotfix: Option<HotfixSettings>,
}

/// What is a hotfix, and who has to approve it.
#[derive(Debug, Clone, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct HotfixSettings {
    /// Pushes to these branches. `*` stands for anything but `/`, `**` for anything.
    #[schemars(with = "schema::OneOrMany", default)]
    pub branch: Vec<String>,
    /// These tags.
    #[schemars(with = "schema::OneOrMany", default)]
    pub tag: Vec<String>,
    /// How many have to approve, or who. Default: as `deploy.approvals` says it, or one person,
    /// whoever it is, where the environment has other gates.
    #[schemars(with = "Option<schema::ApprovalsText>")]
    pub approvals: Option<Approvals>,
}

/// What begins a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A push to a branch.
    Push,
    /// A tag.
    Tag,
    /// A person.
    Manual,
}

/// Who has to approve a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvals {
    /// How many.
    pub count: u32,
    /// The groups of the delivery file that they have to be of; empty for anybody.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Who is in those groups; empty for anybody.
    #[serde(default)]
    pub members: BTreeSet<String>,
    /// How long it is waited for.
    #[serde(with = "duration")]
    pub expiry: Duration,
    /// Whether whoever wrote or pushed the commit may not be one of them.
    #[serde(default)]
    pub not_author: bool,
}

impl Default for Approvals {
    fn default() -> Self {
        Self {
            count: 1,
            groups: Vec::new(),
            members: BTreeSet::new(),
            expiry: APPROVAL_EXPIRY,
            not_author: false,
        }
    }
}

impl Approvals {
    /// Tells whether somebody is of those who may approve.
    pub fn admits(&self, actor: &str) -> bool {
        self.groups.is_empty() || self.members.contains(actor)
    }
}

impl JobSettings {
    /// Returns the engine that the job needs, as far as the job itself says it.
    pub fn engine(&self) -> Option<Engine> {
        self.image.as_ref().map(|_| Engine::Docker)
    }

    /// Returns what the job runs.
    pub fn command(&self) -> Command {
        match &self.run {
            Some(command) => command.clone(),
            None => Command::Shell(steps::script(&self.steps)),
        }
    }
}

impl DeploySettings {
    /// Returns what begins a deployment; `None` where the release comes from another environment by
    /// itself.
    pub fn trigger(&self) -> Option<Trigger> {
        match (self.on, &self.after) {
            (Some(on), _) => Some(on),
            (None, Some(_)) => None,
            (None, None) if !self.tag.is_empty() => Some(Trigger::Tag),
            (None, None) if !self.branch.is_empty() => Some(Trigger::Push),
            (None, None) => Some(Trigger::Manual),
        }
    }
}
