//! `towpath runs`, `promote`, `approve` and `reject`: begin runs, look at them, decide on them. `towpath
//! run` is another thing: a one-off instance of a service.

mod artifacts;
mod describe;
mod watch;

pub(crate) use watch::{Until, watch};

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use jiff::Timestamp;
use towpath_api::client::{Client, RunLogFilter};
use towpath_api::{
    DecisionRequest, PromoteRequest, Run, RunJob, RunLogLine, RunPartState, RunStart, RunStarted,
};
use towpath_compose::diagnostic::nearest;
use towpath_model::delivery::Engine;

use super::project::App;
use super::source::SourceTree;
use super::table::{ago, table};
use super::{connect, git, print, project};
use crate::arguments::{
    Decide, Files, Hotfix, OnRun, Promote, RunWait, Runs, RunsCommand, RunsLogs, RunsStart,
};
use crate::exit::{Failed, Failure};
use crate::settings::Settings;

/// Lists runs, or does something with one.
pub(crate) async fn run(arguments: &Runs, settings: &Settings) -> Result<ExitCode> {
    match &arguments.command {
        Some(RunsCommand::Start(start)) => begin(start, settings).await,
        Some(RunsCommand::Show(on)) => show(on, settings).await,
        Some(RunsCommand::Watch(on)) => {
            let (client, app, number) = which(on, settings).await?;
            watch(&client, &app, number, Until::End, on.json).await
        }
        Some(RunsCommand::Logs(logs)) => log(logs, settings).await,
        Some(RunsCommand::Artifacts(arguments)) => artifacts::artifacts(arguments, settings).await,
        Some(RunsCommand::Cancel(on)) => {
            let (client, app, number) = which(on, settings).await?;
            client.cancel_run(&app, number).await?;
            done(&client, &app, number, on.json, "is being stopped").await
        }
        Some(RunsCommand::Retry(on)) => {
            let (client, app, number) = which(on, settings).await?;
            client.retry_run(&app, number).await?;
            done(&client, &app, number, on.json, "is tried again").await
        }
        None => list(arguments, settings).await,
    }
}

/// Says what became of a run.
async fn done(
    client: &Client,
    app: &str,
    number: u32,
    json: bool,
    words: &str,
) -> Result<ExitCode> {
    if json {
        let run = client.run_record(app, number).await?;
        return print(&format!("{}\n", serde_json::to_string(&run)?));
    }
    print(&format!("run {number} of {app} {words}\n"))
}

async fn list(arguments: &Runs, settings: &Settings) -> Result<ExitCode> {
    let app = connect::app(arguments.of.as_deref(), settings)?;
    let runs = connect::client(settings)?
        .runs(&app, arguments.limit)
        .await?;
    if arguments.json {
        return print(&format!("{}\n", serde_json::to_string(&runs)?));
    }
    let now = Timestamp::now();
    let columns = [
        "run",
        "state",
        "of",
        "commit",
        "release",
        "by",
        "begun",
        "environments",
        "message",
    ];
    let rows = runs.iter().map(|run| row(run, now));
    print(&format!("{}\n", table(&columns, rows)))
}

fn row(run: &Run, now: Timestamp) -> Vec<String> {
    let commit = run.commit.as_deref().unwrap_or_default();
    let delivered = run
        .environments
        .iter()
        .filter(|one| matches!(one.state, RunPartState::Succeeded | RunPartState::Baking));
    let names: Vec<&str> = delivered.map(|one| one.name.as_str()).collect();
    vec![
        run.number.to_string(),
        run.state.words().to_owned(),
        run.reference.clone(),
        commit.chars().take(12).collect(),
        run.release.to_string(),
        run.actor.clone(),
        ago(run.created_at, now),
        names.join(", "),
        run.message.lines().next().unwrap_or_default().to_owned(),
    ]
}

/// Returns the run that a command is about: the latest one where none is named.
async fn which(on: &OnRun, settings: &Settings) -> Result<(Client, String, u32)> {
    let app = app(on.app.as_deref(), settings)?;
    let client = connect::client(settings)?;
    if let Some(number) = on.number {
        return Ok((client, app, number));
    }
    let latest = client.runs(&app, 1).await?;
    let latest = latest.first().map(|run| run.number);
    let missing = || Failed::new(Failure::NotFound, format!("`{app}` has no run"));
    let number = latest.ok_or_else(missing)?;
    Ok((client, app, number))
}

fn app(named: Option<&str>, settings: &Settings) -> Result<String> {
    match named {
        Some(app) => Ok(app.to_owned()),
        None => connect::app(None, settings),
    }
}

