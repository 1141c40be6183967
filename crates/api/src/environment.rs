//! Environments on the wire: what runs, where it is reached, and what may be changed of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::deployment::{Deployment, DeploymentState};
use crate::preview::Preview;

/// One line for one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentSummary {
    /// The id, `app/environment`.
    pub id: String,
    /// The app.
    pub app: String,
    /// The name within the app.
    pub name: String,
    /// Whether it should run.
    pub lifecycle: Lifecycle,
    /// The last release that was brought out completely.
    pub stable: Option<u32>,
    /// The state of the deployment under way.
    pub deployment: Option<DeploymentState>,
    /// How many instances serve.
    pub healthy: u32,
    /// How many instances there should be.
    pub wanted: u32,
    /// Whether automatic deployment is on hold.
    pub on_hold: bool,
    /// The hotfixes that passed it by, and that it does not have yet.
    #[serde(default)]
    pub behind: Vec<Behind>,
    /// Whether it is being destroyed.
    #[serde(default)]
    pub destroying: bool,
    /// What makes it a preview, where it is one.
    #[serde(default)]
    pub preview: Option<Preview>,
}

/// Whether an environment is new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Created {
    /// The id, `app/environment`.
    pub id: String,
    /// True when it was made by this request, false when it was there.
    pub created: bool,
}

/// One environment: what should run, and what does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Environment {
    /// The id, `app/environment`.
    pub id: String,
    /// The app.
    pub app: String,
    /// The name within the app.
    pub name: String,
    /// Whether it should run.
    pub lifecycle: Lifecycle,
    /// The last release that was brought out completely.
    pub stable: Option<u32>,
    /// The release that a rollback would bring back.
    pub rollback_to: Option<u32>,
    /// The deployment under way.
    pub deployment: Option<Deployment>,
    /// The deployment that comes next.
    pub waiting: Option<Deployment>,
    /// The services.
    pub services: Vec<Service>,
    /// The instances.
    pub instances: Vec<Instance>,
    /// Where the services are reached.
    pub routes: Vec<Route>,
    /// Why nothing may be deployed by itself, where that is so.
    pub hold: Option<Hold>,
    /// The hotfixes that passed it by, and that it does not have yet.
    #[serde(default)]
    pub behind: Vec<Behind>,
    /// What the router does with all requests.
    pub traffic: Traffic,
    /// Whether the router answers the control plane.
    pub router_answers: bool,
    /// Why the engine cannot say what runs, while it cannot: what is told of instances is what was seen
    /// last, and nothing is decided.
    #[serde(default)]
    pub engine_fault: Option<String>,
    /// Whether it is being destroyed: nothing can be changed of it any more.
    #[serde(default)]
    pub destroying: bool,
    /// What makes it a preview, where it is one.
    #[serde(default)]
    pub preview: Option<Preview>,
}

/// A hotfix that an environment lacks: it went straight to another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Behind {
    /// The environment that has it.
    pub of: String,
    /// The number of the release that it came with.
    pub release: u32,
    /// Its commit.
    pub commit: String,
    /// Whether that is sure: false where Towpath does not have the history of the commits.
    pub sure: bool,
}

/// Whether an environment should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// It should.
    Up,
    /// Everything in it should be stopped.
    Down,
}

/// A service of an environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// The name.
    pub name: String,
    /// Whether it runs for ever or to its end.
    pub role: Role,
    /// How many instances there should be; 0 for a release job.
    pub wanted: u32,
    /// How many run.
    pub running: u32,
    /// How many are healthy and may be given requests.
    pub healthy: u32,
    /// Whether there is never more than one instance of it at once.
    pub stateful: bool,
    /// Which releases its requests go to.
    pub shares: Vec<Share>,
    /// What happens again and again to its instances, where they are in a crash loop.
    pub crash_loop: Option<String>,
}

/// Whether a service runs for ever or to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It runs until it is told to stop.
    Service,
    /// It runs once for each deployment.
    Job,
}

/// A release's share of a service's traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Share {
    /// The release.
    pub release: u32,
    /// Its share in percent.
    pub percent: f64,
}

/// One running copy of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// The id, `app/environment/service-number`.
    pub id: String,
    /// The number within the environment.
    pub number: u32,
    /// The service.
    pub service: String,
    /// The release whose files it runs.
    pub release: u32,
    /// The workload, `service@digest`: equal ones are interchangeable.
    pub workload: String,
    /// The deployment whose release job it is; absent for one that serves.
    pub job: Option<u32>,
    /// How far it is.
    pub phase: InstancePhase,
    /// Whether it is well.
    pub health: Health,
    /// Where it listens.
    pub address: Option<String>,
    /// Since when it is in this phase.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// What its last failed health check met, while checks fail.
    pub failing_check: Option<String>,
}

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstancePhase {
    /// It was decided on and does not run yet.
    Pending,
    /// It runs.
    Running,
    /// It gets no new requests; those in flight go on.
    Draining,
    /// It was told to stop.
    Stopping,
}

impl InstancePhase {
    /// Returns the word for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Pending => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
        }
    }
}

/// Whether an instance is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// No check was conclusive yet.
    Unknown,
    /// The last conclusive checks were good.
    Healthy,
    /// As many checks in a row failed as the health check allows.
    Unhealthy,
}

impl Health {
    /// Returns the word for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One way to reach a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// The service.
    pub service: String,
    /// Where to point a client at.
    pub url: String,
    /// The socket that the router listens on.
    pub listen: String,
    /// What is spoken.
    pub protocol: RouteProtocol,
    /// The host names that it answers to; all when empty.
    pub hosts: Vec<String>,
    /// The path prefix that it answers to.
    pub path_prefix: String,
    /// Whether it is only for the other services of the environment.
    pub internal: bool,
    /// Why the socket could not be opened, where it could not.
    pub fault: Option<String>,
}

/// What is spoken on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteProtocol {
    /// HTTP/1.1, HTTP/2 and `WebSocket`.
    Http,
    /// Bytes.
    Tcp,
}

/// Why nothing may be deployed by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    /// Why.
    pub reason: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// Asks to hold automatic deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// Why.
    pub reason: String,
}

/// What the router does with all requests of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "mode", deny_unknown_fields)]
pub enum Traffic {
    /// Requests are forwarded.
    Serving,
    /// Requests are held, and forwarded later.
    Paused {
        /// The longest that one request is held, in milliseconds; then it is answered 504.
        max_wait_ms: u64,
    },
    /// Requests are answered 503 with a page.
    Maintenance {
        /// The page, HTML; a plain one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        page: Option<String>,
        /// Seconds for `Retry-After`.
        retry_after_s: u32,
    },
}

/// Asks for another number of instances of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleRequest {
    /// The number of instances.
    pub count: u32,
}
