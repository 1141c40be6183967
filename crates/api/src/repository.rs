//! The repository of an app on the wire: what it follows, and how that goes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Sets up the repository of an app. What is left out is as in a repository that is pushed to, of which
/// all is delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RepositoryRequest {
    /// The repository elsewhere that it follows: `https://`, `ssh://`, `http://`, `file://`, or
    /// `user@host:path`.
    pub url: Option<String>,
    /// How often it is looked at, in seconds. Default: 300.
    pub poll_seconds: Option<u64>,
    /// The branches that are delivered, as patterns; all when empty.
    pub branches: Vec<String>,
    /// The tags that are delivered, as patterns; all when empty.
    pub tags: Vec<String>,
    /// Whether pull requests are delivered.
    pub pull_requests: bool,
    /// The directory of the repository that the app is in.
    pub directory: String,
    /// Only pushes that change one of these files are delivered; all when empty.
    pub paths: Vec<String>,
    /// Files whose change alone delivers nothing.
    pub ignore_paths: Vec<String>,
    /// The branches that never lose commits, as patterns.
    pub protected: Vec<String>,
}

/// The repository of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Repository {
    /// The app.
    pub app: String,
    /// What is set up.
    pub settings: RepositoryRequest,
    /// Whether there is a credential for the repository elsewhere.
    pub has_credential: bool,
    /// Whether there is a secret that webhooks are signed with.
    pub has_webhook_secret: bool,
    /// When the repository elsewhere was fetched from the last time since the control plane began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub fetched_at: Option<Timestamp>,
    /// Why it cannot be fetched from.
    pub fault: Option<String>,
}