async fn show(on: &OnRun, settings: &Settings) -> Result<ExitCode> {
    let (client, app, number) = which(on, settings).await?;
    let run = client.run_record(&app, number).await?;
    if on.json {
        return print(&format!("{}\n", serde_json::to_string(&run)?));
    }
    print(&describe::describe(&run, Timestamp::now()))
}

/// Begins a run of this directory.
async fn begin(start: &RunsStart, settings: &Settings) -> Result<ExitCode> {
    let (app, tree) = tree_of_directory(&start.files, settings)?;
    let commit = git::clean_head(app.directory());
    let client = connect::client_or_start(settings).await?;
    if !client.has_source(&tree.digest).await? {
        let archive = tokio::fs::File::from_std(tree.archive()?);
        client.put_source(&tree.digest, archive).await?;
    }
    let request = RunStart {
        source: tree.digest.to_string(),
        commit,
        branch: start.branch.clone(),
        tag: start.tag.clone(),
        message: start.message.clone(),
        hotfix: None,
    };
    let started = client.start_run(app.id.app.as_str(), &request).await?;
    follow(&client, &started, start.wait, start.json).await
}

/// Brings a commit of this repository straight to an environment.
pub(crate) async fn hotfix(arguments: &Hotfix, settings: &Settings) -> Result<ExitCode> {
    let tag = arguments.tag.as_ref();
    let revision = match (&arguments.commit, tag) {
        (Some(commit), _) => commit.clone(),
        (None, Some(tag)) => format!("refs/tags/{tag}"),
        (None, None) => return Err(Failed::new(Failure::Input, "which commit?").into()),
    };
    let checkout = git::check_out(&revision)?;
    let files = Files {
        project_directory: Some(checkout.path()),
        ..arguments.files.clone()
    };
    let (app, tree) = tree_of_directory(&files, settings)?;
    let environment = match arguments.environment.split_once('/') {
        Some((named, environment)) if named == app.id.app.as_str() => environment,
        Some((named, _)) => {
            let message = format!(
                "the app of this directory is `{}`, not `{named}`",
                app.id.app
            );
            return Err(Failed::new(Failure::Input, message).into());
        }
        None => arguments.environment.as_str(),
    };
    let client = connect::client(settings)?;
    if !client.has_source(&tree.digest).await? {
        let archive = tokio::fs::File::from_std(tree.archive()?);
        client.put_source(&tree.digest, archive).await?;
    }
    let request = RunStart {
        source: tree.digest.to_string(),
        commit: Some(checkout.commit().to_owned()),
        branch: None,
        tag: arguments.tag.clone(),
        message: arguments.message.clone(),
        hotfix: Some(environment.to_owned()),
    };
    let started = client.start_run(app.id.app.as_str(), &request).await?;
    follow(&client, &started, arguments.wait, arguments.json).await
}

async fn follow(
    client: &Client,
    started: &RunStarted,
    wait: RunWait,
    json: bool,
) -> Result<ExitCode> {
    let Some(number) = started.run else {
        let message = "towpath.yaml has nothing to do for this: no job, and no environment";
        return Err(Failed::new(Failure::Input, message)
            .hint("name what brings releases to an environment under `deploy`")
            .into());
    };
    if wait == RunWait::None {
        return if json {
            print(&format!("{}\n", serde_json::to_string(started)?))
        } else {
            print(&format!("run {number} of {}\n", started.app))
        };
    }
    let until = if wait == RunWait::End {
        Until::End
    } else {
        Until::Still
    };
    watch(client, &started.app, number, until, json).await
}

/// Walks this directory, checked for each of its environments. No file that a secret is read from is
/// part of the tree.
fn tree_of_directory(files: &Files, settings: &Settings) -> Result<(App, SourceTree)> {
    let first = App::open_any(files, settings)?;
    let directory = first.directory().to_owned();
    let mut secret_files: BTreeSet<PathBuf> = BTreeSet::new();
    for name in first.delivery.file.environment_names() {
        let delivery = first.delivery.clone();
        let app = App::with(delivery, name, files, &directory, settings)?;
        let secrets = app.loaded.project.secrets.values();
        secret_files.extend(secrets.filter_map(|one| one.file.as_ref().map(PathBuf::from)));
    }
    let tree = SourceTree::walk(&directory, Engine::Docker, &secret_files)?;
    Ok((first, tree))
}

/// Has a release brought to an environment.
pub(crate) async fn promote(arguments: &Promote, settings: &Settings) -> Result<ExitCode> {
    let id = connect::target(&arguments.target, settings)?;
    let client = connect::client(settings)?;
    let request = PromoteRequest {
        environment: id.name.to_string(),
        release: arguments.release,
    };
    let started = client.promote(id.app.as_str(), &request).await?;
    follow(&client, &started, arguments.wait, arguments.json).await
}

