//! Releases and what they render to in an environment. Not their deployment.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{
    AppName, Digest, ReleaseNumber, SecretName, SecretVersion, ServiceName, WorkloadId,
};
use crate::notify::Targets;
use crate::pipeline::Demands;
use crate::preview::Terms;
use crate::render::DraftService;
use crate::rollout::Settings;
use crate::routing::{Protocol, RoutePolicy};
use crate::workload::WorkloadSpec;

/// One immutable release of an app. What it renders to is kept apart for each environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// The app.
    pub app: AppName,
    /// The number within the app.
    pub number: ReleaseNumber,
    /// The digest of the source tree it was made from, where it has one.
    pub source: Option<Digest>,
    /// The commit that the source tree is at, where it is a clean checkout.
    pub commit: Option<String>,
    /// What the maker said of it.
    pub message: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
}

/// A release as one environment runs it: every service rendered, every secret pinned.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Rendering {
    /// The services by name.
    pub services: BTreeMap<ServiceName, RenderedService>,
    /// The versions of the secrets that the services read.
    pub secrets: BTreeMap<SecretName, SecretVersion>,
    /// How the release is rolled out.
    pub settings: Settings,
    /// The source tree that images are built from or that containers have parts of. Each service
    /// has the digest of its own part, so that a change elsewhere does not replace it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Digest>,
    /// Who is told of what happens in the environment.
    #[serde(default, skip_serializing_if = "Targets::is_empty")]
    pub notify: Targets,
    /// What is said of previews that are like the environment, where anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Terms>,
    /// The release job that fills the volumes of a new preview, where there is one: its secrets are
    /// pinned there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Box<DraftService>>,
    /// What the environment demands of a release that is to take the place of this one.
    #[serde(default, skip_serializing_if = "Demands::are_none")]
    pub demands: Demands,
    /// The commit, where it came straight here as a hotfix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hotfix: Option<String>,
}

impl PartialEq for Rendering {
    /// Tells whether both are the same, at once where they are one value: a rendering never changes
    /// and is shared, and records that hold the same ones are compared at every step.
    fn eq(&self, other: &Self) -> bool {
        let Self {
            services,
            secrets,
            settings,
            source,
            notify,
            preview,
            seed,
            demands,
            hotfix,
        } = self;
        std::ptr::eq(self, other)
            || (*services == other.services
                && *secrets == other.secrets
                && *settings == other.settings
                && *source == other.source
                && *notify == other.notify
                && *preview == other.preview
                && *seed == other.seed
                && *demands == other.demands
                && *hotfix == other.hotfix)
    }
}

impl Rendering {
    /// Returns the digest of the whole rendering.
    pub fn digest(&self) -> Digest {
        let json = serde_json::to_vec(self).expect("a rendering has only string keys");
        Digest::of(&json)
    }

    /// Returns the service names so that each comes after all that it depends on. Services in a
    /// cycle, which the compose crate refuses, come last in the order of their names.
    pub fn start_order(&self) -> Vec<&ServiceName> {
        let mut order: Vec<&ServiceName> = Vec::new();
        let mut waiting: Vec<&ServiceName> = self.services.keys().collect();
        while !waiting.is_empty() {
            let (ready, blocked): (Vec<_>, Vec<_>) = waiting.iter().partition(|name| {
                self.services.get(**name).is_some_and(|service| {
                    service.depends_on.keys().all(|dependency| {
                        order.contains(&dependency) || !self.services.contains_key(dependency)
                    })
                })
            });
            let stuck = ready.is_empty();
            order.extend(if stuck { &blocked } else { &ready });
            waiting = if stuck { Vec::new() } else { blocked };
        }
        order
    }
}

/// One service of a rendering.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenderedService {
    /// The id of the workload that it makes.
    pub workload: WorkloadId,
    /// What an instance of it is.
    pub spec: Arc<WorkloadSpec>,
    /// How many instances there are when nobody scaled it.
    pub replicas: u32,
    /// What must be true of others before it starts.
    pub depends_on: BTreeMap<ServiceName, Condition>,
    /// Whether it runs for ever or to its end.
    pub role: Role,
    /// Whether an instance that ends is started again.
    pub restart: Restart,
    /// How requests from outside reach it.
    pub routes: Vec<RouteSpec>,
    /// What it speaks with the other services; `None` when it does not listen.
    pub internal: Option<Protocol>,
    /// The limits and timeouts of its routes.
    pub policy: RoutePolicy,
    /// Where the Compose file asks for what makes it [`Exclusive`](crate::exclusive::Exclusive):
    /// `compose.yaml:12:7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive_at: Option<String>,
}

impl RenderedService {
    /// Tells whether there are never two instances of the service at once, for whatever reason
    /// ([`WorkloadSpec::exclusive`]): the old one stops before the new one starts.
    pub fn is_exclusive(&self) -> bool {
        self.spec.exclusive().is_some()
    }

    /// Tells whether the service is a release job.
    pub fn is_job(&self) -> bool {
        matches!(self.role, Role::Job { .. })
    }
}

/// What must be true of a service before those that depend on it start (Compose's conditions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// An instance of it runs.
    #[serde(rename = "service_started")]
    Started,
    /// An instance of it is healthy.
    #[serde(rename = "service_healthy")]
    Healthy,
    /// It ran to its end with exit code 0.
    #[serde(rename = "service_completed_successfully")]
    Completed,
}

/// Whether a service runs for ever or to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It runs until it is told to stop.
    Service,
    /// A release job: it runs once for each deployment, before traffic moves.
    Job {
        /// Whether old code must not run on what it leaves behind.
        irreversible: bool,
    },
}

/// Whether an instance that ends by itself is started again (Compose's `restart`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Whatever its exit code.
    Always,
    /// When its exit code is not 0.
    OnFailure,
    /// Never.
    No,
}

/// One way for requests to reach a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    /// The address to listen on; all interfaces when absent.
    pub host_ip: Option<IpAddr>,
    /// The port to listen on.
    pub port: u16,
    /// What is spoken.
    pub protocol: Protocol,
    /// Host names to match; empty for all.
    pub hosts: Vec<String>,
    /// The path prefix to match.
    pub path_prefix: String,
    /// The port of the instance that requests go to, where it is not the one that stands for the
    /// service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<u16>,
}
