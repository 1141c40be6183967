//! Caches of jobs on the wire.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Files that a job left for later runs of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cache {
    /// The name in the delivery file, or that of the job.
    pub name: String,
    /// Whose runs may replace it: `branch main`, `pull request 7`, `working tree`.
    pub scope: String,
    /// The beginning of the digest of the files that decide; absent where none does.
    pub key: Option<String>,
    /// The run that left it.
    pub run: u32,
    /// How many files it has.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
    /// When it was left.
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
    /// When it was left, or given to a job at last.
    #[schema(value_type = String, format = DateTime)]
    pub used_at: Timestamp,
}
