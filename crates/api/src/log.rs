//! Log lines on the wire: one JSON object on each line of the answer (NDJSON).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One line that an instance wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// When it was read.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The service.
    pub service: String,
    /// The number of the instance within the environment.
    pub instance: u32,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The text, without its line end; what is not UTF-8 is replaced.
    pub text: String,
}
