//! The normalised project: what a set of Compose files means once everything is resolved. Not how
//! it is read: that is the loader's. Serialises to the form of `docker compose config`.

mod build;
mod deploy;
mod mount;
mod network;
mod part;
mod resource;
mod service;
mod values;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::build::{Build, SshKey};
pub use self::deploy::{
    Deploy, DiscreteResource, GenericResource, Placement, Preference, Resource, Resources,
    RestartPolicy, UpdateConfig,
};
pub use self::mount::{
    BindOptions, DeviceMapping, FileMount, ImageOptions, Mount, MountKind, TmpfsOptions,
    VolumeOptions,
};
pub use self::network::{Ipam, IpamPool, Network, Port, ServiceNetwork};
pub use self::part::{
    BlkioConfig, Condition, CredentialSpec, Dependency, Develop, DeviceRequest, EnvFile,
    Healthcheck, Hook, Logging, Provider, ServiceModel, ThrottleDevice, Ulimit, Watch,
    WeightDevice,
};
pub use self::resource::{ConfigFile, Model, Schedule, SecretFile, Triggers, Volume};
pub use self::service::{Job, PreStart, Service};
pub use self::values::{ByteSize, Decimal, Duration, FileMode, InvalidDuration, InvalidSize};

/// The `x-*` attributes of one element, as written.
pub type Extensions = BTreeMap<String, serde_json::Value>;

/// Variables of a container: `None` is a variable that is named but has no value anywhere.
pub type Environment = BTreeMap<String, Option<String>>;

/// Names to texts: labels, options, sysctls and their like.
pub type TextMap = BTreeMap<String, String>;

/// A normalised Compose project.
///
/// All paths in it are absolute, all short forms are expanded, every name is resolved, and only
/// the services that the active profiles enable are present. It serialises to what
/// `docker compose config --format json` prints and deserialises from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Project {
    /// The project name, which prefixes the names of networks and volumes.
    pub name: String,
    /// The enabled services by name.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    /// The jobs by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<String, Job>,
    /// The networks by key, with the implicit `default` network where a service uses it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, Network>,
    /// The named volumes by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Volume>,
    /// The secrets by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretFile>,
    /// The configs by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configs: BTreeMap<String, ConfigFile>,
    /// The models by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, Model>,
    /// The top-level `x-*` elements.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// True for a boolean that `omitempty` leaves out.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// True for a boolean that is left out because true is what it means when it is absent.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_true(value: &bool) -> bool {
    *value
}

fn yes() -> bool {
    true
}

/// True for a value that is what it would be if it were absent.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
