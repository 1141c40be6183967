//! The story: what happens in each act, and what should come of it. Not how it is measured or told,
//! nor who plays.

mod kill;
mod wait;

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::process::Child;
use tokio::time::Instant;
use towpath_load::{Counts, Handle, LoadPlan};

use super::act::{Act, Outcome};
use super::answer::{deployment, deployment_state, is_scaled};
use super::cast::{Ledger, Since};
use super::command_line::Answer;
use super::process::Process;
use super::report::{Measure, Report, Teller};
use super::side_by_side::{self, Side};
use super::stage::{Fault, Stage, Version};

/// The act that is compared with other ways to bring a release out.
const COMPARED: &str = "good release, rolling";

/// The story as far as it is told.
struct Telling<'a> {
    stage: &'a Stage,
    teller: &'a Teller,
    load: Handle,
    control_plane: Child,
    report: Report,
}

/// Where an act begins.
#[derive(Debug)]
struct Beginning {
    counts: Counts,
    at: Duration,
}

/// Tells the whole story.
pub(crate) async fn tell(stage: &mut Stage, teller: &Teller) -> Result<Report> {
    stage.prepare(teller).await?;
    let control_plane = stage.command_line().serve_and_await().await?;
    let mut report = Report::default();
    first_releases(stage, teller, &mut report).await?;
    stage.cast().ledger().await?;
    let load = start_load(stage)?;
    let (_, words) = stage.cast().load();
    teller.line(&format!(
        "from here on production has constant load: {words}"
    ));
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
    telling.kill_instances().await?;
    telling.look_into_database().await?;
    telling.measure_memory()?;
    let Telling {
        load, mut report, ..
    } = telling;
    drop(load.stop().await);
    compare(stage, teller, &mut report).await;
    Ok(report)
}

fn start_load(stage: &Stage) -> Result<Handle> {
    let (streams, _) = stage.cast().load();
    let plan = LoadPlan {
        target: stage.place().production(),
        host: "demo.example".to_owned(),
        streams,
    };
    plan.start().context("cannot start the load")
}

/// Puts what other ways do to the same load beside what Towpath did.
async fn compare(stage: &Stage, teller: &Teller, report: &mut Report) {
    let Some(shop) = stage.cast().shop() else {
        return;
    };
    let Some(act) = report.acts.iter().find(|act| act.name == COMPARED) else {
        return;
    };
    let ours = Side::of("towpath deploy (rolling)", act);
    teller.side_note("side by side");
    let (streams, _) = stage.cast().load();
    match side_by_side::compare(shop, stage.place(), streams, teller).await {
        Ok(Some(theirs)) => report.side_by_side = vec![theirs, ours],
        Ok(None) => {}
        // What another program cannot do here is no failure of the story.
        Err(error) => teller.line(&format!("the comparison is left out: {error:#}")),
    }
}

