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
    /// What it is served by, where its host does not say so: `github`, `gitlab`, `bitbucket-cloud`,
    /// `bitbucket-data-center`, `gitea`. It is told the statuses of commits.
    pub forge: Option<String>,
    /// The address of the forge, where that of the repository does not say it: `https://` or `http://`.
    pub forge_url: Option<String>,
    /// Where people read more of a run, for the statuses of commits: an address with `{app}`, `{run}`
    /// and `{commit}` in it.
    pub link: Option<String>,
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
    /// How many certificates of authorities are trusted beside those of the machine.
    #[serde(default)]
    pub authorities: usize,
    /// When the repository elsewhere was fetched from the last time since the control plane began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub fetched_at: Option<Timestamp>,
    /// Why it cannot be fetched from.
    pub fault: Option<String>,
    /// How it goes with telling the forge the statuses of commits.
    pub statuses: RepositoryStatuses,
}

/// How it goes with telling a forge the statuses of commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryStatuses {
    /// Whether there is a token for it alone.
    pub has_token: bool,
    /// How many the forge is still to be told.
    pub waiting: u64,
    /// Why the forge does not take them.
    pub fault: Option<String>,
    /// When the forge is told again; absent where it is told nothing more until something is mended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub retry_at: Option<Timestamp>,
}
