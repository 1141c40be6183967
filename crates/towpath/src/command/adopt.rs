//! `towpath adopt`: takes over a running Docker Compose project, and lets it go again. Not the rules,
//! which are the control plane's.

mod words;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::Instant;
use towpath_api::client::Client;
use towpath_api::{AdoptRequest, AdoptionState, ComposeProject, PortStage};
use towpath_model::delivery::{Delivery, Engine, FILE_NAME};
use towpath_model::id::{EnvironmentId, EnvironmentName};

use super::deploy::Release;
use super::project::{self, App};
use super::{connect, print};
use crate::arguments::{Adopt, Files};
use crate::exit::{Failed, Failure};
use crate::settings::Settings;

/// The longest that instances may take to pass their first check before the command stops waiting.
const LONGEST_WAIT: Duration = Duration::from_mins(2);

/// The time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The Compose files that are found without being named.
const USUAL: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];

/// Takes a project over, or lets it go.
pub(crate) async fn run(adopt: &Adopt, settings: &Settings) -> Result<ExitCode> {
    let client = connect::client_or_start(settings).await?;
    let found = choose(adopt, &client.compose_projects().await?)?;
    let files = files_of(&found, &adopt.files);
    let directory = directory_of(&found, &files)?;
    if adopt.undo {
        return undo(adopt, &client, &found, &directory).await;
    }
    let first = first_delivery(&found, &files, &directory, &adopt.env)?;
    let delivery = match &first {
        Some(text) => parse(text)?,
        None => project::delivery(&directory)?,
    };
    let environment = EnvironmentName::new(adopt.env.as_str())
        .map_err(|error| Failed::new(Failure::Input, error.to_string()))?;
    check_engine(&delivery, &environment)?;
    let app = App::with(delivery, environment, &files, &directory, settings)?;
    let request = |release: &Release| AdoptRequest {
        project: found.name.clone(),
        draft: release.draft.clone(),
        source: release.source(),
        commit: release.commit.clone(),
        keep_ports: adopt.keep_ports,
    };
    let mut release = Release::of_directory(&app)?;
    let plan = client.plan_adoption(&app.id, &request(&release)).await?;
    if adopt.dry_run && adopt.json {
        return print(&format!("{}\n", serde_json::to_string(&plan)?));
    }
    if !adopt.json {
        print(&words::plan(&plan))?;
    }
    if !plan.possible {
        let message = format!("`{}` cannot be taken over as it is", plan.project);
        return Err(Failed::new(Failure::Input, message)
            .hint(plan.refusals.join("\n"))
            .into());
    }
    if adopt.dry_run {
        return print("nothing was done\n");
    }
    if !adopt.yes {
        confirm(&plan.project)?;
    }
    if let Some(text) = &first {
        write_new(&directory.join(FILE_NAME), text)?;
        // It is part of the tree from now on: a release after this one is compared with it.
        release = Release::of_known_directory(&app)?;
    }
    client.create_environment(&app.id).await?;
    release.upload(&client, &app, settings).await?;
    client.adopt(&app.id, &request(&release)).await?;
    let state = watch(&client, &app.id, adopt.keep_ports).await?;
    if adopt.json {
        return print(&format!("{}\n", serde_json::to_string(&state)?));
    }
    print(&words::done(&state, first.is_some().then_some(&directory)))
}

/// Chooses the project: the one that is named, that of the working directory, or the only one.
fn choose(adopt: &Adopt, projects: &[ComposeProject]) -> Result<ComposeProject> {
    let here = std::env::current_dir().context("cannot find the working directory")?;
    let is_here = |one: &&ComposeProject| {
        let directory = one.working_directory.as_deref().map(Path::new);
        directory == Some(here.as_path())
    };
    let only = projects.first().filter(|_| projects.len() == 1);
    let meant = adopt.project.as_ref().map_or_else(
        || projects.iter().find(is_here).or(only),
        |name| projects.iter().find(|one| one.name == *name),
    );
    if let Some(meant) = meant {
        return Ok(meant.clone());
    }
    let names: Vec<&str> = projects.iter().map(|one| one.name.as_str()).collect();
    let message = match &adopt.project {
        Some(name) => format!("there is no Docker Compose project `{name}` on this machine"),
        None if names.is_empty() => "no Docker Compose project runs on this machine".to_owned(),
        None => "which Docker Compose project?".to_owned(),
    };
    let failure = if adopt.project.is_none() && !names.is_empty() {
        Failure::Input
    } else {
        Failure::NotFound
    };
    let mut failed = Failed::new(failure, message);
    if !names.is_empty() {
        failed = failed.hint(format!("name one of {}", names.join(", ")));
    }
    Err(failed.into())
}

/// Returns the files that a project was started from, unless others are named.
fn files_of(found: &ComposeProject, named: &Files) -> Files {
    let mut files = named.clone();
    if files.compose.is_empty() {
        let started = found.files.iter().map(PathBuf::from);
        let are_there = found.files.iter().all(|file| Path::new(file).is_file());
        if are_there {
            files.compose = started.collect();
        }
    }
    if files.project_directory.is_none() {
        let directory = found.working_directory.as_ref().map(PathBuf::from);
        files.project_directory = directory.filter(|directory| directory.is_dir());
    }
    if files.project_name.is_none() {
        files.project_name = Some(found.name.clone());
    }
    files
}

