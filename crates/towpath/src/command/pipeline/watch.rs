//! How a run is watched: a line for each change for people, JSON for programs. Ctrl-C ends the
//! watching, never the run.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use towpath_api::client::{Client, RunLogFilter};
use towpath_api::{Run, RunPartState, RunState};

use crate::exit::Failure;

/// How many of the last lines of a failed job are shown.
const LAST_LINES: usize = 20;

/// How long a run is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Nothing is under way but what waits for people or time.
    Still,
    /// All traffic is on the release in every environment, whoever has to approve it before.
    Traffic,
    /// Its end.
    End,
}

/// Watches a run until what is asked for, and returns the exit code.
pub(crate) async fn watch(
    client: &Client,
    app: &str,
    number: u32,
    until: Until,
    json: bool,
) -> Result<ExitCode> {
    let mut stream = client.follow_run(app, number).await?;
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let next = tokio::select! {
            next = stream.next() => next?,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("cannot listen for Ctrl-C")?;
                say(json, &format!("run {number} goes on; watch it with towpath runs watch {number}"));
                return Ok(ExitCode::from(130));
            }
        };
        let Some(run) = next else {
            anyhow::bail!("the control plane stopped telling of run {number}; it goes on");
        };
        if json {
            // A reader that went away does not stop the run.
            drop(writeln!(
                std::io::stdout(),
                "{}",
                serde_json::to_string(&run)?
            ));
        }
        for line in changes(&run, &mut shown) {
            say(json, &line);
        }
        if let Some(code) = verdict(&run, until) {
            if !json {
                conclude(client, &run).await;
            }
            return Ok(code);
        }
    }
}

/// Returns the exit code once what was waited for is known.
fn verdict(run: &Run, until: Until) -> Option<ExitCode> {
    match run.state {
        RunState::Succeeded => Some(ExitCode::SUCCESS),
        RunState::Failed | RunState::Cancelled | RunState::Superseded => {
            Some(ExitCode::from(Failure::Operation.code()))
        }
        RunState::Running
        | RunState::Deploying
        | RunState::AwaitingApproval
        | RunState::Held
        | RunState::Baking => {
            let is_enough = match until {
                Until::Still => waits(run) && is_still(run),
                Until::Traffic => run.state == RunState::Baking && is_still(run),
                Until::End => false,
            };
            is_enough.then_some(ExitCode::SUCCESS)
        }
    }
}

fn waits(run: &Run) -> bool {
    matches!(
        run.state,
        RunState::AwaitingApproval | RunState::Held | RunState::Baking
    )
}

/// Tells whether nothing is under way but what waits for people or time.
fn is_still(run: &Run) -> bool {
    use RunPartState as Part;
    let moves = |state: RunPartState| matches!(state, Part::Running | Part::Deploying);
    let jobs = run.jobs.iter();
    let environments = run.environments.iter();
    !jobs.map(|job| job.state).any(moves) && !environments.map(|one| one.state).any(moves)
}

/// Returns a line for each part of a run that is not as it was shown last.
fn changes(run: &Run, shown: &mut BTreeMap<String, String>) -> Vec<String> {
    let jobs = run.jobs.iter().map(|job| {
        let name = format!("job {}", job.label);
        (name, job.state, job.reason.clone(), job.attempts, false)
    });
    let environments = run.environments.iter().map(|one| {
        let (name, tells_when) = (format!("to {}", one.name), one.opens_at.is_some());
        (name, one.state, one.reason.clone(), 0, tells_when)
    });
    let mut lines = Vec::new();
    for (name, state, reason, attempts, tells_when) in jobs.chain(environments) {
        // What waits for nothing but what is shown anyway is not told.
        let waits = state == RunPartState::Waiting && reason.is_none();
        let mut words = state.words().to_owned();
        if attempts > 1 {
            words.push_str(&format!(" (attempt {attempts})"));
        }
        if state == RunPartState::AwaitingApproval {
            let environment = name.trim_start_matches("to ");
            let number = run.number;
            let whom = reason.unwrap_or_else(|| "an approval".to_owned());
            words = format!("waits for {whom}: towpath approve {environment} --run {number}");
        } else if let Some(reason) = reason.as_ref().filter(|_| tells_when) {
            words.clone_from(reason);
        } else if let Some(reason) = reason {
            // Most reasons of a failure say themselves that it is one.
            if attempts < 2 && reason.starts_with(&words) {
                words = reason;
            } else {
                words.push_str(&format!(": {reason}"));
            }
        }
        if !waits && shown.get(&name) != Some(&words) {
            lines.push(format!("{name:<20} {words}"));
            shown.insert(name, words);
        }
    }
    lines
}

/// Says how it ended, or what it waits for.
async fn conclude(client: &Client, run: &Run) {
    let number = run.number;
    let until = run.finished_at.unwrap_or_else(jiff::Timestamp::now);
    let took = until.duration_since(run.created_at).as_secs_f64();
    let state = run.state.words();
    let release = run.release;
    say(
        false,
        &format!(
            "run {number} of {}: {state} after {took:.2} s (release {release})",
            run.app
        ),
    );
    for job in run
        .jobs
        .iter()
        .filter(|job| job.state == RunPartState::Failed)
    {
        let filter = RunLogFilter {
            job: job.number,
            follow: true,
            ..RunLogFilter::default()
        };
        let Ok(mut lines) = client.run_log(&run.app, number, &filter).await else {
            continue;
        };
        let mut last = std::collections::VecDeque::new();
        while let Ok(Some(line)) = lines.next().await {
            last.push_back(line.text);
            if last.len() > LAST_LINES {
                last.pop_front();
            }
        }
        if !last.is_empty() {
            say(false, &format!("  the last lines of {}:", job.label));
        }
        for line in last {
            say(false, &format!("    {line}"));
        }
    }
}

fn say(json: bool, text: &str) {
    if !json {
        // Nobody is left to be told when the output is closed.
        drop(writeln!(std::io::stdout(), "{text}"));
    }
}
