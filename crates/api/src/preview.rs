//! Previews on the wire: environments that are like another one and go by themselves.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What makes an environment a preview.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    /// The environment that it is like.
    pub like: String,
    /// The environment whose secrets it reads beside its own; absent: nobody's.
    pub secrets_from: Option<String>,
    /// The number of the pull request that it goes with.
    pub pull_request: Option<u64>,
    /// Who made it.
    pub created_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it is removed, with its volumes.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// Asks for a preview.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// The environment that it is to be like.
    pub like: String,
    /// How long it is to stay, in seconds; as the delivery file says when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
    /// The release; that which is stable in the environment that it is like when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u32>,
    /// The environment whose secrets it is to read; as the delivery file says when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_from: Option<String>,
}

/// A preview that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewCreated {
    /// The environment, `app/environment`.
    pub environment: String,
    /// The number of its release within the app.
    pub release: u32,
    /// The number of the deployment that brings the release to it.
    pub deployment: u32,
    /// What it is.
    pub preview: Preview,
}

/// Asks for another end of a preview.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendRequest {
    /// How long it is to stay from now on, in seconds.
    pub ttl_s: u64,
}