/// The first release: into `dev`, then into production. There is nobody to lose requests yet.
async fn first_releases(stage: &Stage, teller: &Teller, report: &mut Report) -> Result<()> {
    stage.write_version(Version {
        name: "1",
        fault: Fault::None,
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
        teller.closes(&act, "");
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
            let version = Version {
                name: version,
                fault: Fault::None,
            };
            let answer = self.deploy(&name, version, strategy).await?;
            if strategy == "blue-green" {
                self.overhead(&answer).await?;
            }
        }
        Ok(())
    }

    /// How much longer a blue-green deployment took than the app's own start.
    async fn overhead(&mut self, answer: &Answer) -> Result<()> {
        let moment = |name: &str| -> Result<jiff::Timestamp> {
            let text = deployment(answer)[name]
                .as_str()
                .with_context(|| format!("no {name}"))?;
            Ok(text.parse()?)
        };
        let own = self.stage.cast().own_start().await?;
        let since = match own.since {
            Since::Request => moment("requested_at")?,
            Since::Command => answer.began_at,
        };
        let took = moment("shifted_at")?.duration_since(since);
        let took = Duration::try_from(took).context("a deployment that ended before it began")?;
        let measure = Measure::seconds(
            &format!("blue-green deployment over {}", own.what),
            took.saturating_sub(own.took),
            own.goal,
        );
        self.report.measures.push(measure);
        Ok(())
    }

    /// Every kind of bad release goes back by itself.
    async fn bad_releases(&mut self) -> Result<()> {
        for (version, fault, strategy, what) in [
            ("6-crashes", Fault::Crash, "rolling", "crashes at start"),
            (
                "7-ill",
                Fault::Unhealthy,
                "blue-green",
                "fails its health check",
            ),
            (
                "8-errors",
                Fault::Errors,
                "canary",
                "answers some requests 500",
            ),
            ("9-slow", Fault::Slow, "canary", "is slow"),
        ] {
            let name = format!("bad release: {what} ({strategy})");
            let version = Version {
                name: version,
                fault,
            };
            self.deploy(&name, version, strategy).await?;
        }
        Ok(())
    }

    /// Deploys a version to production, and waits for the end of the deployment. A bad one should
    /// go back.
    async fn deploy(&mut self, name: &str, version: Version<'_>, strategy: &str) -> Result<Answer> {
        let is_good = version.fault == Fault::None;
        let before = self.open(name);
        self.stage.write_version(version)?;
        let arguments = [
            "deploy",
            "production",
            "--strategy",
            strategy,
            "--wait",
            "bake",
        ];
        let answer = self.stage.command_line().run(&arguments).await?;
        let expected = if is_good {
            "succeeded"
        } else {
            "failed (rolled back)"
        };
        let mut outcome = Outcome::expect(deployment_state(&answer), expected);
        outcome.as_it_should &= (answer.code == 0) == is_good;
        if let Some(reason) = deployment(&answer)["failure"]["reason"].as_str() {
            self.teller.line(&format!("because {reason}"));
        }
        let counts = self.load.snapshot().since(&before.counts);
        let act = Act::new(name, outcome, answer.took, &counts);
        // Only a release that is meant to answer with errors may have errors of its own.
        let act = if version.fault == Fault::Errors {
            act
        } else {
            act.without_own_errors()
        };
        self.enter(act, &before);
        if !is_good {
            // The hold after a rollback is for automatic deployments; a person goes on.
            self.teller
                .line("production still serves what it served before");
        }
        Ok(answer)
    }

    /// A rollback while the old release is warm.
    async fn rollback(&mut self) -> Result<()> {
        let name = "instant rollback";
        let before = self.open(name);
        self.stage.write_version(Version {
            name: "10",
            fault: Fault::None,
        })?;
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
            let before = self.open(name);
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

    /// What was ordered since the first release is in the database, which is the same one.
    async fn look_into_database(&mut self) -> Result<()> {
        let taken: u64 = self
            .load
            .snapshot_by_stream()
            .iter()
            .filter(|(name, _)| name == "orders")
            .map(|(_, counts)| counts.ok)
            .sum();
        // An order that is answered is committed, so what comes later only adds to it.
        let Some(ledger) = self.stage.cast().ledger().await? else {
            return Ok(());
        };
        let name = "the database, after all of this";
        let before = self.open(name);
        let word = match ledger {
            Ledger {
                same_database: false,
                ..
            } => "another database",
            Ledger { orders, .. } if orders < taken => "orders lost",
            Ledger { .. } => "kept",
        };
        self.teller.line(&format!(
            "{taken} orders were confirmed and {} are in it, in the container of the first release",
            ledger.orders
        ));
        self.close(name, Outcome::expect(word, "kept"), Duration::ZERO, &before);
        Ok(())
    }

    /// What the control plane and the router have of memory.
    fn measure_memory(&mut self) -> Result<()> {
        let mut bytes = 0;
        for role in ["serve", "router"] {
            bytes += self
                .stage
                .place()
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

    /// Opens an act. Returns what was counted before it.
    fn open(&self, name: &str) -> Beginning {
        self.teller.opens(self.report.acts.len() + 1, name);
        Beginning {
            counts: self.load.snapshot(),
            at: self.load.elapsed(),
        }
    }

    fn close(&mut self, name: &str, outcome: Outcome, took: Duration, before: &Beginning) {
        let counts = self.load.snapshot().since(&before.counts);
        let act = Act::new(name, outcome, took, &counts).without_own_errors();
        self.enter(act, before);
    }

    /// Enters an act into the report.
    fn enter(&mut self, act: Act, before: &Beginning) {
        let act = act.with_silence(self.load.longest_silence(before.at));
        let (_, cut) = self.stage.cast().lost_with_an_instance();
        self.teller.closes(&act, cut);
        self.report.acts.push(act);
    }
}
