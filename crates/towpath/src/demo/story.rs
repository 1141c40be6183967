//! The story: what happens in each act, and what should come of it. Not how it is measured or told.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Child;
use tokio::time::Instant;
use towpath_load::{Counts, Handle, LoadPlan, Stream};

use super::act::{Act, Outcome};
use super::answer::{deployment, deployment_state, is_scaled, words};
use super::command_line::Answer;
use super::process::Process;
use super::report::{Measure, Report, Teller};
use super::stage::{START_MS, Stage, Version};

/// The longest that anything that is waited for takes.
const LONGEST: Duration = Duration::from_mins(1);

/// The stream of WebSocket sessions.
const WEBSOCKETS: &str = "websocket";

/// The story as far as it is told.
struct Telling<'a> {
    stage: &'a Stage,
    teller: &'a Teller,
    load: Handle,
    control_plane: Child,
    report: Report,
}

/// Tells the whole story.
pub(crate) async fn tell(stage: &Stage, teller: &Teller) -> Result<Report> {
    let control_plane = stage.command_line().serve_and_await().await?;
    let mut report = Report::default();
    first_releases(stage, teller, &mut report).await?;
    let load = start_load(stage)?;
    teller.line("from here on production has constant load: plain, keep-alive, slow, WebSocket");
    let mut telling = Telling {
        stage,
        teller,
        load,
        control_plane,
        report,
    };
    telling.good_releases().await?;
    telling.bad_releases().await?;
    telling.rollback().await?;
    telling.scale().await?;
    telling.kill_control_plane().await?;
    telling.kill_instance().await?;
    telling.measure_memory()?;
    let Telling { load, report, .. } = telling;
    drop(load.stop().await);
    Ok(report)
}

fn start_load(stage: &Stage) -> Result<Handle> {
    let streams = vec![
        Stream::plain("/version", 40.0),
        Stream::keep_alive("/", 60.0),
        Stream::slow("/slow?think_ms=400", 4.0),
        Stream::websocket("/ws", 4, 8.0).named(WEBSOCKETS),
    ];
    let plan = LoadPlan {
        target: stage.production(),
        host: "launches.example".to_owned(),
        streams,
    };
    plan.start().context("cannot start the load")
}

/// The first release: into `dev`, then into production. There is nobody to lose requests yet.
async fn first_releases(stage: &Stage, teller: &Teller, report: &mut Report) -> Result<()> {
    stage.write_version(Version {
        name: "1",
        fault: "none",
    })?;
    for environment in ["dev", "production"] {
        let name = format!("first release, {environment}");
        teller.opens(report.acts.len() + 1, &name);
        let answer = stage
            .command_line()
            .run(&["up", "--env", environment])
            .await?
            .good()?;
        let outcome = Outcome::expect(deployment_state(&answer), "succeeded");
        let act = Act::new(&name, outcome, answer.took, &Counts::default());
        teller.closes(&act);
        report.acts.push(act);
    }
    Ok(())
}

