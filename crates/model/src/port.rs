//! The ports: what the platform needs of the world, as traits. Not their implementations, which
//! are in the engine, router and binary crates, and simulated in testkit.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::adoption::AdoptedContainer;
use crate::adoption::found::FoundProject;
use crate::adoption::takeover::Redirect;
use crate::container::{BuildSecret, Image};
use crate::duration;
use crate::id::{
    AppName, Digest, EnvironmentId, InstanceId, ReleaseNumber, SecretName, ServiceName, WorkloadId,
};
use crate::notify::{Channel, Message};
use crate::observation::{ArtifactState, Network, ObservedInstance, ProbeRecord};
use crate::pipeline::glob;
use crate::routing::{RouteTable, RouterReport};
use crate::workload::{Command, HealthCheck, SecretValue, WorkloadSpec};

/// The loopback ports at which the services of all environments reach one another: a service keeps
/// its own for ever. Nothing else may listen on them.
pub const INTERNAL_PORTS: RangeInclusive<u16> = 21_000..=28_999;

/// Tells the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Returns the present time.
    fn now(&self) -> Timestamp;
}

/// What went wrong with a call of a port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The request can never work: do not try again.
    #[error("{0}")]
    Refused(String),
    /// It did not work this time.
    #[error("{attempted}: {reason}")]
    Failed {
        /// What was attempted, and on what.
        attempted: String,
        /// What was met.
        reason: String,
    },
}

/// What an engine can honour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The engine's name: `process`, `docker`.
    pub engine: String,
    /// Limits of memory and CPU are enforced; the reason when they are not.
    pub limits: Result<(), String>,
    /// Instances may run as another user; the reason when they may not.
    pub users: Result<(), String>,
}

/// A release's artifacts, to be made once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Artifacts {
    /// The environment that needs them.
    pub environment: EnvironmentId,
    /// The release.
    pub release: ReleaseNumber,
    /// The source tree, where the release has one.
    pub source: Option<Digest>,
    /// The build steps by service, in start order. Equal ones run once.
    pub builds: Vec<(ServiceName, Command)>,
    /// The images of the services that are containers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<ServiceName, ImageRequest>,
}

impl Artifacts {
    /// Returns the secrets that images are built with.
    pub fn build_secrets(&self) -> impl Iterator<Item = &BuildSecret> {
        let recipes = self.images.values().map(|request| match &request.image {
            Image::Built(recipe) => recipe.secrets.as_slice(),
            Image::Pulled { .. } => &[],
        });
        recipes.flatten()
    }
}

/// An image that a service needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageRequest {
    /// Where it comes from.
    pub image: Image,
    /// The platform (`linux/arm64`); the machine's own when absent.
    pub platform: Option<String>,
}

/// An instance to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceStart {
    /// Its id, written down before the start.
    pub id: InstanceId,
    /// What it is a copy of.
    pub workload: WorkloadId,
    /// The release whose artifacts it runs.
    pub release: ReleaseNumber,
    /// What it is.
    pub spec: Arc<WorkloadSpec>,
    /// The port that it must listen on; any free one when absent.
    pub fixed_port: Option<u16>,
    /// Where it reaches the other services: `<SERVICE>_HOST`, `_PORT` and `_ADDR` are made of it.
    pub peers: BTreeMap<ServiceName, SocketAddr>,
}

/// How an instance is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The signal that asks, by name.
    pub signal: String,
    /// How long it may take before it is killed.
    #[serde(with = "duration")]
    pub grace: Duration,
}

/// What an engine has of an environment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineObservation {
    /// Every instance, ended ones until they are removed.
    pub instances: Vec<ObservedInstance>,
    /// The state of each release's artifacts.
    pub artifacts: BTreeMap<ReleaseNumber, ArtifactState>,
    /// The networks in which instances ask for one another by name.
    pub networks: BTreeMap<String, Network>,
}

/// Which files of a workspace are wanted: the directory that an instance runs in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesWanted {
    /// Their paths in the workspace, or those of directories that they are in. `*` stands for
    /// anything but `/`, `**` for anything.
    pub patterns: Vec<String>,
    /// The most bytes that they may have together.
    pub most_bytes: u64,
}

impl FilesWanted {
    /// Tells whether the file with this path is wanted.
    pub fn wants(&self, path: &str) -> bool {
        let mut above = path
            .match_indices('/')
            .filter_map(|(end, _)| path.get(..end));
        glob::any(&self.patterns, path) || above.any(|above| glob::any(&self.patterns, above))
    }
}

/// How much was taken out of a workspace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilesTaken {
    /// How many files.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

