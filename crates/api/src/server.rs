//! The control plane itself on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a control plane is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerInfo {
    /// The version of Towpath.
    pub version: String,
    /// The id of its process.
    pub pid: u32,
    /// Its data directory.
    pub data: String,
    /// What environments run on.
    pub engine: EngineInfo,
}

/// What an engine can honour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EngineInfo {
    /// The name.
    pub name: String,
    /// Why limits of memory and CPU are not enforced; absent when they are.
    pub no_limits: Option<String>,
    /// Why instances cannot run as another user; absent when they can.
    pub no_users: Option<String>,
}

/// A source tree that the control plane has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceInfo {
    /// Its digest.
    pub digest: String,
}
