//! What services share by name: volumes, secrets, configs, models; and what starts a job.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Extensions, TextMap, is_false};

/// A named volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Volume {
    /// The name on the engine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Options of the driver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: TextMap,
    /// Whether it exists already and is not managed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub external: bool,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: TextMap,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A secret. Its value is never part of the project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct SecretFile {
    /// The name on the engine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The file that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The variable that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Whether it exists already and is not managed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub external: bool,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: TextMap,
    /// The driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Options of the driver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: TextMap,
    /// The driver of templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_driver: Option<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A config.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct ConfigFile {
    /// The name on the engine.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The file that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The variable that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The content, in line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Whether it exists already and is not managed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub external: bool,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: TextMap,
    /// The driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Options of the driver.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_opts: TextMap,
    /// The driver of templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_driver: Option<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A model for inference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[expect(
    clippy::struct_field_names,
    reason = "the attribute has that name in the format"
)]
pub struct Model {
    /// The name on the engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The model.
    #[serde(default)]
    pub model: String,
    /// The size of the context in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_size: Option<i64>,
    /// Flags of the runtime.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runtime_flags: Vec<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// What starts a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Triggers {
    /// Whether a person may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<bool>,
    /// The times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Schedule>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A time at which a job starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Schedule {
    /// The times in the notation of cron.
    #[serde(default)]
    pub cron: String,
    /// The time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// What happens while the job still runs: `forbid` or `queue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<String>,
    /// What happens to times that were missed: `one` or `skip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_fires: Option<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}
