//! The parts of a service: dependencies, health, hooks and the rest. Not what several services
//! share: networks, volumes, secrets and configs are beside it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ByteSize, Duration, Environment, Extensions, TextMap, is_false, yes};

/// What has to be true of a service before one that depends on it may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub enum Condition {
    /// Its container was started.
    #[default]
    #[serde(rename = "service_started")]
    Started,
    /// It is healthy.
    #[serde(rename = "service_healthy")]
    Healthy,
    /// It ran to its end and succeeded.
    #[serde(rename = "service_completed_successfully")]
    CompletedSuccessfully,
}

/// A dependency on another service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dependency {
    /// What is waited for.
    #[serde(default)]
    pub condition: Condition,
    /// Whether this service is restarted when that one is.
    #[serde(default, skip_serializing_if = "is_false")]
    pub restart: bool,
    /// Whether that service has to exist.
    #[serde(default = "yes")]
    pub required: bool,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A limit: one number for both, or the soft and the hard one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ulimit {
    /// The soft and the hard limit alike; -1 is none.
    Single(i64),
    /// Two limits.
    Range {
        /// The limit that a process may raise.
        #[serde(default)]
        soft: i64,
        /// The limit up to which it may.
        #[serde(default)]
        hard: i64,
    },
}

/// How health is found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Healthcheck {
    /// The command: `CMD` and words, `CMD-SHELL` and a text, or `NONE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// How long one check may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// The time between checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// How many failures in a row make it unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u64>,
    /// The time at the start in which failures do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Duration>,
    /// The time between checks during the start period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<Duration>,
    /// Whether the check of the image is turned off.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disable: bool,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A command that runs inside the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Hook {
    /// The command.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether it has all privileges.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// The working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// More variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: Environment,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// Where the output of a container goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Logging {
    /// The driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Options of the driver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: TextMap,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A program that provides a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Provider {
    /// The name of the program.
    #[serde(default, skip_serializing_if = "String::is_empty", rename = "type")]
    pub kind: String,
    /// Options, each of which may be repeated.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Vec<String>>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// Variables through which a service learns of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct ServiceModel {
    /// The variable for the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_var: Option<String>,
    /// The variable for the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_var: Option<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A file with variables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvFile {
    /// The path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Whether it has to exist.
    #[serde(default = "yes", skip_serializing_if = "super::is_true")]
    pub required: bool,
    /// The format: `raw` takes values literally.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// A request for devices such as GPUs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct DeviceRequest {
    /// What the devices have to be able to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// How many; -1 is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// The devices by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_ids: Vec<String>,
    /// Options of the driver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: TextMap,
}

/// What is watched while developing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Develop {
    /// The rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<Watch>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A rule for files that are watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Watch {
    /// The path that is watched.
    #[serde(default)]
    pub path: String,
    /// What happens: `sync`, `rebuild`, `restart`, `sync+restart` or `sync+exec`.
    #[serde(default)]
    pub action: String,
    /// Where files are copied to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The command of `sync+exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Hook>,
    /// Patterns that are watched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Patterns that are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Whether all is copied at the start.
    #[serde(default, skip_serializing_if = "is_false")]
    pub initial_sync: bool,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A credential spec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct CredentialSpec {
    /// From a config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// From a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// From the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// Limits of block I/O.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct BlkioConfig {
    /// The weight among containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// The weight for a device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weight_device: Vec<WeightDevice>,
    /// Bytes read in a second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_read_bps: Vec<ThrottleDevice>,
    /// Reads in a second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_read_iops: Vec<ThrottleDevice>,
    /// Bytes written in a second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_write_bps: Vec<ThrottleDevice>,
    /// Writes in a second.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_write_iops: Vec<ThrottleDevice>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// The weight of block I/O for a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct WeightDevice {
    /// The device.
    #[serde(rename = "Path", alias = "path", default)]
    pub path: String,
    /// The weight.
    #[serde(rename = "Weight", alias = "weight", default)]
    pub weight: u16,
}

/// A limit of the rate of block I/O for a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ThrottleDevice {
    /// The device.
    #[serde(rename = "Path", alias = "path", default)]
    pub path: String,
    /// The rate in a second.
    #[serde(rename = "Rate", alias = "rate", default)]
    pub rate: ByteSize,
}