fn directory_of(found: &ComposeProject, files: &Files) -> Result<PathBuf> {
    let here = std::env::current_dir().context("cannot find the working directory")?;
    match &files.project_directory {
        Some(directory) => Ok(here.join(directory)),
        None if !files.compose.is_empty() => Ok(here),
        None => {
            let message = format!(
                "the Compose files of `{}` are not there any more",
                found.name
            );
            Err(Failed::new(Failure::NotFound, message)
                .hint("name them with --file and --project-directory")
                .into())
        }
    }
}

/// Returns the first delivery file of a project that has none.
fn first_delivery(
    found: &ComposeProject,
    files: &Files,
    directory: &Path,
    environment: &str,
) -> Result<Option<String>> {
    let path = directory.join(FILE_NAME);
    if path
        .try_exists()
        .with_context(|| format!("cannot look for {}", path.display()))?
    {
        return Ok(None);
    }
    let names: Vec<String> = files
        .compose
        .iter()
        .map(|file| {
            let inside = file.strip_prefix(directory).unwrap_or(file);
            inside.to_string_lossy().into_owned()
        })
        .collect();
    let is_usual = names.len() <= 1 && names.iter().all(|name| USUAL.contains(&name.as_str()));
    let compose = if is_usual {
        String::new()
    } else {
        format!("    compose: {}\n", serde_json::to_string(&names)?)
    };
    Ok(Some(format!(
        "# How the app is delivered. The Compose file says what it is made of; this file says the rest.\n\
         # Written when its containers were taken over. All keys with their defaults: `towpath schema`.\n\
         app: {}\n\n\
         environments:\n  {environment}:\n    engine: docker\n{compose}",
        project::app_name(&found.name)
    )))
}

fn parse(text: &str) -> Result<Delivery> {
    Ok(Delivery::parse(&towpath_compose::Source::new(
        FILE_NAME,
        text.to_owned(),
    ))?)
}

/// Refuses a delivery file that has something else run the environment.
fn check_engine(delivery: &Delivery, name: &EnvironmentName) -> Result<()> {
    let environment = delivery.file.environment(name);
    if environment.is_some_and(|environment| environment.engine == Engine::Docker) {
        return Ok(());
    }
    let message = format!("{FILE_NAME} does not say that `{name}` runs on Docker");
    let hint = format!(
        "write `environments: {{ {name}: {{ engine: docker }} }}`, or name another environment with --env"
    );
    Err(Failed::new(Failure::Input, message).hint(hint).into())
}

fn confirm(project: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        let message = format!("nobody can be asked whether to take `{project}` over");
        return Err(Failed::new(Failure::Input, message)
            .hint("say so with --yes")
            .into());
    }
    print(&format!("\ntake `{project}` over? [y/N] "))?;
    std::io::stdout().flush().context("cannot ask")?;
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.context("cannot read the answer")?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failed::new(Failure::Operation, "nothing was done").into())
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Waits until the traffic moved.
async fn watch(client: &Client, id: &EnvironmentId, keep_ports: bool) -> Result<AdoptionState> {
    let deadline = Instant::now() + LONGEST_WAIT;
    loop {
        let state = client.adoption(id).await?;
        let mut ports = state.ports.iter().filter(|port| port.via.is_some());
        let waits = ports.any(|port| port.stage == PortStage::Container);
        if state.project.is_some() && (keep_ports || !waits) {
            return Ok(state);
        }
        if Instant::now() >= deadline {
            let message = "the containers are taken over, and their traffic has not moved: none of a service passes its check, or the router cannot listen".to_owned();
            let hint = format!(
                "they serve as before. towpath events {id} and the control plane's log say why; it moves when that is mended, or: towpath adopt --undo"
            );
            return Err(Failed::new(Failure::Operation, message).hint(hint).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lets go of what was taken over.
async fn undo(
    adopt: &Adopt,
    client: &Client,
    found: &ComposeProject,
    directory: &Path,
) -> Result<ExitCode> {
    let app = match project::delivery(directory)?.file.app {
        Some(app) => app,
        None => project::app_name(&found.name)
            .parse()
            .map_err(|error| Failed::new(Failure::Input, format!("{error}")))?,
    };
    let name = EnvironmentName::new(adopt.env.as_str())
        .map_err(|error| Failed::new(Failure::Input, error.to_string()))?;
    let id = EnvironmentId::new(app, name);
    client.undo_adoption(&id).await?;
    if adopt.json {
        let left = serde_json::json!({ "id": id.to_string(), "left": true });
        return print(&format!("{left}\n"));
    }
    print(&format!(
        "{id} is gone, and `{}` runs as it did before; {FILE_NAME} stays\n",
        found.name
    ))
}
