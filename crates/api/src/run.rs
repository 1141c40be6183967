//! Runs on the wire: what begins one, what people decide, and how far it is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks for a run of a source tree that was uploaded before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunStart {
    /// The digest of the source tree.
    pub source: String,
    /// The commit that the source tree is at, where it is a clean checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The branch that it is to count as pushed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The tag that it is to count as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// What the maker says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The environment that it goes straight to, as a hotfix: `commit` has to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotfix: Option<String>,
}

/// A run that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunStarted {
    /// The app.
    pub app: String,
    /// The number of the run; absent where the delivery file has nothing to do.
    pub run: Option<u32>,
}

/// Asks for a release to be brought to an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// The environment.
    pub environment: String,
    /// The number of the release; that of the environment which releases come from when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u32>,
}

/// What somebody decides on a release that waits before an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionRequest {
    /// Whether it may come.
    pub approve: bool,
    /// What they say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// One run: a push on its way through jobs and environments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of the JSON, and any of them may be true with any other"
)]
pub struct Run {
    /// The app.
    pub app: String,
    /// The number within the app, from 1.
    pub number: u32,
    /// How far it is.
    pub state: RunState,
    /// Whether it is over.
    pub ended: bool,
    /// The release that it brings out.
    pub release: u32,
    /// Whether somebody promotes a release that another run made.
    pub promotion: bool,
    /// Whether it goes straight to its environments, as a hotfix.
    #[serde(default)]
    pub hotfix: bool,
    /// The environments that its hotfix passed by, and that do not have it yet.
    #[serde(default)]
    pub behind: Vec<String>,
    /// What was pushed to: `branch main`, `tag v1`, `pull request 7`, `working tree`.
    pub reference: String,
    /// The commit, where it is of one.
    pub commit: Option<String>,
    /// Who wrote the commit.
    pub author: String,
    /// Who pushed it.
    pub actor: String,
    /// What the author says of it.
    pub message: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// The jobs.
    pub jobs: Vec<RunJob>,
    /// The environments that the release is brought to.
    pub environments: Vec<RunEnvironment>,
    /// What was found unwise in its files, such as variables without a value, each with its place.
    pub warnings: Vec<String>,
}

/// How far a run is. `succeeded`, `failed`, `cancelled` and `superseded` are ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Jobs run, or are about to.
    Running,
    /// A deployment is under way.
    Deploying,
    /// Somebody has to approve.
    AwaitingApproval,
    /// Another gate is closed: a hold, a window, the time in the environment before.
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

impl RunState {
    /// Returns the words for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Deploying => "deploying",
            Self::AwaitingApproval => "awaiting approval",
            Self::Held => "held",
            Self::Baking => "baking",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }
}

/// One job of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunJob {
    /// The number within the run, from 1.
    pub number: u32,
    /// The name, with the values of the matrix.
    pub label: String,
    /// The name in the delivery file.
    pub name: String,
    /// The values of the matrix.
    pub variant: BTreeMap<String, String>,
    /// The environment that it looks at the release in; absent for one before all deployments.
    pub after: Option<String>,
    /// How far it is.
    pub state: RunPartState,
    /// Why it failed or was skipped, what it waits for, or whose result counts.
    pub reason: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// When the last attempt was begun.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// The steps of the last attempt; empty where the job is a single command.
    pub steps: Vec<RunStep>,
    /// What the test reports of the last attempt say, where it has any.
    pub tests: Option<RunTests>,
    /// The files that are kept of it, where it has any.
    pub artifacts: Option<RunArtifacts>,
    /// What the last attempt was given of the job's caches and left for later runs, where it has one.
    pub cache: Option<RunCache>,
    /// The result that counts in place of a run of the job, where one does.
    pub reused: Option<RunResult>,
    /// What else is good to know of the last attempt.
    pub notes: Vec<String>,
}

/// The cache of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunCache {
    /// What it was given.
    pub given: RunCacheGiven,
    /// The run that left what it was given.
    pub run: Option<u32>,
    /// How many files it was given.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
    /// How many files it left for later runs; absent where it left nothing.
    pub left_files: Option<u64>,
    /// How many bytes they have together.
    pub left_bytes: Option<u64>,
}

/// What a job was given of its caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunCacheGiven {
    /// There was nothing for it.
    None,
    /// What was left by a run with the same files.
    Exact,
    /// What was left by a run with others.
    Older,
}

