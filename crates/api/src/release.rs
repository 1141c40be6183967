//! Releases on the wire.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One immutable release of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Release {
    /// The app.
    pub app: String,
    /// The number within the app.
    pub number: u32,
    /// The digest of the source tree that it was made from.
    pub source: Option<String>,
    /// The commit that the source tree is at, where it is a clean checkout.
    pub commit: Option<String>,
    /// What the maker said of it.
    pub message: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// The environments whose stable release it is, `app/environment`.
    pub stable_in: Vec<String>,
}
