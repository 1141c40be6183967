//! `towpath traffic`: what the router does with all requests of an environment. Not which release they
//! go to, which is a deployment's.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use towpath_api::Traffic;

use super::{connect, print};
use crate::arguments::{Choice, Maintenance, TrafficCommand};
use crate::exit::{Failed, Failure};
use crate::settings::Settings;

/// Tells the router.
pub(crate) async fn run(command: &TrafficCommand, settings: &Settings) -> Result<ExitCode> {
    let (choice, traffic, json) = match command {
        TrafficCommand::Serve(serve) => (&serve.choice, Traffic::Serving, serve.json),
        TrafficCommand::Pause(pause) => {
            let max_wait_ms = u64::from(pause.max_wait) * 1000;
            (&pause.choice, Traffic::Paused { max_wait_ms }, pause.json)
        }
        TrafficCommand::Maintenance(arguments) => {
            (&arguments.choice, maintenance(arguments)?, arguments.json)
        }
    };
    set(choice, &traffic, json, settings).await
}

fn maintenance(arguments: &Maintenance) -> Result<Traffic> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot read the page {}: {error}", path.display());
            Failed::new(Failure::Input, message)
        })
    };
    Ok(Traffic::Maintenance {
        page: arguments.page.as_ref().map(read).transpose()?,
        retry_after_s: arguments.retry_after,
    })
}

async fn set(
    choice: &Choice,
    traffic: &Traffic,
    json: bool,
    settings: &Settings,
) -> Result<ExitCode> {
    let id = connect::choose(choice, settings).await?;
    connect::client(settings)?.set_traffic(&id, traffic).await?;
    if json {
        let set = json!({ "id": id.to_string(), "traffic": traffic });
        return print(&format!("{set}\n"));
    }
    print(&format!("{id}: {}\n", words(traffic)))
}

/// Says what becomes of requests.
pub(crate) fn words(traffic: &Traffic) -> String {
    match traffic {
        Traffic::Serving => "requests are served".to_owned(),
        Traffic::Paused { max_wait_ms } => {
            format!(
                "requests are held, each for {} s at most",
                max_wait_ms / 1000
            )
        }
        Traffic::Maintenance { retry_after_s, .. } => {
            format!("maintenance: requests are answered 503, come back after {retry_after_s} s")
        }
    }
}
