//! `towpath logs`: what instances wrote.

use std::process::ExitCode;

use anyhow::Result;
use towpath_api::LogLine;
use towpath_api::client::LogFilter;

use super::{connect, print};
use crate::arguments::Logs;
use crate::settings::Settings;

/// Prints lines in the order of their time, and goes on with new ones when asked.
pub(crate) async fn run(arguments: &Logs, settings: &Settings) -> Result<ExitCode> {
    let id = connect::choose(&arguments.choice, settings).await?;
    let filter = LogFilter {
        services: arguments.service.clone(),
        instance: arguments.instance,
        tail: arguments.tail,
        follow: arguments.follow,
    };
    let mut stream = connect::client(settings).logs(&id, &filter).await?;
    loop {
        tokio::select! {
            next = stream.next() => match next? {
                Some(line) if arguments.json => {
                    print(&format!("{}\n", serde_json::to_string(&line)?))?;
                }
                Some(line) => {
                    print(&describe(&line))?;
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

fn describe(line: &LogLine) -> String {
    let who = format!("{}-{}", line.service, line.instance);
    format!("{who:<14} | {}\n", line.text)
}