impl Telling<'_> {
    /// A good release by each strategy.
    async fn good_releases(&mut self) -> Result<()> {
        for (version, strategy) in [
            ("2", "rolling"),
            ("3", "blue-green"),
            ("4", "canary"),
            ("5", "recreate"),
        ] {
            let name = format!("good release, {strategy}");
            let answer = self
                .deploy(&name, version, "none", strategy, "succeeded")
                .await?;
            if strategy == "blue-green" {
                self.overhead(&answer)?;
            }
        }
        Ok(())
    }

    /// How much longer a blue-green deployment took than the app's own start.
    fn overhead(&mut self, answer: &Answer) -> Result<()> {
        let moment = |name: &str| -> Result<jiff::Timestamp> {
            let text = deployment(answer)[name]
                .as_str()
                .with_context(|| format!("no {name}"))?;
            Ok(text.parse()?)
        };
        let took = moment("shifted_at")?.duration_since(moment("requested_at")?);
        let took = Duration::try_from(took).context("a deployment that ended before it began")?;
        let own = Duration::from_millis(START_MS);
        let measure = Measure::seconds(
            "blue-green deployment over the app's own start",
            took.saturating_sub(own),
            0.3,
        );
        self.report.measures.push(measure);
        Ok(())
    }

    /// Every kind of bad release goes back by itself.
    async fn bad_releases(&mut self) -> Result<()> {
        for (version, fault, strategy, what) in [
            ("6-crashes", "crash-at-start", "rolling", "crashes at start"),
            (
                "7-ill",
                "fail-health",
                "blue-green",
                "fails its health check",
            ),
            (
                "8-errors",
                "error-some",
                "canary",
                "answers some requests 500",
            ),
            ("9-slow", "slow", "canary", "is slow"),
        ] {
            let name = format!("bad release: {what} ({strategy})");
            self.deploy(&name, version, fault, strategy, "failed (rolled back)")
                .await?;
        }
        Ok(())
    }

    /// Deploys a version to production, and waits for the end of the deployment.
    async fn deploy(
        &mut self,
        name: &str,
        version: &str,
        fault: &str,
        strategy: &str,
        expected: &str,
    ) -> Result<Answer> {
        self.open(name);
        self.stage.write_version(Version {
            name: version,
            fault,
        })?;
        let before = self.load.snapshot();
        let arguments = [
            "deploy",
            "production",
            "--strategy",
            strategy,
            "--wait",
            "bake",
        ];
        let answer = self.stage.command_line().run(&arguments).await?;
        let state = deployment_state(&answer);
        let exit_is_right = (answer.code == 0) == (expected == "succeeded");
        let mut outcome = Outcome::expect(state, expected);
        outcome.as_it_should &= exit_is_right;
        if let Some(reason) = deployment(&answer)["failure"]["reason"].as_str() {
            self.teller.line(&format!("because {reason}"));
        }
        self.close(name, outcome, answer.took, &before);
        if expected != "succeeded" {
            // The hold after a rollback is for automatic deployments; a person goes on.
            self.teller
                .line("production still serves what it served before");
        }
        Ok(answer)
    }

    /// A rollback while the old release is warm.
    async fn rollback(&mut self) -> Result<()> {
        let name = "instant rollback";
        self.open(name);
        self.stage.write_version(Version {
            name: "10",
            fault: "none",
        })?;
        let before = self.load.snapshot();
        let arguments = [
            "deploy",
            "production",
            "--strategy",
            "blue-green",
            "--wait",
            "traffic",
        ];
        self.stage.command_line().run(&arguments).await?.good()?;
        let asked_at = self.load.elapsed();
        let answer = self
            .stage
            .command_line()
            .run(&["rollback", "production"])
            .await?
            .good()?;
        // Whatever the candidate was asked later than this would be counted by the settled load.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let counts = self.load.snapshot();
        let last = counts
            .by_version
            .get("10")
            .map_or(Duration::ZERO, |answers| answers.last_sent_at);
        let outcome = Outcome::expect(deployment_state(&answer), "succeeded");
        self.close(name, outcome, answer.took, &before);
        let measure = Measure::seconds(
            "warm rollback, from the command to the last request on the bad side",
            last.saturating_sub(asked_at),
            0.1,
        );
        self.report.measures.push(measure);
        Ok(())
    }

    /// More instances, then fewer.
    async fn scale(&mut self) -> Result<()> {
        for (count, name) in [("4", "scale up to 4"), ("2", "scale down to 2")] {
            self.open(name);
            let before = self.load.snapshot();
            let began = Instant::now();
            self.stage
                .command_line()
                .run(&["scale", "production", &format!("web={count}")])
                .await?
                .good()?;
            let reached = self
                .wait_for(|status| is_scaled(status, "web", count))
                .await?;
            let outcome = Outcome::expect(if reached { "scaled" } else { "not scaled" }, "scaled");
            self.close(name, outcome, began.elapsed(), &before);
        }
        Ok(())
    }

    /// The control plane is killed in the middle of a deployment, and comes back.
    async fn kill_control_plane(&mut self) -> Result<()> {
        let name = "kill -9 of the control plane in a deployment";
        self.open(name);
        self.stage.write_version(Version {
            name: "11",
            fault: "none",
        })?;
        let before = self.load.snapshot();
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
        let outcome = Outcome::expect(&words(&ended), "succeeded");
        self.close(name, outcome, began.elapsed(), &before);
        Ok(())
    }

    /// An instance is killed; another takes its place.
    async fn kill_instance(&mut self) -> Result<()> {
        let name = "kill -9 of an instance";
        self.open(name);
        let before = self.load.snapshot();
        let began = Instant::now();
        let victims = self.stage.processes(crate::role::LAUNCHES)?;
        let in_production = |process: &&Process| {
            process.arguments.get(2).is_some_and(|role| role == "web")
                && process.is_of("production")
        };
        let victim = victims
            .iter()
            .find(in_production)
            .context("no instance of web runs")?;
        let newest = |status: &Value| {
            let instances = status["instances"].as_array().into_iter().flatten();
            instances.filter_map(|one| one["number"].as_u64()).max()
        };
        let command_line = self.stage.command_line();
        let last = newest(
            &command_line
                .run(&["status", "production"])
                .await?
                .good()?
                .json,
        );
        let sessions = self.failed_sessions();
        victim.signal(Signal::KILL)?;
        let replaced = self
            .wait_for(|status| is_scaled(status, "web", "2") && newest(status) > last)
            .await?;
        let took = began.elapsed();
        // What was in flight when it died has its answer, or its failure, by then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let word = if replaced { "replaced" } else { "not replaced" };
        let counts = self.load.snapshot().since(&before);
        let act = Act::new(name, Outcome::expect(word, "replaced"), took, &counts)
            .with_cut(self.failed_sessions() - sessions);
        self.teller.closes(&act);
        self.report.acts.push(act);
        Ok(())
    }

    /// Counts the WebSocket sessions and messages that failed so far.
    fn failed_sessions(&self) -> u64 {
        let streams = self.load.snapshot_by_stream();
        streams
            .iter()
            .filter(|(name, _)| name == WEBSOCKETS)
            .map(|(_, counts)| counts.failed.total())
            .sum()
    }

    /// What the control plane and the router have of memory.
    fn measure_memory(&mut self) -> Result<()> {
        let mut bytes = 0;
        for role in ["serve", "router"] {
            bytes += self
                .stage
                .processes(role)?
                .iter()
                .map(Process::resident_bytes)
                .sum::<u64>();
        }
        let mebibytes = f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) / 1024.0;
        self.report.measures.push(Measure {
            name: "control plane and router, resident memory".to_owned(),
            value: mebibytes,
            unit: "MiB",
            goal: 40.0,
        });
        Ok(())
    }

    fn open(&self, name: &str) {
        self.teller.opens(self.report.acts.len() + 1, name);
    }

    fn close(&mut self, name: &str, outcome: Outcome, took: Duration, before: &Counts) {
        let counts = self.load.snapshot().since(before);
        let act = Act::new(name, outcome, took, &counts);
        self.teller.closes(&act);
        self.report.acts.push(act);
    }

    /// Waits until the status of production is as `done` wants it. Returns whether it came to that.
    async fn wait_for(&self, done: impl Fn(&Value) -> bool) -> Result<bool> {
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
    async fn wait_for_deployment(&self, number: u64) -> Result<Value> {
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
