//! `towpath stop`: ends the control plane of this machine, and with `--all` everything that it started.
//! Not `towpath down`, which empties one environment and leaves the control plane.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::Instant;
use towpath_api::Lifecycle;
use towpath_api::client::{Client, Error};
use towpath_model::id::EnvironmentId;
use towpath_model::pipeline::is_ephemeral;

use super::environment::await_end;
use super::{connect, print};
use crate::arguments::Stop;
use crate::exit::{Failed, Failure};
use crate::role::router;
use crate::settings::Settings;

/// The longest that a control plane may take to end.
const LONGEST_END: Duration = Duration::from_secs(30);

/// The longest that jobs may take to end.
const LONGEST_RUNS: Duration = Duration::from_mins(2);

/// Older runs have ended.
const LATEST_RUNS: u32 = 100;

/// Stops the control plane.
pub(crate) async fn run(stop: &Stop, settings: &Settings) -> Result<ExitCode> {
    if let Some(remote) = &settings.remote {
        let server = &remote.address;
        let message = format!("TOWPATH_SERVER names {server}: stop is for this machine only");
        return Err(Failed::new(Failure::Input, message)
            .hint("unset TOWPATH_SERVER, or stop that one where it runs")
            .into());
    }
    let client = if stop.all {
        // What runs can be stopped in good order only by a control plane.
        connect::client_or_start(settings).await?
    } else {
        connect::client(settings)?
    };
    let server = client.server().await?;
    let downed = if stop.all {
        take_down(&client).await?
    } else {
        Vec::new()
    };
    client.stop_server().await?;
    await_process(&client, server.pid).await?;
    if stop.all {
        router::end(&settings.home).await?;
    }
    if stop.json {
        let stopped = json!({ "pid": server.pid, "router": stop.all, "down": downed });
        return print(&format!("{stopped}\n"));
    }
    print(if stop.all {
        "everything is stopped; volumes and releases stay, and towpath up starts again\n"
    } else {
        "the control plane is stopped; the router and the instances go on serving\n"
    })
}

/// Stops every run, and waits until nothing is left of its jobs.
async fn end_runs(client: &Client) -> Result<()> {
    let deadline = Instant::now() + LONGEST_RUNS;
    loop {
        let environments = client.environments_and_jobs().await?;
        let apps: BTreeSet<&str> = environments.iter().map(|one| one.app.as_str()).collect();
        for app in apps {
            let runs = client.runs(app, LATEST_RUNS).await?;
            for run in runs.iter().filter(|run| !run.ended) {
                match client.cancel_run(app, run.number).await {
                    // It ended meanwhile.
                    Err(Error::Problem(problem)) if problem.status == 409 => {}
                    cancelled => cancelled?,
                }
            }
        }
        let is_job = |name: &str| name.parse().is_ok_and(|name| is_ephemeral(&name));
        let Some(left) = environments.iter().find(|one| is_job(&one.name)) else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            let message = format!("the job in {} still runs; it is being stopped", left.id);
            return Err(Failed::new(Failure::Operation, message).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Empties every environment that is up. Returns which.
async fn take_down(client: &Client) -> Result<Vec<String>> {
    end_runs(client).await?;
    let mut down = Vec::new();
    for environment in client.environments().await? {
        if environment.destroying {
            continue;
        }
        let id: EnvironmentId = environment.id.parse()?;
        if environment.lifecycle == Lifecycle::Up {
            client.down(&id).await?;
        }
        down.push(id);
    }
    for id in &down {
        await_end(client, id).await?;
    }
    Ok(down.iter().map(ToString::to_string).collect())
}

/// Waits until the control plane has given up its socket and its process has ended.
async fn await_process(client: &Client, pid: u32) -> Result<()> {
    let deadline = Instant::now() + LONGEST_END;
    loop {
        let answers = !matches!(client.server().await, Err(Error::Unreachable { .. }));
        if !answers && !lives(pid) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let message = format!("the control plane (process {pid}) has not ended yet");
            return Err(Failed::new(Failure::Operation, message).into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Tells whether a process lives. One that has ended and that its parent has not asked about yet does
/// not (`proc_pid_stat(5)`: the state follows the name, which is in parentheses).
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}
