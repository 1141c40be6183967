//! How many instances run and how they are replaced, in Compose's words. Not Towpath's rollout.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ByteSize, Decimal, DeviceRequest, Duration, Extensions, TextMap};

/// How a service is deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Deploy {
    /// `replicated` or `global`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The number of instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Labels of the service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: TextMap,
    /// How instances are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_config: Option<UpdateConfig>,
    /// How they are replaced when an update failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_config: Option<UpdateConfig>,
    /// Limits and reservations.
    #[serde(default)]
    pub resources: Resources,
    /// When an instance is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// Where instances may run.
    #[serde(default)]
    pub placement: Placement,
    /// How clients reach the service: `vip` or `dnsrr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_mode: Option<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// How instances are replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct UpdateConfig {
    /// How many at a time; 0 is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u64>,
    /// The time between groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// What happens on failure: `continue`, `rollback` or `pause`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_action: Option<String>,
    /// How long an instance is watched after its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<Duration>,
    /// The share of failures that is borne.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failure_ratio: Option<Decimal>,
    /// `stop-first` or `start-first`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// Limits and reservations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Resources {
    /// What may be used at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Resource>,
    /// What has to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservations: Option<Resource>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// An amount of resources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Resource {
    /// CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Decimal>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// Processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
    /// Devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceRequest>,
    /// Resources of other kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generic_resources: Vec<GenericResource>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A resource of another kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct GenericResource {
    /// Its kind and how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discrete_resource_spec: Option<DiscreteResource>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A resource that is counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct DiscreteResource {
    /// The kind.
    #[serde(default)]
    pub kind: String,
    /// How many.
    #[serde(default)]
    pub value: i64,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// When an instance is started again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct RestartPolicy {
    /// `none`, `on-failure` or `any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The time before a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// How many times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u64>,
    /// How long a start is watched before it counts as good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// Where instances may run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Placement {
    /// Conditions on a node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// How instances are spread.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferences: Vec<Preference>,
    /// The most on one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_replicas_per_node: Option<u64>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A preference for a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Preference {
    /// The label over whose values instances are spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}
