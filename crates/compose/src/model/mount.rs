//! What is mounted or mapped into a container.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ByteSize, Extensions, FileMode, TextMap, is_false, is_true, yes};

/// What a mount is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A volume: named, or anonymous without a source.
    #[default]
    Volume,
    /// Memory.
    Tmpfs,
    /// A volume of the cluster.
    Cluster,
    /// A named pipe (Windows).
    Npipe,
    /// The content of an image.
    Image,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Mount {
    /// What it is of.
    #[serde(default, rename = "type")]
    pub kind: MountKind,
    /// The path, volume or image; none is an anonymous volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The path inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether it cannot be written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// The consistency that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<String>,
    /// Options of a bind mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<BindOptions>,
    /// Options of a volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeOptions>,
    /// Options of a temporary file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tmpfs: Option<TmpfsOptions>,
    /// Options of an image mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageOptions>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// Options of a bind mount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BindOptions {
    /// Relabelling: `z` for shared, `Z` for private.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selinux: Option<String>,
    /// The propagation of mounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<String>,
    /// Whether a path that is missing is made.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub create_host_path: bool,
    /// How mounts inside are treated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recursive: Option<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// Options of a volume mount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct VolumeOptions {
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: TextMap,
    /// Whether files of the image are not copied.
    #[serde(default, skip_serializing_if = "is_false")]
    pub nocopy: bool,
    /// A path within the volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// Options of a temporary file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct TmpfsOptions {
    /// The size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// The mode, as a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// Options of an image mount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct ImageOptions {
    /// A path within the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct DeviceMapping {
    /// The path on the host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The path inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `r`, `w` and `m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<String>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}

/// A secret or config that is mounted as a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct FileMount {
    /// The key of the secret or config.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The path inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<String>,
    /// The mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
    /// The `x-*` attributes.
    #[serde(flatten)]
    pub extensions: Extensions,
}
