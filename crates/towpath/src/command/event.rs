//! `towpath events`: the audit trail, read, followed and verified.

use std::process::ExitCode;

use anyhow::Result;
use towpath_api::Event;
use towpath_api::client::{Client, EventFilter};

use super::{connect, print};
use crate::arguments::{EventCommand, Events, Target};
use crate::exit::Failure;
use crate::settings::Settings;

/// Prints the latest lines, follows the trail, or has it checked.
pub(crate) async fn run(arguments: &Events, settings: &Settings) -> Result<ExitCode> {
    let client = connect::client(settings)?;
    if let Some(EventCommand::Verify(verify)) = &arguments.command {
        return check(&client, verify.json).await;
    }
    let environment = match arguments.environment.as_ref().or(arguments.env.as_ref()) {
        Some(environment) => {
            let target = Target {
                environment: environment.clone(),
                app: None,
            };
            Some(connect::target(&target, settings)?.to_string())
        }
        None => None,
    };
    let filter = EventFilter {
        environment,
        jobs: arguments.all,
        after: None,
        limit: Some(arguments.limit),
    };
    if arguments.follow {
        return follow(&client, &filter, arguments.json).await;
    }
    let events = client.events(&filter).await?;
    if arguments.json {
        return print(&format!("{}\n", serde_json::to_string(&events)?));
    }
    for event in &events {
        print(&describe(event))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn follow(client: &Client, filter: &EventFilter, json: bool) -> Result<ExitCode> {
    let mut stream = client.follow_events(filter).await?;
    loop {
        tokio::select! {
            next = stream.next() => match next? {
                Some(event) if json => {
                    print(&format!("{}\n", serde_json::to_string(&event)?))?;
                }
                Some(event) => {
                    print(&describe(&event))?;
                }
                None => return Ok(ExitCode::SUCCESS),
            },
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

async fn check(client: &Client, json: bool) -> Result<ExitCode> {
    let found = client.verify_events().await?;
    let code = if found.intact {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Failure::Operation.code())
    };
    if json {
        print(&format!("{}\n", serde_json::to_string(&found)?))?;
        return Ok(code);
    }
    match &found.broken {
        None => print(&format!(
            "{} events, all as they were written\n",
            found.events
        ))?,
        Some(broken) => print(&format!(
            "{} events are good; at {}: {}\n",
            found.events, broken.sequence, broken.problem
        ))?,
    };
    Ok(code)
}

fn describe(event: &Event) -> String {
    let mut line = format!(
        "{:>5}  {}  {:<10} {:<24} {}",
        event.sequence,
        event.at.strftime("%Y-%m-%d %H:%M:%S"),
        event.actor,
        event.what,
        event.subject
    );
    if let Some(to) = &event.to {
        match &event.from {
            Some(from) => line.push_str(&format!("  {from} -> {to}")),
            None => line.push_str(&format!("  {to}")),
        }
    }
    if let Some(reason) = &event.reason {
        line.push_str(&format!("  ({reason})"));
    }
    line.push('\n');
    line
}
