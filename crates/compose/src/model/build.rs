//! How an image is built. Not the building: that is an engine's.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ByteSize, Environment, Extensions, FileMount, TextMap, Ulimit, is_false};

/// How an image is built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent attributes of the format"
)]
pub struct Build {
    /// The directory, archive or repository that is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The Dockerfile, relative to the context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile: Option<String>,
    /// The Dockerfile, in line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile_inline: Option<String>,
    /// Privileges that are granted to the build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entitlements: Vec<String>,
    /// Arguments.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: Environment,
    /// The provenance attestation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<String>,
    /// The SBOM attestation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<String>,
    /// Agents and keys of SSH.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<SshKey>,
    /// Labels of the image.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: TextMap,
    /// Where the cache is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<String>,
    /// Where the cache is written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_to: Vec<String>,
    /// Whether the cache is not used.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_cache: bool,
    /// Stages for which the cache is not used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_cache_filter: Vec<String>,
    /// Named contexts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub additional_contexts: TextMap,
    /// Whether base images are always pulled.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pull: bool,
    /// More hosts, each `name=address`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<String>,
    /// The isolation technology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<String>,
    /// The network of the build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The stage that is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The secrets of the build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<FileMount>,
    /// The size of `/dev/shm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<ByteSize>,
    /// More names of the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Resource limits by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// The platforms that are built for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// Whether the build has all privileges.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// An agent or key of SSH, written `id` or `id=path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshKey {
    /// The name; `default` is the agent.
    pub id: String,
    /// The path of the socket or key.
    pub path: Option<String>,
}

impl Serialize for SshKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.path {
            Some(path) => serializer.collect_str(&format_args!("{}={path}", self.id)),
            None => serializer.serialize_str(&self.id),
        }
    }
}

impl<'de> Deserialize<'de> for SshKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Err(D::Error::custom("an SSH key needs an id"));
        }
        Ok(match text.split_once('=') {
            Some((id, path)) => Self {
                id: id.to_owned(),
                path: Some(path.to_owned()),
            },
            None => Self {
                id: text,
                path: None,
            },
        })
    }
}
