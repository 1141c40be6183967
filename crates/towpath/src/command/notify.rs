//! `towpath notify`: tries out who is told of what happens. Not the telling, which the control plane
//! does by itself.

use std::process::ExitCode;

use anyhow::Result;

use super::table::table;
use super::{connect, print};
use crate::arguments::{NotifyCommand, NotifyTest};
use crate::exit::{Failed, Failure};
use crate::settings::Settings;

/// Runs `towpath notify`.
pub(crate) async fn run(command: &NotifyCommand, settings: &Settings) -> Result<ExitCode> {
    match command {
        NotifyCommand::Test(arguments) => test(arguments, settings).await,
    }
}

async fn test(arguments: &NotifyTest, settings: &Settings) -> Result<ExitCode> {
    let id = connect::choose(&arguments.choice(), settings).await?;
    let client = connect::client(settings)?;
    let tried = client
        .test_notifications(&id, arguments.target.as_deref())
        .await?;
    if tried.is_empty() {
        let message = format!("what was deployed to {id} last names nobody who is told");
        let hint = "write `notify` into towpath.yaml and deploy; docs/notifications.md says how";
        return Err(Failed::new(Failure::NotFound, message).hint(hint).into());
    }
    let lost: Vec<&str> = tried
        .iter()
        .filter(|one| !one.arrived)
        .map(|one| one.target.as_str())
        .collect();
    if arguments.json {
        print(&format!("{}\n", serde_json::to_string(&tried)?))?;
    } else {
        let rows = tried.iter().map(|one| {
            let word = if one.arrived {
                "arrived"
            } else {
                "did not arrive"
            };
            vec![
                one.target.clone(),
                one.channel.clone(),
                word.to_owned(),
                one.answer.clone(),
            ]
        });
        let headings = ["target", "channel", "test message", "answer"];
        print(&format!("{}\n", table(&headings, rows)))?;
    }
    if lost.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let message = format!("the test message did not arrive at {}", lost.join(", "));
    Err(Failed::new(Failure::Operation, message).into())
}
