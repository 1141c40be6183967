//! The acts in which something is killed: the control plane in the middle of a deployment, an
//! instance. Not what should never die.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::time::Instant;

use super::Telling;
use crate::demo::act::{Act, Outcome};
use crate::demo::answer::{is_scaled, is_thinning, words};
use crate::demo::cast::Death;
use crate::demo::stage::{Fault, Version};

impl Telling<'_> {
    /// The control plane is killed in the middle of a deployment, and comes back.
    pub(super) async fn kill_control_plane(&mut self) -> Result<()> {
        let name = "kill -9 of the control plane in a deployment";
        let before = self.open(name);
        self.stage.write_version(Version {
            name: "11",
            fault: Fault::None,
        })?;
        let began = Instant::now();
        let arguments = [
            "deploy",
            "production",
            "--strategy",
            "rolling",
            "--wait",
            "none",
        ];
        let answer = self.stage.command_line().run(&arguments).await?.good()?;
        let number = answer.json["deployment"]
            .as_u64()
            .context("no number of the deployment")?;
        // Somewhere in the provisioning of the candidate.
        tokio::time::sleep(Duration::from_millis(250)).await;
        self.control_plane
            .kill()
            .await
            .context("cannot kill the control plane")?;
        self.teller
            .line("killed; the router and the instances go on serving");
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.control_plane = self.stage.command_line().serve_and_await().await?;
        self.teller.line("started again; it takes over what runs");
        let ended = self.wait_for_deployment(number).await?;
        if let Some(reason) = ended["failure"]["reason"].as_str() {
            self.teller.line(&format!("because {reason}"));
        }
        let outcome = Outcome::expect(&words(&ended), "succeeded");
        self.close(name, outcome, began.elapsed(), &before);
        Ok(())
    }

    /// An instance dies; another takes its place.
    pub(super) async fn kill_instances(&mut self) -> Result<()> {
        for (death, name) in self.stage.cast().deaths() {
            self.kill_instance(*death, name).await?;
        }
        Ok(())
    }

    async fn kill_instance(&mut self, death: Death, name: &str) -> Result<()> {
        let before = self.open(name);
        // One that is on its way out anyway is not replaced.
        self.wait_for(|status| is_scaled(status, "web", "2") && !is_thinning(status, "web"))
            .await?;
        let began = Instant::now();
        let command_line = self.stage.command_line();
        let status = command_line.run(&["status", "production"]).await?.good()?;
        let last = newest(&status.json);
        let bound = self.failed_with_an_instance();
        self.stage
            .cast()
            .kill_instance(self.stage.place(), death)
            .await?;
        let replaced = self
            .wait_for(|status| is_scaled(status, "web", "2") && newest(status) > last)
            .await?;
        let took = began.elapsed();
        // What was in flight when it died has its answer, or its failure, by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let word = if replaced { "replaced" } else { "not replaced" };
        let counts = self.load.snapshot().since(&before.counts);
        let act = Act::new(name, Outcome::expect(word, "replaced"), took, &counts)
            .with_cut(self.failed_with_an_instance() - bound)
            .without_own_errors();
        self.enter(act, &before);
        Ok(())
    }

    /// Counts what failed so far of the streams of which nobody can take anything over.
    fn failed_with_an_instance(&self) -> u64 {
        let (bound, _) = self.stage.cast().lost_with_an_instance();
        let streams = self.load.snapshot_by_stream();
        streams
            .iter()
            .filter(|(name, _)| bound.contains(&name.as_str()))
            .map(|(_, counts)| counts.failed.total())
            .sum()
    }
}

/// Returns the number of the newest instance.
fn newest(status: &Value) -> Option<u64> {
    let instances = status["instances"].as_array().into_iter().flatten();
    instances.filter_map(|one| one["number"].as_u64()).max()
}
