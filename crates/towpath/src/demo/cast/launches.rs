//! The raffle as plain processes: its files, its load, how one of its processes is killed. Nothing
//! has to be installed or built for it: every service is a role of this very program.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::{Value, json};
use towpath_load::Stream;

use super::{OwnStart, Since};
use crate::demo::command_line::CommandLine;
use crate::demo::process::Process;
use crate::demo::stage::{Fault, Place, Version, rollout};

const COMPOSE: &str = include_str!("../../../../../examples/launches/compose.yaml");

/// How long an instance pretends to load before it listens.
const START_MS: u64 = 300;

/// The stream of WebSocket sessions.
pub(super) const WEBSOCKETS: &str = "websocket";

/// The raffle.
#[derive(Debug)]
pub(crate) struct Launches;

impl Launches {
    pub(super) fn files(command_line: &CommandLine) -> Result<Vec<(&'static str, String)>> {
        let key = "a demo key, as long as a key should be\n";
        Ok(vec![
            ("compose.yaml", COMPOSE.to_owned()),
            ("towpath.yaml", delivery_file(command_line)?),
            ("raffle_key", key.to_owned()),
        ])
    }

    /// A release is made by Compose files over the example's own.
    pub(super) fn version(place: &Place, version: Version<'_>) -> Vec<(&'static str, String)> {
        let fault = match version.fault {
            Fault::None => "none",
            Fault::Crash => "crash-at-start",
            Fault::Unhealthy => "fail-health",
            Fault::Errors => "error-some",
            Fault::Slow => "slow",
        };
        [
            ("compose.dev.yaml", place.ports.dev),
            ("compose.production.yaml", place.ports.production),
        ]
        .into_iter()
        .map(|(file, port)| {
            let mut overlay = "services:\n".to_owned();
            for service in ["worker", "migrate", "store"] {
                overlay.push_str(&format!(
                    "  {service}: {{ build: !reset null, image: launches }}\n"
                ));
            }
            overlay.push_str(&format!(
                "  web:\n    build: !reset null\n    image: launches\n    \
                 ports: !override [\"127.0.0.1:{port}:8080\"]\n    environment:\n      \
                 LAUNCHES_VERSION: \"{}\"\n      LAUNCHES_FAULT: {fault}\n      \
                 LAUNCHES_START_MS: \"{START_MS}\"\n",
                version.name
            ));
            (file, overlay)
        })
        .collect()
    }

    pub(super) fn streams() -> Vec<Stream> {
        vec![
            Stream::plain("/version", 40.0),
            Stream::keep_alive("/", 60.0),
            Stream::slow("/slow?think_ms=400", 4.0),
            Stream::websocket("/ws", 4, 8.0).named(WEBSOCKETS),
        ]
    }

    pub(super) fn kill_instance(place: &Place) -> Result<()> {
        let processes = place.processes(crate::role::LAUNCHES)?;
        let in_production = |process: &&Process| {
            process.arguments.get(2).is_some_and(|role| role == "web")
                && process.is_of("production")
        };
        let victim = processes.iter().find(in_production);
        victim
            .context("no instance of web runs")?
            .signal(Signal::KILL)
    }

    pub(super) fn own_start() -> OwnStart {
        OwnStart {
            what: "the app's own start",
            took: Duration::from_millis(START_MS),
            since: Since::Request,
            goal: 0.3,
        }
    }
}

/// Writes the delivery file: each service is a role of this very program.
fn delivery_file(command_line: &CommandLine) -> Result<String> {
    let program = command_line.program().display();
    let services: BTreeMap<&str, Value> = ["web", "worker", "migrate", "store"]
        .into_iter()
        .map(|role| {
            let command = format!("exec '{program}' {} {role}", crate::role::LAUNCHES);
            // The program is not part of the release: no service depends on the source tree.
            (
                role,
                json!({ "process": { "command": command, "source": false } }),
            )
        })
        .collect();
    let mut services = json!(services);
    services["web"]["health"] =
        json!({ "http": "/healthz", "interval": "1s", "retries": 2, "start_period": "1s" });
    services["store"]["health"] = json!({ "http": "/healthz" });
    services["store"]["protocol"] = json!("tcp");
    services["store"]["process"]["environment"] = json!({ "LAUNCHES_DATA_DIR": "${VOLUME_DATA}" });
    let environment =
        |name: &str| json!({ "compose": ["compose.yaml", format!("compose.{name}.yaml")] });
    let mut production = environment("production");
    production["scale"] = json!({ "web": 2 });
    production["rollout"] = rollout("800ms");
    let file = json!({
        "app": "launches",
        "environments": { "dev": environment("dev"), "production": production },
        "services": services,
    });
    // JSON is YAML.
    serde_json::to_string_pretty(&file).context("cannot write towpath.yaml")
}
