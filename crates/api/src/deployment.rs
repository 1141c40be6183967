//! Deployments on the wire: what is asked for, what became of it, and its progress.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks for a new release and its deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// What the release renders to in this environment, as the client made it; secrets are named
    /// in it, never their values.
    #[schema(value_type = Object)]
    pub draft: towpath_model::render::Draft,
    /// The digest of the source tree, uploaded before; absent when no service needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The commit that the source tree is at, where it is a clean checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// What the maker says of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Another strategy than the draft's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Whether nobody in particular asks (a push, a schedule): refused while the environment is on
    /// hold.
    #[serde(default)]
    pub automatic: bool,
    /// Why it passes the gates of the environment: only for the owner of the data directory.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub past_gates: Option<String>,
}

/// Asks for the deployment of a release that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedeployRequest {
    /// The number of the release.
    pub release: u32,
    /// Another strategy than the release's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Why it passes the gates of the environment: only for the owner of the data directory.
    #[serde(default, rename = "override", skip_serializing_if = "Option::is_none")]
    pub past_gates: Option<String>,
}

/// Asks for an earlier release to come back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The number of the release; the one before the present one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u32>,
}

/// What was accepted: a deployment, which is under way or waits for the one that is; or a run, which
/// deploys when the gates of the environment are open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Requested {
    /// The environment, `app/environment`.
    pub environment: String,
    /// The number of the deployment within the environment; absent where a run waits to ask for it.
    pub deployment: Option<u32>,
    /// The number of the release within the app.
    pub release: u32,
    /// The number of the run within the app, where the environment demands something of a release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u32>,
}

/// One attempt to take an environment from its stable release to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// The environment, `app/environment`.
    pub environment: String,
    /// The number within the environment, from 1.
    pub number: u32,
    /// Why it was made.
    pub kind: DeploymentKind,
    /// The release that it brings out.
    pub release: u32,
    /// The stable release when it was asked for.
    pub from: Option<u32>,
    /// How instances and traffic move.
    pub strategy: Strategy,
    /// How far it is.
    pub state: DeploymentState,
    /// Whether it is over.
    pub ended: bool,
    /// Who asked for it.
    pub actor: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: Timestamp,
    /// When it began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When all traffic was on its release, confirmed by the router.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub shifted_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Why it does not move, where it is paused.
    pub pause: Option<Pause>,
    /// Why it is rolled back, or failed.
    pub failure: Option<Failure>,
    /// The last failure of an instance or a release job of it. It need not be the end of it.
    pub last_failure: Option<Failure>,
    /// The release jobs that were started.
    pub jobs: Vec<Job>,
}

/// Why a deployment was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentKind {
    /// To bring out a release.
    Release,
    /// To bring back an earlier release.
    Rollback,
}

/// How instances and traffic move from one release to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A few instances at a time; traffic follows the instances.
    Rolling,
    /// The whole new release beside the old one, then all traffic at once.
    BlueGreen,
    /// The new release takes a growing share of the traffic, with a verdict at each step.
    Canary,
    /// The old release stops, then the new one starts; requests are held meanwhile.
    Recreate,
}

/// How far a deployment is. `succeeded`, `failed`, `rolled_back`, `aborted`, `superseded` and
/// `rollback_failed` are ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    /// Another deployment is under way.
    Queued,
    /// Artifacts are made, or release jobs run.
    Preparing,
    /// New instances start and become healthy.
    Provisioning,
    /// Traffic moves.
    Shifting,
    /// All traffic is on the new release; the old one is kept warm.
    Baking,
    /// The old release ends.
    Draining,
    /// It does not move; `pause` says why.
    Paused,
    /// It is on its way back to the stable release.
    RollingBack,
    /// The new release is the stable one.
    Succeeded,
    /// It failed, and there was no stable release to go back to.
    Failed,
    /// It failed; the stable release serves.
    RolledBack,
    /// Somebody stopped it; the stable release serves.
    Aborted,
    /// A newer one took its place.
    Superseded,
    /// It failed, and the way back did too: a person is needed.
    RollbackFailed,
}

impl DeploymentState {
    /// Returns the words for people.
    pub fn words(self) -> &'static str {
        match self {
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
        }
    }
}

impl Strategy {
    /// Returns the word for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::BlueGreen => "blue-green",
            Self::Canary => "canary",
            Self::Recreate => "recreate",
        }
    }
}

/// Why a deployment does not move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pause {
    /// The kind of reason.
    pub reason: PauseReason,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// What a person should know.
    pub detail: String,
}

/// The kinds of reasons to pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// What happened, which check included, in one sentence.
    pub reason: String,
    /// The service that it happened to.
    pub service: Option<String>,
    /// The last lines that it wrote, newest last.
    pub log_tail: Vec<String>,
    /// Whether it was a person's wish.
    pub aborted: bool,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A release job of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// The service that is the job.
    pub service: String,
    /// How far it is.
    pub state: JobState,
}

/// How far a release job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It was started.
    Running,
    /// It ended with exit code 0.
    Succeeded,
    /// It ended otherwise.
    Failed,
}

/// A deployment at one moment, as the progress stream sends it whenever it changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// The deployment.
    pub deployment: Deployment,
    /// The services of its release, each after those that it depends on. Empty once it ended.
    pub services: Vec<ServiceProgress>,
    /// Why the engine cannot say what runs, while it cannot: the deployment waits for it.
    #[serde(default)]
    pub engine_fault: Option<String>,
}

/// One service of a deployment at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceProgress {
    /// The service.
    pub service: String,
    /// Whether it is the same as before, and not touched.
    pub unchanged: bool,
    /// How many instances the release wants; 0 for a release job.
    pub wanted: u32,
    /// How many of the release's instances run.
    pub running: u32,
    /// How many of them are healthy.
    pub healthy: u32,
    /// The release's share of the service's traffic in percent; absent when it has no routes.
    pub traffic_percent: Option<f64>,
    /// How often an instance of it failed.
    pub failures: u32,
}
