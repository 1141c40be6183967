//! `towpath env`, `towpath scale` and `towpath down`: environments themselves. Not what is brought
//! out in them.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::time::Instant;
use towpath_api::client::Client;
use towpath_api::{EnvironmentSummary, ExtendRequest, Preview, PreviewRequest};
use towpath_model::id::EnvironmentId;

use super::table::table;
use super::{connect, deploy, print, progress, project};
use crate::arguments::{Create, EnvCommand, Extend, OnEnvironment, Remove, Scale, Wait};
use crate::exit::{Failed, Failure};
use crate::settings::Settings;

/// The longest that stopping everything may take before this command says that it goes on.
const LONGEST_STOP: Duration = Duration::from_mins(10);

/// Runs `towpath env`.
pub(crate) async fn run(command: &EnvCommand, settings: &Settings) -> Result<ExitCode> {
    match command {
        EnvCommand::Ls(list) => {
            let environments = connect::client(settings)?.environments().await?;
            if list.json {
                return print(&format!("{}\n", serde_json::to_string(&environments)?));
            }
            let columns = ["environment", "release", "healthy", "deployment", ""];
            print(&format!(
                "{}\n",
                table(&columns, environments.iter().map(row))
            ))
        }
        EnvCommand::Create(create) if create.from.is_some() => preview(create, settings).await,
        EnvCommand::Extend(extend) => self::extend(extend, settings).await,
        EnvCommand::Create(create) => {
            let id = connect::target(&create.target, settings)?;
            let created = connect::client_or_start(settings)
                .await?
                .create_environment(&id)
                .await?;
            if create.json {
                return print(&format!("{}\n", serde_json::to_string(&created)?));
            }
            print(&format!(
                "{id} {}\n",
                if created.created {
                    "is made"
                } else {
                    "was there"
                }
            ))
        }
        EnvCommand::Rm(remove) => destroy(remove, settings).await,
    }
}

/// Makes a preview, and watches its release coming out.
async fn preview(create: &Create, settings: &Settings) -> Result<ExitCode> {
    let id = connect::target(&create.target, settings)?;
    let is_here = project::app_of_directory(settings).is_ok_and(|app| app == id.app);
    if is_here && project::has_environment(id.name.as_str())? {
        let message = format!("`{}` is an environment of towpath.yaml", id.name);
        return Err(Failed::new(Failure::Input, message)
            .hint("give the preview another name")
            .into());
    }
    let client = connect::client(settings)?;
    let request = PreviewRequest {
        like: create.from.clone().unwrap_or_default(),
        ttl_s: create.ttl.map(|ttl| ttl.as_secs()),
        release: create.release,
        secrets_from: create.secrets_from.clone(),
    };
    let made = client.create_preview(&id, &request).await?;
    if create.json {
        print(&format!("{}\n", serde_json::to_string(&made)?))?;
    } else {
        print(&format!(
            "{id} is like {}, with release {}; {}\n",
            made.preview.like,
            made.release,
            end(&made.preview)
        ))?;
    }
    if create.wait == Wait::None {
        return Ok(ExitCode::SUCCESS);
    }
    let (number, wait) = (made.deployment, create.wait);
    let code = progress::watch(&client, &id, number, wait, create.json).await?;
    if code == ExitCode::SUCCESS && !create.json {
        deploy::print_urls(&client, &id).await?;
    }
    Ok(code)
}

async fn extend(extend: &Extend, settings: &Settings) -> Result<ExitCode> {
    let id = connect::target(&extend.target, settings)?;
    let request = ExtendRequest {
        ttl_s: extend.ttl.as_secs(),
    };
    let client = connect::client(settings)?;
    let preview = client.extend_preview(&id, &request).await?;
    if extend.json {
        return print(&format!("{}\n", serde_json::to_string(&preview)?));
    }
    print(&format!("{id}: {}\n", end(&preview)))
}

/// Says when a preview goes, and what goes with it.
pub(crate) fn end(preview: &Preview) -> String {
    let lender = match &preview.secrets_from {
        Some(lender) if *lender != preview.like => format!(", with the secrets of {lender}"),
        Some(_) | None => String::new(),
    };
    let then = preview.expires_at;
    format!("it goes at {then:.0}, and its volumes with it{lender}")
}

