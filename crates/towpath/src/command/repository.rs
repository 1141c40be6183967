//! `towpath repo`: what the repository of an app follows. Not what `git push` does.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::json;
use towpath_api::{Repository, RepositoryRequest};

use super::table::ago;
use super::{connect, print, secret};
use crate::arguments::{OnRepository, RepositoryCommand, RepositorySecret, RepositorySet};
use crate::settings::Settings;

/// Runs `towpath repo`.
pub(crate) async fn run(command: &RepositoryCommand, settings: &Settings) -> Result<ExitCode> {
    match command {
        RepositoryCommand::Show(on) => show(on, settings).await,
        RepositoryCommand::Set(set) => set_up(set, settings).await,
        RepositoryCommand::Secret(secret) => set_secret(secret, settings).await,
        RepositoryCommand::Fetch(on) => fetch(on, settings).await,
        RepositoryCommand::Rm(on) => remove(on, settings).await,
    }
}

async fn show(on: &OnRepository, settings: &Settings) -> Result<ExitCode> {
    let app = connect::app(on.app.as_deref(), settings)?;
    let repository = connect::client(settings)?.repository(&app).await?;
    if on.json {
        return print(&format!("{}\n", serde_json::to_string(&repository)?));
    }
    print(&described(&repository, Timestamp::now()))
}

fn described(repository: &Repository, now: Timestamp) -> String {
    let of = &repository.settings;
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("{name:<14}{value}\n"));
        }
    };
    line("app", repository.app.clone());
    let pushed_to = || "nothing: it is pushed to".to_owned();
    line("follows", of.url.clone().unwrap_or_else(pushed_to));
    line("forge", of.forge.clone().unwrap_or_default());
    line("forge at", of.forge_url.clone().unwrap_or_default());
    line("link", of.link.clone().unwrap_or_default());
    let poll = of.poll_seconds.filter(|_| of.url.is_some());
    line(
        "looked at",
        poll.map_or_else(String::new, |every| format!("every {every} s")),
    );
    let fetched = repository.fetched_at.map(|at| ago(at, now));
    line("fetched", fetched.unwrap_or_default());
    line("fault", repository.fault.clone().unwrap_or_default());
    line("statuses", statuses(repository, now));
    line("branches", of.branches.join(", "));
    line("tags", of.tags.join(", "));
    let requests = if of.pull_requests { "delivered" } else { "" };
    line("pull requests", requests.to_owned());
    line("directory", of.directory.clone());
    line("paths", of.paths.join(", "));
    line("ignored paths", of.ignore_paths.join(", "));
    line("protected", of.protected.join(", "));
    let secrets = [
        ("credential", repository.has_credential),
        ("webhook", repository.has_webhook_secret),
        ("status", repository.statuses.has_token),
        ("ca", repository.authorities > 0),
    ];
    let set = secrets.iter().filter(|(_, is_set)| *is_set);
    line(
        "secrets",
        set.map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
    );
    lines.concat()
}

/// Says how it goes with the statuses of commits; nothing where all is well.
fn statuses(repository: &Repository, now: Timestamp) -> String {
    let waiting = repository.statuses.waiting;
    let Some(fault) = &repository.statuses.fault else {
        return match waiting {
            0 => String::new(),
            waiting => format!("{waiting} to be told"),
        };
    };
    let when = match repository.statuses.retry_at {
        Some(at) => format!("told again in {}", duration_until(at, now)),
        None if waiting == 0 => "one was not taken".to_owned(),
        None => "nothing is told until that is mended".to_owned(),
    };
    match waiting {
        0 => format!("{when}: {fault}"),
        waiting => format!("{waiting} to be told, {when}: {fault}"),
    }
}

fn duration_until(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.as_second().saturating_sub(now.as_second()).max(0);
    format!("{seconds} s")
}

async fn set_up(set: &RepositorySet, settings: &Settings) -> Result<ExitCode> {
    let poll = set.poll.map(|poll| u64::try_from(poll.as_secs()));
    let request = RepositoryRequest {
        url: set.url.clone(),
        forge: set.forge.clone(),
        forge_url: set.forge_url.clone(),
        link: set.link.clone(),
        poll_seconds: poll.transpose().context("--poll is negative")?,
        branches: set.branch.clone(),
        tags: set.tag.clone(),
        pull_requests: set.pull_requests,
        directory: set.directory.clone(),
        paths: set.path.clone(),
        ignore_paths: set.ignore_path.clone(),
        protected: set.protect.clone(),
    };
    let client = connect::client(settings)?;
    client.set_repository(&set.app, &request).await?;
    if set.json {
        let repository = client.repository(&set.app).await?;
        return print(&format!("{}\n", serde_json::to_string(&repository)?));
    }
    let app = &set.app;
    print(&match &set.url {
        Some(url) => format!("{app} follows {url}\n"),
        None => format!("{app} is pushed to, at /git/{app}\n"),
    })
}

async fn set_secret(set: &RepositorySecret, settings: &Settings) -> Result<ExitCode> {
    let value = secret::read(set.file.as_deref())?;
    let client = connect::client(settings)?;
    client
        .set_repository_secret(&set.app, &set.name, value)
        .await?;
    if set.json {
        let set = json!({ "app": set.app, "name": set.name, "set": true });
        return print(&format!("{set}\n"));
    }
    print(&format!(
        "the {} of the repository of {} is set\n",
        set.name, set.app
    ))
}

async fn fetch(on: &OnRepository, settings: &Settings) -> Result<ExitCode> {
    let app = connect::app(on.app.as_deref(), settings)?;
    connect::client(settings)?.fetch_repository(&app).await?;
    if on.json {
        return print(&format!("{}\n", json!({ "app": app, "fetched": true })));
    }
    print(&format!("what {app} follows is fetched\n"))
}

async fn remove(on: &OnRepository, settings: &Settings) -> Result<ExitCode> {
    let app = connect::app(on.app.as_deref(), settings)?;
    connect::client(settings)?.unset_repository(&app).await?;
    if on.json {
        return print(&format!("{}\n", json!({ "app": app, "follows": null })));
    }
    print(&format!("{app} follows no repository any more\n"))
}
