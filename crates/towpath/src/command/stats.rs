//! `towpath stats`: what instances use.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Result;
use towpath_api::{InstanceUsage, Usage};

use super::table::{size, table};
use super::{connect, print};
use crate::arguments::Stats;
use crate::settings::Settings;

/// Goes to the upper left corner and clears the screen (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// What is not known.
const UNKNOWN: &str = "-";

/// Shows what instances use, again and again unless once is enough.
pub(crate) async fn run(arguments: &Stats, settings: &Settings) -> Result<ExitCode> {
    let id = connect::choose(&arguments.choice, settings).await?;
    let client = connect::client(settings)?;
    let service = arguments.service.as_deref();
    if arguments.no_stream {
        let usage = client.usage(&id, service).await?;
        return show(&usage, arguments.json, "");
    }
    let is_terminal = std::io::stdout().is_terminal();
    let before = if is_terminal && !arguments.json {
        CLEAR
    } else {
        ""
    };
    let mut stream = client.follow_usage(&id, service).await?;
    loop {
        tokio::select! {
            next = stream.next() => match next? {
                Some(usage) => {
                    show(&usage, arguments.json, before)?;
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

fn show(usage: &Usage, json: bool, before: &str) -> Result<ExitCode> {
    if json {
        return print(&format!("{}\n", serde_json::to_string(usage)?));
    }
    print(&format!("{before}{}", describe(usage)))
}

fn describe(usage: &Usage) -> String {
    let columns = [
        "instance",
        "cpu",
        "memory",
        "limit",
        "net in",
        "net out",
        "disk read",
        "disk written",
        "pids",
    ];
    format!("{}\n", table(&columns, usage.instances.iter().map(row)))
}

fn row(one: &InstanceUsage) -> Vec<String> {
    let bytes = |count: Option<u64>| count.map_or_else(|| UNKNOWN.to_owned(), size);
    vec![
        format!("{}-{}", one.service, one.instance),
        one.cpu_percent
            .map_or_else(|| UNKNOWN.to_owned(), |percent| format!("{percent:.1} %")),
        size(one.memory_bytes),
        bytes(one.memory_limit_bytes),
        bytes(one.network_received_bytes),
        bytes(one.network_sent_bytes),
        bytes(one.disk_read_bytes),
        bytes(one.disk_written_bytes),
        one.pids.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_no_number() {
        let usage = Usage {
            instances: vec![InstanceUsage {
                service: "web".to_owned(),
                instance: 7,
                at: jiff::Timestamp::UNIX_EPOCH,
                cpu_percent: Some(12.34),
                memory_bytes: 3 << 20,
                memory_limit_bytes: None,
                network_received_bytes: None,
                network_sent_bytes: None,
                disk_read_bytes: Some(0),
                disk_written_bytes: Some(1_536),
                pids: 2,
            }],
        };
        let text = describe(&usage);
        let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let expected = "web-7 12.3 % 3.0 MiB - - - 0 B 1.5 KiB 2";
        assert_eq!(row, expected.split(' ').collect::<Vec<_>>(), "{text}");
    }
}