/// Which log lines are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogQuery {
    /// Only these services; all when empty.
    pub services: Vec<ServiceName>,
    /// Only this instance, by its number.
    pub instance: Option<u32>,
    /// Only the last so many lines of each instance; all when absent.
    pub tail: Option<usize>,
    /// Only lines from then on; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Go on with new lines as they are written.
    pub follow: bool,
}

impl LogQuery {
    /// Tells whether a line of this time is wanted.
    pub fn wants_line(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since)
    }
}

/// One line that an instance wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was read.
    pub at: Timestamp,
    /// Who wrote it.
    pub instance: InstanceId,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The text, without its line end; what is not UTF-8 is replaced.
    pub text: String,
}

/// Log lines, in the order of their time, as they come.
#[async_trait]
pub trait LogLines: Send {
    /// Returns the next line; `None` at the end, which a followed log does not have. Cancel-safe.
    async fn next(&mut self) -> Result<Option<LogLine>, PortError>;
}

/// Where workloads run. A host engine starts single instances: the platform keeps the count, the
/// health and the traffic. All calls are idempotent by the ids in them, and return without waiting
/// for their effect, which [`Engine::observe`] shows.
#[async_trait]
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// Returns what it can honour.
    fn capabilities(&self) -> Capabilities;

    /// Returns everything there, whoever made it.
    async fn observe(&self, environment: &EnvironmentId) -> Result<EngineObservation, PortError>;

    /// Waits until what [`Engine::observe`] returns for this environment may have changed since the
    /// last return of this call. May return early. Cancel-safe.
    async fn changed(&self, environment: &EnvironmentId);

    /// Begins to make a release's artifacts, unless they are there or being made. `secrets` are those
    /// that images are built with.
    async fn prepare(
        &self,
        artifacts: &Artifacts,
        secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<(), PortError>;

    /// Starts an instance, unless one with its id was ever started and not removed. `secrets` are those
    /// that it is given, and those that its image is built with.
    async fn start(
        &self,
        start: &InstanceStart,
        secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<(), PortError>;

    /// Asks an instance to stop and kills it after the grace period. Nothing when it does not run.
    async fn stop(&self, id: &InstanceId, stop: &Stop) -> Result<(), PortError>;

    /// Forgets an instance that ended. Nothing when it is not there; refused while it runs.
    async fn remove(&self, id: &InstanceId) -> Result<(), PortError>;

    /// Removes the artifacts of all releases of an environment but those named.
    async fn keep_artifacts(
        &self,
        environment: &EnvironmentId,
        releases: &[ReleaseNumber],
    ) -> Result<(), PortError>;

    /// Removes everything of an environment, its volumes only when asked. Refused while an
    /// instance runs.
    async fn destroy(&self, environment: &EnvironmentId, volumes: Volumes)
    -> Result<(), PortError>;

    /// Returns the projects that somebody started with `docker compose`. Refused by an engine
    /// that has no containers.
    async fn compose_projects(&self) -> Result<Vec<FoundProject>, PortError> {
        Err(no_containers())
    }

    /// Takes a container over as an instance, as it runs, unless that was done. From then on it is
    /// observed, stopped, removed and read like one that was started. What it is made of is kept
    /// for the release.
    async fn adopt(&self, _container: &AdoptedContainer) -> Result<(), PortError> {
        Err(no_containers())
    }

    /// Forgets an instance that was taken over, with nothing stopped. Nothing when it is not there;
    /// refused for one that was started.
    async fn let_go(&self, _id: &InstanceId) -> Result<(), PortError> {
        Err(no_containers())
    }

    /// Has every instance of a service that is started from now on find the files of these tar
    /// archives in its workspace, those of later ones in the place of those of earlier ones. The
    /// archives may be removed afterwards.
    async fn give_files(
        &self,
        environment: &EnvironmentId,
        service: &ServiceName,
        archives: &[PathBuf],
    ) -> Result<(), PortError>;

    /// Writes files out of the workspace of the newest instance of a service, which may have ended,
    /// into a new tar archive: files, and symbolic links that stay inside, with paths relative to the
    /// workspace. No link is followed. Refused when they are larger than what is wanted at most, and
    /// when there is no instance.
    async fn take_files(
        &self,
        environment: &EnvironmentId,
        service: &ServiceName,
        wanted: &FilesWanted,
        archive: &Path,
    ) -> Result<FilesTaken, PortError>;

    /// Opens the log of an environment.
    async fn logs(
        &self,
        environment: &EnvironmentId,
        query: &LogQuery,
    ) -> Result<Box<dyn LogLines>, PortError>;
}

fn no_containers() -> PortError {
    PortError::Refused("this engine has no containers that could be taken over".to_owned())
}

/// Sends new connections to a published port elsewhere, on this machine. Connections that are open
/// are not touched.
#[async_trait]
pub trait Redirects: Send + Sync + std::fmt::Debug {
    /// Tells whether it can be done here, with what is good to know; why not.
    async fn available(&self) -> Result<Vec<String>, PortError>;

    /// Returns the redirects of an environment that are in force.
    async fn get(&self, environment: &EnvironmentId) -> Result<BTreeSet<Redirect>, PortError>;

    /// Has these redirects of an environment in force, and no others of it.
    async fn set(
        &self,
        environment: &EnvironmentId,
        wanted: &BTreeSet<Redirect>,
    ) -> Result<(), PortError>;
}

/// What becomes of an environment's volumes when it is destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Volumes {
    /// They stay.
    Keep,
    /// They are deleted, for ever.
    Delete,
}