fn row(environment: &EnvironmentSummary) -> Vec<String> {
    vec![
        environment.id.clone(),
        environment
            .stable
            .map_or_else(String::new, |release| release.to_string()),
        format!("{}/{}", environment.healthy, environment.wanted),
        environment
            .deployment
            .map_or_else(String::new, |state| state.words().to_owned()),
        remark(environment),
    ]
}

fn remark(environment: &EnvironmentSummary) -> String {
    let mut remarks = Vec::new();
    if environment.destroying {
        remarks.push("being destroyed".to_owned());
    } else if environment.on_hold {
        remarks.push("on hold".to_owned());
    }
    let behind = environment.behind.iter().map(|behind| {
        let unsure = if behind.sure { "" } else { ", it seems" };
        format!("behind {}{unsure}", behind.of)
    });
    remarks.extend(behind);
    if let Some(preview) = &environment.preview {
        let Preview {
            like, expires_at, ..
        } = preview;
        remarks.push(format!("preview like {like}, goes at {expires_at:.0}"));
    }
    remarks.join("; ")
}

async fn destroy(remove: &Remove, settings: &Settings) -> Result<ExitCode> {
    let id = connect::target(&remove.target, settings)?;
    if !remove.yes {
        confirm(&id, remove.volumes)?;
    }
    connect::client(settings)?
        .destroy_environment(&id, remove.volumes)
        .await?;
    if remove.json {
        return print(&format!(
            "{}\n",
            json!({ "id": id.to_string(), "removed": true })
        ));
    }
    print(&format!("{id} is gone\n"))
}

/// Has the name typed, so that nothing is destroyed by a slip.
fn confirm(id: &EnvironmentId, volumes: bool) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        let hint = "add --yes to destroy it without being asked";
        return Err(
            Failed::new(Failure::Input, format!("{id} would be destroyed"))
                .hint(hint)
                .into(),
        );
    }
    let what = if volumes {
        "with all its data"
    } else {
        "but for its volumes"
    };
    write!(
        std::io::stderr(),
        "{id} will be destroyed {what}. Type its name to go on: "
    )
    .context("cannot ask")?;
    let mut typed = String::new();
    std::io::stdin()
        .read_line(&mut typed)
        .context("cannot read the answer")?;
    if typed.trim() == id.to_string() {
        return Ok(());
    }
    Err(Failed::new(
        Failure::Input,
        "that is another name: nothing was destroyed",
    )
    .into())
}

/// Changes how many instances services have.
pub(crate) async fn scale(scale: &Scale, settings: &Settings) -> Result<ExitCode> {
    let id = connect::target(&scale.target, settings)?;
    let client = connect::client(settings)?;
    for (service, count) in &scale.counts {
        client.scale(&id, service, *count).await?;
    }
    if scale.json {
        let counts: serde_json::Map<_, _> = scale
            .counts
            .iter()
            .map(|(service, count)| (service.clone(), json!(count)))
            .collect();
        return print(&format!(
            "{}\n",
            json!({ "id": id.to_string(), "wanted": counts })
        ));
    }
    for (service, count) in &scale.counts {
        print(&format!("{service} will have {count}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops everything in an environment, and waits for the end of it.
pub(crate) async fn down(arguments: &OnEnvironment, settings: &Settings) -> Result<ExitCode> {
    let id = connect::choose(&arguments.choice, settings).await?;
    let client = connect::client(settings)?;
    client.down(&id).await?;
    await_end(&client, &id).await?;
    if arguments.json {
        return print(&format!(
            "{}\n",
            json!({ "id": id.to_string(), "running": 0 })
        ));
    }
    print(&format!("{id} is down; its volumes and releases stay\n"))
}

/// Waits until nothing runs in an environment.
pub(crate) async fn await_end(client: &Client, id: &EnvironmentId) -> Result<()> {
    let deadline = Instant::now() + LONGEST_STOP;
    loop {
        let left = client.environment(id).await?.instances.len();
        if left == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let message = format!("{left} instances of {id} still run; they are being stopped");
            return Err(Failed::new(Failure::Operation, message).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
