//! How a command reaches the control plane: the one that runs, or one that it starts. Not what is
//! asked of it.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use towpath_api::EnvironmentSummary;
use towpath_api::client::{Client, Error, RemoteError};
use towpath_model::id::{AppName, EnvironmentId, EnvironmentName};

use super::{make_data_directory, project};
use crate::arguments::{Choice, Target};
use crate::exit::{Failed, Failure};
use crate::role::api_socket;
use crate::settings::{CA, Settings};

/// The longest that a started control plane may take to answer.
const LONGEST_START: Duration = Duration::from_secs(15);

/// Returns a client of the control plane: the remote one that the environment names, else the
/// local one. Nothing is asked yet.
pub(crate) fn client(settings: &Settings) -> Result<Client> {
    let Some(remote) = &settings.remote else {
        return Ok(Client::unix(api_socket(&settings.home), &settings.actor));
    };
    let bad = |message| Failed::new(Failure::Input, message);
    let authorities = match &remote.authorities {
        Some(file) => Some(std::fs::read(file).map_err(|error| {
            let message = format!("cannot read {}: {error}", file.display());
            bad(message).hint(format!("it is what {CA} names"))
        })?),
        None => None,
    };
    let client = Client::remote(&remote.address, &remote.token, authorities.as_deref());
    Ok(client.map_err(|error| match (&error, &remote.authorities) {
        (RemoteError::Authorities(_), Some(file)) => {
            bad(error.to_string()).hint(format!("{CA} names {}", file.display()))
        }
        _ => bad(error.to_string()),
    })?)
}

/// Returns a client of a control plane that answers, and starts a local one when none does.
pub(crate) async fn client_or_start(settings: &Settings) -> Result<Client> {
    let client = client(settings)?;
    match client.server().await {
        Ok(_) => Ok(client),
        Err(Error::Unreachable { .. }) if settings.remote.is_none() => {
            let started = Started::new(&settings.home)?;
            started.answers(&client).await?;
            Ok(client)
        }
        Err(error) => Err(error.into()),
    }
}

/// A control plane that was started, and outlives this command.
struct Started {
    child: Child,
    log: PathBuf,
    /// What earlier ones said: the bytes of the log before this one's words.
    words_from: u64,
}

impl Started {
    fn new(data: &Path) -> Result<Self> {
        make_data_directory(data)?;
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let path = data.join("serve.log");
        let mut log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        // Where this line has no room, nothing that follows has, and nobody would read why.
        writeln!(log, "started by a command (process {})", std::process::id())
            .with_context(|| no_room(&path))?;
        let words_from = log.metadata().map_or(0, |log| log.len());
        let child = Command::new(program)
            .args(["serve", "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start the control plane")?;
        Ok(Self {
            child,
            log: path,
            words_from,
        })
    }

    /// Waits until it answers. One that ended meanwhile ends this command as it ended.
    async fn answers(mut self, client: &Client) -> Result<()> {
        let deadline = Instant::now() + LONGEST_START;
        loop {
            let Err(error) = client.server().await else {
                return Ok(());
            };
            let ended = self.child.try_wait().context("cannot watch what started")?;
            if let Some(status) = ended {
                // Two commands may start one each: the second finds the data directory taken.
                if client.server().await.is_ok() {
                    return Ok(());
                }
                let said = self.words();
                let said = said.strip_prefix("error: ").unwrap_or(&said);
                let message = format!("the control plane ended at its start: {}", said.trim_end());
                return Err(Failed::new(Failure::of_code(status.code()), message).into());
            }
            if Instant::now() >= deadline {
                let message =
                    format!("the control plane that was started does not answer: {error}");
                let hint = format!("its log is {}", self.log.display());
                return Err(Failed::new(Failure::NotFound, message).hint(hint).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns what this control plane said last.
    fn words(&self) -> String {
        let mut text = String::new();
        let read = std::fs::File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(self.words_from))?;
            log.read_to_string(&mut text)
        });
        if let Err(error) = read {
            return format!("{} cannot be read: {error}", self.log.display());
        }
        // Its error is what comes last, with its causes.
        let last = text.rfind("error: ").unwrap_or(0);
        text.split_off(last)
    }
}

fn no_room(log: &Path) -> String {
    format!(
        "cannot write {}, the log of the control plane",
        log.display()
    )
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

/// Returns the environment that a command means, which may be left out: then it is the one of the app
/// of the working directory (the only one, or `dev`), else the only one that there is.
pub(crate) async fn choose(choice: &Choice, settings: &Settings) -> Result<EnvironmentId> {
    if let Some(environment) = &choice.environment {
        let named = Target {
            environment: environment.clone(),
            app: choice.app.clone(),
        };
        return target(&named, settings);
    }
    if choice.app.is_none()
        && let Some(id) = project::environment_of_directory(settings)?
    {
        return Ok(id);
    }
    let known = client(settings)?.environments().await?;
    let known: Vec<EnvironmentSummary> = known
        .into_iter()
        .filter(|one| choice.app.as_ref().is_none_or(|app| app == &one.app))
        .collect();
    let meant = known
        .iter()
        .find(|one| known.len() == 1 || (choice.app.is_some() && one.name == "dev"));
    if let Some(meant) = meant {
        return Ok(meant.id.parse()?);
    }
    let names: Vec<&str> = known.iter().map(|one| one.id.as_str()).collect();
    let hint = if names.is_empty() {
        "there is none yet: towpath up makes one".to_owned()
    } else {
        format!("name one of {}", names.join(", "))
    };
    Err(Failed::new(Failure::Input, "which environment?")
        .hint(hint)
        .into())
}

/// Returns the app that a text means: an app, `app/environment`, or an environment of the app of the
/// working directory; that app when nothing is named.
pub(crate) fn app(text: Option<&str>, settings: &Settings) -> Result<String> {
    let Some(text) = text else {
        return Ok(project::app_of_directory(settings)?.to_string());
    };
    if let Some((app, _)) = text.split_once('/') {
        return Ok(app.to_owned());
    }
    match project::app_of_directory(settings) {
        Ok(app) if app.as_str() != text && project::has_environment(text)? => Ok(app.to_string()),
        _ => Ok(text.to_owned()),
    }
}
