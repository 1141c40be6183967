//! The stage of the demo: a temporary directory with the app, free ports, a control plane. Not what
//! is played on it, nor by whom.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cast::Cast;
use super::command_line::CommandLine;
use super::process::{self, Process};
use super::report::Teller;

/// The longest that the parts may take to end when the story is over.
const LONGEST_END: Duration = Duration::from_secs(15);

/// The stage.
#[derive(Debug)]
pub(crate) struct Stage {
    place: Place,
    /// The directory, where it goes with the story.
    passing: Option<TempDir>,
    command_line: CommandLine,
    cast: Cast,
}

/// Where everything is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The directory of everything.
    pub(crate) directory: PathBuf,
    /// Where the environments listen.
    pub(crate) ports: Ports,
}

/// Where the two environments listen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    /// The port of `dev`.
    pub(crate) dev: u16,
    /// The port of `production`.
    pub(crate) production: u16,
}

/// What makes one release different from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version<'a> {
    /// The version that the app shows.
    pub(crate) name: &'a str,
    /// What is wrong with it.
    pub(crate) fault: Fault,
}

/// What is wrong with a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It ends at its start.
    Crash,
    /// It never passes its health check.
    Unhealthy,
    /// It answers with errors, and calls itself healthy.
    Errors,
    /// It answers late, and calls itself healthy.
    Slow,
}

impl Place {
    /// Returns the directory of the app.
    pub(crate) fn app(&self) -> PathBuf {
        self.directory.join("app")
    }

    /// Returns where production answers.
    pub(crate) fn production(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.production))
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
}

impl Stage {
    /// Makes the directory. The app is not in it yet: see [`Stage::prepare`].
    pub(crate) fn set(cast: Cast, keep: bool) -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("towpath-demo-").tempdir()?;
        let directory = temporary.path().canonicalize()?;
        let passing = if keep {
            // The directory is the user's now.
            drop(temporary.keep());
            None
        } else {
            Some(temporary)
        };
        for name in ["app", "home"] {
            std::fs::create_dir(directory.join(name))?;
        }
        Ok(Self {
            command_line: CommandLine::new(&directory.join("app"), &directory.join("home"))?,
            place: Place {
                directory,
                ports: Ports {
                    dev: free_port()?,
                    production: free_port()?,
                },
            },
            passing,
            cast,
        })
    }

    /// Makes what the app needs, and writes the app into its directory.
    pub(crate) async fn prepare(&mut self, teller: &Teller) -> Result<()> {
        self.cast.prepare(&self.place, teller).await?;
        let files = self.cast.files(&self.place, &self.command_line)?;
        self.write(files)
    }

    /// Returns where everything is.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Returns the program, as a user would type it in the app's directory.
    pub(crate) fn command_line(&self) -> &CommandLine {
        &self.command_line
    }

    /// Returns who plays.
    pub(crate) fn cast(&self) -> &Cast {
        &self.cast
    }

    /// Writes what makes a release into the app's directory.
    pub(crate) fn write_version(&self, version: Version<'_>) -> Result<()> {
        self.write(self.cast.version(&self.place, version))
    }

    fn write(&self, files: Vec<(&str, String)>) -> Result<()> {
        for (name, content) in files {
            write(&self.place.app().join(name), &content)?;
        }
        Ok(())
    }

    /// Ends everything that belongs to the stage, and says what would not go.
    pub(crate) async fn clear_away(self) -> Result<Vec<String>> {
        let Self {
            place,
            passing,
            command_line,
            cast,
        } = self;
        if place.app().join("towpath.yaml").exists() {
            remove_environments(&place, &command_line).await?;
        }
        for role in ["serve", "router"] {
            for process in place.processes(role)? {
                process.signal(Signal::TERM)?;
            }
            // The control plane would start a router that ends before it.
            place.await_none_in(role).await?;
        }
        let processes = process::wait_for_none(&place.directory, LONGEST_END).await?;
        for process in &processes {
            process.signal(Signal::KILL)?;
        }
        let mut left: Vec<String> = processes
            .into_iter()
            .map(|process| process.arguments.join(" "))
            .collect();
        left.extend(cast.clear_away(passing.is_none()).await?);
        if let Some(temporary) = passing {
            temporary
                .close()
                .context("cannot remove the demo's directory")?;
        }
        Ok(left)
    }
}

async fn remove_environments(place: &Place, command_line: &CommandLine) -> Result<()> {
    if place.processes("serve")?.is_empty() {
        // The story ended while the control plane was away.
        command_line.serve_and_await().await?;
    }
    for environment in ["production", "dev"] {
        let words = ["env", "rm", environment, "--volumes", "--yes"];
        // The story may have been cut short before the environment was there.
        drop(command_line.run(&words).await);
    }
    Ok(())
}

/// Writes a file, and the directories that it is in.
pub(super) fn write(path: &Path, content: &str) -> Result<()> {
    let attempted = || format!("cannot write {}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(attempted)?;
    }
    std::fs::write(path, content).with_context(attempted)
}

/// Returns how production is brought out, in the delivery file's words. What is slower than `p99`
/// is given up.
pub(super) fn rollout(p99: &str) -> Value {
    json!({
        "steps": [{ "weight": "10%", "soak": "2s" }, { "weight": "50%", "soak": "1s" }, "100%"],
        "bake": "2s",
        "drain": "10s",
        "drain_websockets": "1s",
        "abort_when": { "error_rate": "> 1%", "p99": format!("> {p99}"), "min_requests": 15 },
    })
}

/// Returns a port that is free now.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?.port())
}