/// A result that counts in place of a run of a job: its inputs were the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunResult {
    /// The run in which the job ran.
    pub run: u32,
    /// The number of the job in that run.
    pub job: u32,
}

/// One step of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunStep {
    /// The name.
    pub name: String,
    /// How far it is: `waiting`, `running`, `succeeded`, `failed`, `skipped`, or `cancelled`.
    pub state: RunPartState,
    /// The exit code, where it failed.
    pub code: Option<i32>,
    /// When it began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

/// What the test reports of a job say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunTests {
    /// How many files were read.
    pub files: u32,
    /// How many tests there are.
    pub tests: u32,
    /// How many of them failed.
    pub failures: u32,
    /// How many of them ended in an error that they did not look for.
    pub errors: u32,
    /// How many of them were not run.
    pub skipped: u32,
    /// How long they took together.
    pub time_ms: u64,
    /// The first twenty that failed or ended in an error.
    pub failed: Vec<RunFailedTest>,
    /// What could not be read, with file and line.
    pub unreadable: Vec<String>,
    /// All of it in words, line by line.
    pub lines: Vec<String>,
}

/// A test that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunFailedTest {
    /// The class, file or suite; empty where the report does not say it.
    pub class: String,
    /// The name.
    pub name: String,
    /// Why, without the values of secrets; empty where the report does not say it.
    pub message: String,
}

/// The files that are kept of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunArtifacts {
    /// How many.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

/// One environment that a run brings its release to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunEnvironment {
    /// The name.
    pub name: String,
    /// The environment that the release comes from.
    pub after: Option<String>,
    /// How far it is.
    pub state: RunPartState,
    /// Why it failed, was skipped, or waits.
    pub reason: Option<String>,
    /// When the window opens, or the freeze is over, that it waits for.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub opens_at: Option<Timestamp>,
    /// The number of its deployment within the environment.
    pub deployment: Option<u32>,
    /// When all traffic was on the release.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub delivered_at: Option<Timestamp>,
    /// How many have to approve.
    pub approvals_wanted: u32,
    /// The groups that they have to be of; anybody where there is none.
    #[serde(default)]
    pub approvals_of: Vec<String>,
    /// Who approved.
    pub approvals: Vec<String>,
}

/// A release that waits for people before an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AwaitedApproval {
    /// The app.
    pub app: String,
    /// The environment.
    pub environment: String,
    /// The number of the run within the app.
    pub run: u32,
    /// The release.
    pub release: u32,
    /// What was pushed to.
    pub reference: String,
    /// The commit, where it is of one.
    pub commit: Option<String>,
    /// What the author says of it.
    pub message: String,
    /// Who wrote the commit.
    pub author: String,
    /// Who pushed it, or asked for it.
    pub actor: String,
    /// Whether it is a hotfix.
    pub hotfix: bool,
    /// Since when it waits.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// How many have to approve.
    pub wanted: u32,
    /// The groups that they have to be of; anybody where there is none.
    pub of: Vec<String>,
    /// Who approved.
    pub approvals: Vec<String>,
    /// Whether it waits for who asks.
    pub yours: bool,
    /// Why it does not, where it does not.
    pub because: Option<String>,
}

/// How far a job or an environment of a run is. `succeeded`, `failed`, `skipped` and `cancelled` are
/// ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunPartState {
    /// Something before it is not done.
    Waiting,
    /// Somebody has to approve.
    AwaitingApproval,
    /// Another gate is closed.
    Held,
    /// It runs.
    Running,
    /// The deployment is under way.
    Deploying,
    /// All traffic is on the release; its deployment is not over.
    Baking,
    /// It is done.
    Succeeded,
    /// It is not, and will not be.
    Failed,
    /// It was never begun.
    Skipped,
    /// It was stopped.
    Cancelled,
}

impl RunPartState {
    /// Returns the words for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::AwaitingApproval => "awaiting approval",
            Self::Held => "held",
            Self::Running => "running",
            Self::Deploying => "deploying",
            Self::Baking => "baking",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One line of the log of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunLogLine {
    /// When it was read.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who wrote it: `job`, a service beside it, or `towpath` where something is left out.
    pub service: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The text, without its line end, and without the values of secrets.
    pub text: String,
}
