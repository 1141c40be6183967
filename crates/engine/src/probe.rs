//! Tries health checks. Not the verdict, which the model draws from the records.

use async_trait::async_trait;
use towpath_model::id::InstanceId;
use towpath_model::workload::Command;

/// Runs a command where an instance runs, with its variables. An engine can.
#[async_trait]
pub trait RunInInstance: Send + Sync + std::fmt::Debug {
    /// Returns when the command ended with exit code 0; the error says what was met otherwise.
    /// Whoever drops the future ends the command and all that it started.
    async fn run_in(&self, id: &InstanceId, command: &Command) -> Result<(), String>;
}
