//! Notifications on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks for a test message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NotifyTestRequest {
    /// The target; all of the environment when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What became of a test message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotifyTest {
    /// The target.
    pub target: String,
    /// How it is reached: `teams`, `slack`, `smtp` or `webhook`.
    pub channel: String,
    /// Whether the other side took it.
    pub arrived: bool,
    /// What the other side answered; why it did not arrive.
    pub answer: String,
}
