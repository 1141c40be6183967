//! How a command reaches the control plane: the one that runs, or one that it starts. Not what is
//! asked of it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::process::Command;
use tokio::time::Instant;
use towpath_api::client::{Client, Error};
use towpath_model::id::{AppName, EnvironmentId, EnvironmentName};

use super::project;
use crate::arguments::Target;
use crate::exit::{Failed, Failure};
use crate::role::api_socket;
use crate::settings::Settings;

/// The longest that a started control plane may take to answer.
const LONGEST_START: Duration = Duration::from_secs(15);

/// Returns a client of the control plane: the remote one that the environment names, else the
/// local one. Nothing is asked yet.
pub(crate) fn client(settings: &Settings) -> Client {
    match &settings.remote {
        Some((address, token)) => Client::tcp(address, token),
        None => Client::unix(api_socket(&settings.home), &settings.actor),
    }
}

/// Returns a client of a control plane that answers, and starts a local one when none does.
pub(crate) async fn client_or_start(settings: &Settings) -> Result<Client> {
    let client = client(settings);
    match client.server().await {
        Ok(_) => Ok(client),
        Err(Error::Unreachable { .. }) if settings.remote.is_none() => {
            start(&settings.home)?;
            await_answer(&client, &settings.home).await?;
            Ok(client)
        }
        Err(error) => Err(error.into()),
    }
}

/// Starts a control plane that outlives this command.
fn start(data: &Path) -> Result<()> {
    std::fs::create_dir_all(data)
        .with_context(|| format!("cannot make the data directory {}", data.display()))?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.join("serve.log"))
        .context("cannot open serve.log in the data directory")?;
    let child = Command::new(program)
        .args(["serve", "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start the control plane")?;
    // It outlives this command on purpose.
    drop(child);
    Ok(())
}

async fn await_answer(client: &Client, data: &Path) -> Result<()> {
    let deadline = Instant::now() + LONGEST_START;
    loop {
        match client.server().await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => {
                let log = data.join("serve.log");
                let hint = format!("its last words: {}", last_words(&log));
                let message =
                    format!("the control plane that was started does not answer: {error}");
                return Err(Failed::new(Failure::NotFound, message).hint(hint).into());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Returns the last lines of a log, for a hint.
fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}

/// Returns the environment that a command means: `app/environment`, or an environment of the app
/// of the working directory.
pub(crate) fn target(target: &Target, settings: &Settings) -> Result<EnvironmentId> {
    let bad = |error: towpath_model::id::InvalidId| Failed::new(Failure::Input, error.to_string());
    let text = target.environment.as_str();
    if text.contains('/') {
        return Ok(text.parse().map_err(bad)?);
    }
    let name: EnvironmentName = text.parse().map_err(bad)?;
    if let Some(app) = &target.app {
        let app: AppName = app.parse().map_err(bad)?;
        return Ok(EnvironmentId::new(app, name));
    }
    let app = project::app_of_directory(settings).map_err(|error| {
        Failed::new(
            Failure::Input,
            format!("which app is `{name}` an environment of? {error:#}"),
        )
        .hint(format!(
            "write app/{name}, or run this in the app's directory"
        ))
    })?;
    Ok(EnvironmentId::new(app, name))
}
