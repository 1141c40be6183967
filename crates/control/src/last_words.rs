//! Reads what an instance wrote last, for the failure that a deployment ends with. Not whose log is
//! wanted, which is decided by the step.

use std::time::Duration;

use towpath_model::id::InstanceId;
use towpath_model::port::{Engine, LogQuery, PortError};

/// How many lines say what went wrong.
const LINES: usize = 20;

/// The longest that the reading may take: what failed is not taken out of service before.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns the last lines of an instance: those that were read until then where the log cannot be read
/// to its end in time.
pub(crate) async fn read(engine: &dyn Engine, id: &InstanceId) -> Vec<String> {
    let mut lines = Vec::new();
    let reading = read_into(&mut lines, engine, id);
    let read = tokio::time::timeout(PATIENCE, reading).await;
    if let Err(error) = read.unwrap_or_else(|_| Err(too_late(id))) {
        tracing::warn!(instance.id = %id, %error, "what a failed instance wrote cannot be read");
    }
    lines
}

async fn read_into(
    lines: &mut Vec<String>,
    engine: &dyn Engine,
    id: &InstanceId,
) -> Result<(), PortError> {
    let query = LogQuery {
        services: vec![id.service.clone()],
        instance: Some(id.number),
        tail: Some(LINES),
        ..LogQuery::default()
    };
    let mut log = engine.logs(&id.environment, &query).await?;
    while let Some(line) = log.next().await? {
        lines.push(line.text);
    }
    Ok(())
}

fn too_late(id: &InstanceId) -> PortError {
    PortError::Failed {
        attempted: format!("read the log of {id}"),
        reason: format!("it took more than {PATIENCE:?}"),
    }
}