/// Lets a release come to an environment, or not.
pub(crate) async fn decide(
    arguments: &Decide,
    approve: bool,
    settings: &Settings,
) -> Result<ExitCode> {
    let id = connect::target(&arguments.target, settings)?;
    let (app, environment) = (id.app.as_str(), id.name.as_str());
    let client = connect::client(settings)?;
    let number = match arguments.run {
        Some(number) => number,
        None => awaiting(&client, app, environment).await?,
    };
    let request = DecisionRequest {
        approve,
        comment: arguments.message.clone(),
    };
    client
        .decide_run(app, number, environment, &request)
        .await?;
    let words = if approve {
        "is approved"
    } else {
        "is rejected"
    };
    let words = format!("{words} for {environment}");
    done(&client, app, number, arguments.json, &words).await
}

/// Returns the latest run that waits for a person before an environment.
async fn awaiting(client: &Client, app: &str, environment: &str) -> Result<u32> {
    let runs = client.runs(app, 100).await?;
    let waits = |run: &&Run| {
        run.environments
            .iter()
            .any(|one| one.name == environment && one.state == RunPartState::AwaitingApproval)
    };
    let found = runs.iter().find(waits).map(|run| run.number);
    found.ok_or_else(|| nothing_waits(&runs, app, environment).into())
}

/// Says that nothing waits before an environment, and what does.
fn nothing_waits(runs: &[Run], app: &str, environment: &str) -> Failed {
    let all = runs.iter().flat_map(|run| &run.environments);
    let waiting = all.filter(|one| one.state == RunPartState::AwaitingApproval);
    let names: BTreeSet<&str> = waiting.map(|one| one.name.as_str()).collect();
    let message = format!("no run of `{app}` waits for an approval before `{environment}`");
    let failed = Failed::new(Failure::NotFound, message);
    match nearest(environment, names.iter().copied()) {
        Some(near) => failed.hint(format!("did you mean `{near}`?")),
        None if names.is_empty() => failed.hint("towpath approvals --all lists what waits"),
        None => {
            let names: Vec<&str> = names.into_iter().collect();
            failed.hint(format!("one waits before {}", names.join(", ")))
        }
    }
}

/// Prints what jobs wrote.
async fn log(logs: &RunsLogs, settings: &Settings) -> Result<ExitCode> {
    let app = app(logs.app.as_deref(), settings)?;
    let client = connect::client(settings)?;
    let run = client.run_record(&app, logs.number).await?;
    let is_wanted = |job: &&RunJob| {
        let name = logs.job.as_deref();
        name.is_none_or(|name| job.name == name || job.label == name)
    };
    let jobs: Vec<&RunJob> = run.jobs.iter().filter(is_wanted).collect();
    if jobs.is_empty() {
        let name = logs.job.as_deref().unwrap_or("any");
        let message = format!("run {} has no job `{name}`", run.number);
        let names: BTreeSet<&str> = run.jobs.iter().map(|job| job.name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let hint = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has {}", names.join(", ")),
        };
        return Err(Failed::new(Failure::NotFound, message).hint(hint).into());
    }
    let many = jobs.len() > 1;
    for job in jobs.into_iter().filter(|job| !many || job.attempts > 0) {
        let filter = RunLogFilter {
            job: job.number,
            attempt: logs.attempt,
            follow: logs.follow,
            services: logs.services,
        };
        let mut lines = client.run_log(&app, run.number, &filter).await?;
        loop {
            let next = tokio::select! {
                next = lines.next() => next?,
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted?;
                    return Ok(ExitCode::SUCCESS);
                }
            };
            let Some(line) = next else { break };
            if logs.json {
                print(&format!("{}\n", serde_json::to_string(&line)?))?;
            } else {
                print(&describe_line(&line, many.then_some(job.label.as_str())))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn describe_line(line: &RunLogLine, job: Option<&str>) -> String {
    let own = matches!(line.service.as_str(), "job" | "towpath");
    let who = match (job, own) {
        (None, true) => return format!("{}\n", line.text),
        (None, false) => line.service.clone(),
        (Some(job), true) => job.to_owned(),
        (Some(job), false) => format!("{job}/{}", line.service),
    };
    format!("{who:<14} | {}\n", line.text)
}

impl App {
    /// Opens the app of the working directory, whichever of its environments.
    fn open_any(files: &crate::arguments::Files, settings: &Settings) -> Result<Self> {
        let first = project::first_environment(files)?;
        Self::open(files, Some(&first), settings)
    }
}
