//! The wire contract: requests, responses, and the typed client. Not what serves them.
//!
//! Every type here is JSON on the wire, and what `--json` prints. Field names are stable: a field is
//! added, never renamed; readers ignore fields that they do not know.

pub mod adoption;
pub mod cache;
pub mod client;
pub mod console;
pub mod deployment;
pub mod environment;
pub mod event;
pub mod frame;
pub mod git;
pub mod log;
pub mod notify;
pub mod plan;
pub mod preview;
pub mod problem;
pub mod release;
pub mod repository;
pub mod run;
pub mod secret;
pub mod server;
pub mod token;

pub use adoption::{
    AdoptRequest, Adopted, AdoptedContainer, AdoptedPort, AdoptionPlan, AdoptionState,
    ComposeProject, PortStage,
};
pub use cache::Cache;
pub use client::Client;
pub use console::{
    CommandEnd, Detached, ExecRequest, InstanceUsage, RunRequest, TerminalSize, Usage,
};
pub use deployment::{
    DeployRequest, Deployment, DeploymentKind, DeploymentState, Failure, Job, JobState, Pause,
    PauseReason, Progress, RedeployRequest, Requested, RollbackRequest, ServiceProgress, Strategy,
};
pub use environment::{
    Behind, Created, Environment, EnvironmentSummary, Health, Hold, HoldRequest, Instance,
    InstancePhase, Lifecycle, Role, Route, RouteProtocol, ScaleRequest, Service, Share, Traffic,
};
pub use event::{BrokenLink, Event, Verification};
pub use log::LogLine;
pub use notify::{NotifyTest, NotifyTestRequest};
pub use plan::{Change, Plan, PlanRequest, ServicePlan};
pub use preview::{ExtendRequest, Preview, PreviewCreated, PreviewRequest};
pub use problem::Problem;
pub use release::Release;
pub use repository::{Repository, RepositoryRequest, RepositoryStatuses};
pub use run::{
    AwaitedApproval, DecisionRequest, PromoteRequest, Run, RunArtifacts, RunCache, RunCacheGiven,
    RunEnvironment, RunFailedTest, RunJob, RunLogLine, RunPartState, RunResult, RunStart,
    RunStarted, RunState, RunStep, RunTests,
};
pub use secret::{Secret, SecretSet};
pub use server::{EngineInfo, ServerInfo, SourceInfo};
pub use towpath_model::tree;

pub use token::{NewToken, Token, TokenRequest};
