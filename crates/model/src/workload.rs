//! What an instance is: the rendered specification of one service. Not how many there are, nor
//! how traffic reaches them ([`crate::release`]).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::container::{BuildSecret, Container, Image};
use crate::duration;
use crate::id::{Digest, SecretName, SecretVersion, ServiceName, WorkloadId};

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// One line for `/bin/sh -c`, which expands the instance's variables.
    Shell(String),
    /// Words, the program first; nothing is expanded.
    Exec(Vec<String>),
}

/// Everything that makes one instance of a service what it is. Two equal specifications make
/// interchangeable instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkloadSpec {
    /// The Compose service.
    pub service: ServiceName,
    /// What to run.
    pub command: Command,
    /// Plain variables. Those that the engine adds (`PORT`, addresses) are not among them.
    pub environment: BTreeMap<String, String>,
    /// Where to run it, relative to the release's directory; absolute paths are taken as they are.
    pub working_directory: Option<String>,
    /// The digest of the source tree, for a service that is built from it or runs in it.
    pub source: Option<Digest>,
    /// The build step, run once for each release before any instance starts.
    pub build: Option<Command>,
    /// The user (`name`, `uid`, `user:group`) to run as; the engine's own user when absent.
    pub user: Option<String>,
    /// Secrets given to the instance, pinned to versions.
    pub secrets: Vec<SecretMount>,
    /// Configuration files given to the instance.
    pub configs: Vec<ConfigMount>,
    /// Named volumes.
    pub volumes: Vec<VolumeMount>,
    /// The port that the program itself wants to listen on, where Compose names one. The process
    /// engine gives another one as `PORT`.
    pub container_port: Option<u16>,
    /// Whether the program listens on `PORT` at all (a worker does not).
    pub listens: bool,
    /// How to tell that an instance is well.
    pub health: HealthCheck,
    /// The signal that asks it to stop, by name (`SIGTERM`); empty for the one that a container's
    /// image names.
    pub stop_signal: String,
    /// How long it may take to stop before it is killed.
    #[serde(with = "duration")]
    pub stop_grace: Duration,
    /// Limits on what it may use.
    pub limits: Limits,
    /// Workloads whose replacement replaces this one too (`restart: true` of `depends_on`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart_with: Vec<WorkloadId>,
    /// What makes it a container; a plain process when absent. A container's `command` and `build`
    /// are here, not above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Box<Container>>,
}

impl WorkloadSpec {
    /// Returns what a program is that asks for nothing: no port, no health check but that it runs,
    /// and Compose's defaults for its stop.
    pub fn new(service: ServiceName, command: Command) -> Self {
        Self {
            service,
            command,
            environment: BTreeMap::new(),
            working_directory: None,
            source: None,
            build: None,
            user: None,
            secrets: Vec::new(),
            configs: Vec::new(),
            volumes: Vec::new(),
            container_port: None,
            listens: false,
            health: HealthCheck::default(),
            stop_signal: "SIGTERM".to_owned(),
            stop_grace: Duration::from_secs(10),
            limits: Limits::default(),
            restart_with: Vec::new(),
            container: None,
        }
    }

    /// Returns the digest of everything in the specification.
    pub fn digest(&self) -> Digest {
        let json = serde_json::to_vec(self).expect("a specification has only string keys");
        Digest::of(&json)
    }

    /// Returns the secrets that are read while its image is built.
    pub fn build_secrets(&self) -> &[BuildSecret] {
        match self.container.as_deref().map(|container| &container.image) {
            Some(Image::Built(recipe)) => &recipe.secrets,
            Some(Image::Pulled { .. }) | None => &[],
        }
    }

    /// Returns the id of the workload that this specification makes.
    pub fn id(&self) -> WorkloadId {
        WorkloadId::new(self.service.clone(), &self.digest())
    }
}

/// A secret as an instance sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretMount {
    /// Which secret.
    pub secret: SecretName,
    /// Which version of it: a rollback restores the version too.
    pub version: SecretVersion,
    /// The name of the file in the instance's secrets directory (`/run/secrets` in a container); for
    /// a container also an absolute path.
    pub file: Option<String>,
    /// The variable that holds the value itself, where the delivery file asks for one.
    pub variable: Option<String>,
}

/// A Compose `config` as an instance sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigMount {
    /// The config's name.
    pub name: String,
    /// The path that the service asks for.
    pub target: String,
    /// The content.
    pub content: String,
}

/// A named volume as an instance sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// The volume's name within the environment.
    pub volume: String,
    /// The path that the service asks for.
    pub target: String,
    /// Whether the instance may only read it.
    pub read_only: bool,
    /// Whether several instances, and both sides of a release, may have it at once.
    pub shared: bool,
}

/// Limits on one instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Thousandths of a CPU.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Resource limits by Compose's `ulimits` names: soft and hard.
    pub rlimits: BTreeMap<String, (u64, u64)>,
}

/// How to tell that an instance is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// The time between two tries while the instance serves.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// The time between two tries while a verdict is waited for.
    #[serde(with = "duration")]
    pub start_interval: Duration,
    /// The longest that one try may take.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Failed tries in a row that make an instance unhealthy, at least 1.
    pub retries: u32,
    /// Failures in this time after the start do not count, until the first success.
    #[serde(with = "duration")]
    pub start_period: Duration,
}

impl HealthCheck {
    /// Returns how long an instance may take to become well for the first time: the start period, or
    /// as many intervals as there are retries where that is longer.
    pub fn first_patience(&self) -> Duration {
        self.start_period
            .max(self.interval.saturating_mul(self.retries.max(1)))
    }
}

impl Default for HealthCheck {
    /// Returns the defaults of Compose's `healthcheck`, with the probe intervals of DESIGN's table.
    fn default() -> Self {
        Self {
            probe: Probe::Running,
            interval: Duration::from_secs(5),
            start_interval: Duration::from_millis(100),
            timeout: Duration::from_secs(30),
            retries: 3,
            start_period: Duration::ZERO,
        }
    }
}

/// What a health check tries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// Nothing: an instance is healthy when it has run for a second.
    Running,
    /// A TCP connection to the instance's port.
    Tcp,
    /// `GET path` on the instance's port is answered 200 to 399.
    Http {
        /// The path, with a leading `/`.
        path: String,
    },
    /// A command in the instance's surroundings exits 0.
    Command(Command),
}

/// Where an instance's secret value comes from and goes to: memory only. It is wiped on drop and
/// has no text form but a mask.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(zeroize::Zeroizing<Vec<u8>>);

impl SecretValue {
    /// Takes ownership of the value.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(zeroize::Zeroizing::new(bytes))
    }

    /// Shows the value to whoever has to hand it on.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretValue(***)")
    }
}