/// An instance to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTarget {
    /// The instance.
    pub id: InstanceId,
    /// Where it listens.
    pub address: SocketAddr,
    /// What to try.
    pub check: HealthCheck,
    /// Since when it runs.
    pub since: Timestamp,
    /// How often: the check's start interval while a verdict is waited for, else its interval.
    pub interval: Duration,
}

/// Tries health checks.
#[async_trait]
pub trait Prober: Send + Sync + std::fmt::Debug {
    /// Replaces the set of instances of an environment that are probed. Records of instances that
    /// stay in the set are kept.
    fn watch(&self, environment: &EnvironmentId, targets: Vec<ProbeTarget>);

    /// Returns what was found so far.
    fn records(&self, environment: &EnvironmentId) -> BTreeMap<InstanceId, ProbeRecord>;

    /// Waits until a record of the environment changed from good to bad, from bad to good, or for
    /// the first time. May return early. Cancel-safe.
    async fn changed(&self, environment: &EnvironmentId);
}

/// Carries messages to where people read them.
#[async_trait]
pub trait Notifier: Send + Sync + std::fmt::Debug {
    /// Sends a message once and returns what the other side answered, in one line.
    /// [`PortError::Refused`] when it would be no use to try again. `secrets` are those that the
    /// channel names; none is in what is returned, nor in an error.
    async fn send(
        &self,
        channel: &Channel,
        secrets: &BTreeMap<SecretName, SecretValue>,
        message: &Message,
    ) -> Result<String, PortError>;
}

/// The data plane.
#[async_trait]
pub trait Router: Send + Sync + std::fmt::Debug {
    /// Replaces the whole table. Returns when it is in force, with the router's report.
    async fn publish(&self, table: &RouteTable) -> Result<RouterReport, PortError>;

    /// Returns what the router reports now.
    async fn report(&self) -> Result<RouterReport, PortError>;

    /// Waits until loads, faults or the generation may have changed since the last return of this
    /// call, a second at most. Returns the report of then. Cancel-safe.
    async fn changed(&self) -> Result<RouterReport, PortError>;
}

/// Where uploaded source trees and the engine's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDirectory(pub PathBuf);

impl DataDirectory {
    /// Returns where all source trees are.
    pub fn sources(&self) -> PathBuf {
        self.0.join("sources")
    }

    /// Returns where the source tree with this digest is unpacked.
    pub fn source(&self, digest: &Digest) -> PathBuf {
        self.sources().join(digest.as_str())
    }

    /// Returns where all Git repositories are.
    pub fn repositories(&self) -> PathBuf {
        self.0.join("git")
    }

    /// Returns where the Git repository of an app is.
    pub fn repository(&self, app: &AppName) -> PathBuf {
        self.repositories().join(format!("{app}.git"))
    }

    /// Returns where the hooks are that Git runs for every repository.
    pub fn hooks(&self) -> PathBuf {
        self.repositories().join("hooks")
    }

    /// Returns where the logs of an app's runs are kept.
    pub fn runs(&self, app: &AppName) -> PathBuf {
        self.0.join("runs").join(app.as_str())
    }

    /// Returns where the caches of an app's jobs are kept.
    pub fn caches(&self, app: &AppName) -> PathBuf {
        self.0.join("caches").join(app.as_str())
    }

    /// Returns where an engine keeps what it has of an environment.
    pub fn environment(&self, id: &EnvironmentId) -> PathBuf {
        self.0
            .join("environments")
            .join(id.app.as_str())
            .join(id.name.as_str())
    }

    /// Returns where an environment's named volume is. It is outside of what a destroy without
    /// volumes removes.
    pub fn volume(&self, id: &EnvironmentId, name: &str) -> PathBuf {
        self.0
            .join("volumes")
            .join(id.app.as_str())
            .join(id.name.as_str())
            .join(name)
    }
}
