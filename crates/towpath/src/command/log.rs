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
        since: arguments.since,
        follow: arguments.follow,
    };
    let mut stream = connect::client(settings)?.logs(&id, &filter).await?;
    loop {
        tokio::select! {
            next = stream.next() => match next? {
                Some(line) if arguments.json => {
                    print(&format!("{}\n", serde_json::to_string(&line)?))?;
                }
                Some(line) => {
                    print(&describe(&line, arguments.timestamps))?;
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

fn describe(line: &LogLine, with_time: bool) -> String {
    let who = format!("{}-{}", line.service, line.instance);
    let time = if with_time {
        format!("{:.3} ", line.at)
    } else {
        String::new()
    };
    format!("{who:<14} | {time}{}\n", line.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_wrote_it_and_when_where_that_is_asked_for() {
        let line = LogLine {
            at: "2026-11-21T10:00:00.123456Z".parse().unwrap(),
            service: "web".to_owned(),
            instance: 7,
            stream: "stdout".to_owned(),
            text: "hello".to_owned(),
        };
        assert_eq!(describe(&line, false), "web-7          | hello\n");
        let timed = describe(&line, true);
        assert_eq!(timed, "web-7          | 2026-11-21T10:00:00.123Z hello\n");
    }
}
