//! The stage of the demo: a temporary directory with the example app, a free port, a control plane.
//! Not what is played on it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::command_line::CommandLine;
use super::process::{self, Process};

const COMPOSE: &str = include_str!("../../../../examples/launches/compose.yaml");

/// How long an instance of the example pretends to load before it listens.
pub(crate) const START_MS: u64 = 300;

/// The longest that the parts may take to end when the story is over.
const LONGEST_END: Duration = Duration::from_secs(15);

/// The stage.
#[derive(Debug)]
pub(crate) struct Stage {
    directory: PathBuf,
    kept: Option<TempDir>,
    command_line: CommandLine,
    ports: Ports,
}

/// Where the two environments listen.
#[derive(Debug, Clone, Copy)]
struct Ports {
    dev: u16,
    production: u16,
}

/// What makes one release different from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version<'a> {
    /// The version that the app shows.
    pub(crate) name: &'a str,
    /// What is wrong with it, in the app's own words; `none` when nothing is.
    pub(crate) fault: &'a str,
}

impl Stage {
    /// Makes the directory and writes the app into it.
    pub(crate) fn set(keep: bool) -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("towpath-demo-").tempdir()?;
        let directory = temporary.path().canonicalize()?;
        let kept = if keep {
            // The directory is the user's now.
            drop(temporary.keep());
            None
        } else {
            Some(temporary)
        };
        for name in ["app", "home"] {
            std::fs::create_dir(directory.join(name))?;
        }
        let command_line = CommandLine::new(&directory.join("app"), &directory.join("home"))?;
        let ports = Ports {
            dev: free_port()?,
            production: free_port()?,
        };
        let stage = Self {
            directory,
            kept,
            command_line,
            ports,
        };
        stage.write("compose.yaml", COMPOSE)?;
        stage.write("towpath.yaml", &stage.delivery_file()?)?;
        stage.write("raffle_key", "a demo key, as long as a key should be\n")?;
        Ok(stage)
    }

    /// Returns the directory of everything.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the program, as a user would type it in the app's directory.
    pub(crate) fn command_line(&self) -> &CommandLine {
        &self.command_line
    }

    /// Returns where production answers.
    pub(crate) fn production(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.production))
    }

    /// Writes what makes a release into the app's directory: Compose files over the example's own.
    pub(crate) fn write_version(&self, version: Version<'_>) -> Result<()> {
        for (environment, port) in [
            ("dev", self.ports.dev),
            ("production", self.ports.production),
        ] {
            // There is nothing to build: every service is a role of this very program.
            let mut overlay = "services:\n".to_owned();
            for service in ["worker", "migrate", "store"] {
                overlay.push_str(&format!(
                    "  {service}: {{ build: !reset null, image: launches }}\n"
                ));
            }
            overlay.push_str(&format!(
                "  web:\n    build: !reset null\n    image: launches\n    \
                 ports: !override [\"127.0.0.1:{port}:8080\"]\n    environment:\n      \
                 LAUNCHES_VERSION: \"{}\"\n      LAUNCHES_FAULT: {}\n      \
                 LAUNCHES_START_MS: \"{START_MS}\"\n",
                version.name, version.fault
            ));
            self.write(&format!("compose.{environment}.yaml"), &overlay)?;
        }
        Ok(())
    }

    /// Writes the delivery file: each service is a role of this very program.
    fn delivery_file(&self) -> Result<String> {
        let program = self.command_line.program().display();
        let services: BTreeMap<&str, serde_json::Value> = ["web", "worker", "migrate", "store"]
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
        services["store"]["process"]["environment"] =
            json!({ "LAUNCHES_DATA_DIR": "${VOLUME_DATA}" });
        let environment =
            |name: &str| json!({ "compose": ["compose.yaml", format!("compose.{name}.yaml")] });
        let mut production = environment("production");
        production["scale"] = json!({ "web": 2 });
        production["rollout"] = json!({
            "steps": [{ "weight": "10%", "soak": "2s" }, { "weight": "50%", "soak": "1s" }, "100%"],
            "bake": "2s",
            "drain": "10s",
            "drain_websockets": "1s",
            "abort_when": { "error_rate": "> 1%", "p99": "> 800ms", "min_requests": 15 },
        });
        let file = json!({
            "app": "launches",
            "environments": { "dev": environment("dev"), "production": production },
            "services": services,
        });
        // JSON is YAML.
        serde_json::to_string_pretty(&file).context("cannot write towpath.yaml")
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.directory.join("app").join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Returns the processes of the stage in a role of the program.
    pub(crate) fn processes(&self, role: &str) -> Result<Vec<Process>> {
        let all = process::belonging_to(&self.directory)?;
        Ok(all
            .into_iter()
            .filter(|process| process.has_role(role))
            .collect())
    }

    async fn await_none_in(&self, role: &str) -> Result<()> {
        let deadline = tokio::time::Instant::now() + LONGEST_END;
        while !self.processes(role)?.is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends everything that belongs to the stage, and says what would not go.
    pub(crate) async fn clear_away(self) -> Result<Vec<String>> {
        if self.processes("serve")?.is_empty() {
            // The story ended while the control plane was away.
            self.command_line.serve_and_await().await?;
        }
        for environment in ["production", "dev"] {
            // The story may have been cut short before the environment was there.
            drop(
                self.command_line
                    .run(&["env", "rm", environment, "--volumes", "--yes"])
                    .await,
            );
        }
        for role in ["serve", "router"] {
            for process in self.processes(role)? {
                process.signal(Signal::TERM)?;
            }
            // The control plane would start a router that ends before it.
            self.await_none_in(role).await?;
        }
        let left = process::wait_for_none(&self.directory, LONGEST_END).await?;
        for process in &left {
            process.signal(Signal::KILL)?;
        }
        if let Some(temporary) = self.kept {
            temporary
                .close()
                .context("cannot remove the demo's directory")?;
        }
        Ok(left
            .into_iter()
            .map(|process| process.arguments.join(" "))
            .collect())
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?.port())
}
