//! Secrets on the wire: everything but their values, which go in and never come out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What may be told of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    /// The name within the environment.
    pub name: String,
    /// The latest version.
    pub version: u32,
    /// When that version was set.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Who set it.
    pub created_by: String,
}

/// A secret was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SecretSet {
    /// The name within the environment.
    pub name: String,
    /// Its version now: the same as before when the value is.
    pub version: u32,
}
