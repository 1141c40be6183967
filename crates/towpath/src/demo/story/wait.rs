//! What the story waits for, each with an end to the patience. Not what it waits for it for.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::time::Instant;

use super::Telling;

/// The longest that anything that is waited for takes.
const LONGEST: Duration = Duration::from_mins(1);

impl Telling<'_> {
    /// Waits until the status of production is as `done` wants it. Returns whether it came to that.
    pub(super) async fn wait_for(&self, done: impl Fn(&Value) -> bool) -> Result<bool> {
        let deadline = Instant::now() + LONGEST;
        while Instant::now() < deadline {
            let answer = self
                .stage
                .command_line()
                .run(&["status", "production"])
                .await?
                .good()?;
            if done(&answer.json) {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(false)
    }

    /// Waits for the end of a deployment, and returns its record.
    pub(super) async fn wait_for_deployment(&self, number: u64) -> Result<Value> {
        let deadline = Instant::now() + LONGEST;
        loop {
            let answer = self
                .stage
                .command_line()
                .run(&["deployments", "production"])
                .await?
                .good()?;
            let found = answer
                .json
                .as_array()
                .into_iter()
                .flatten()
                .find(|one| one["number"] == number);
            match found {
                Some(one) if one["ended"] == true => return Ok(one.clone()),
                Some(one) if Instant::now() >= deadline => return Ok(one.clone()),
                None => anyhow::ensure!(Instant::now() < deadline, "deployment {number} is lost"),
                Some(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
