//! The program as a user types it: started with arguments, its answer read as JSON.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use serde_json::Value;
use tokio::process::{Child, Command};
use towpath_model::port::Clock as _;

use crate::role::clock::SystemClock;

/// Longer than any command of the story takes.
const LONGEST: Duration = Duration::from_mins(2);

/// Runs commands in one directory, against one data directory.
#[derive(Debug, Clone)]
pub(crate) struct CommandLine {
    program: PathBuf,
    directory: PathBuf,
    home: PathBuf,
}

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The exit code.
    pub(crate) code: i32,
    /// The last JSON document that it printed, or null.
    pub(crate) json: Value,
    /// What it said on standard error.
    pub(crate) complaint: String,
    /// When it was typed.
    pub(crate) began_at: Timestamp,
    /// How long it took, its own start included.
    pub(crate) took: Duration,
}

impl Answer {
    /// Refuses any exit code but 0.
    pub(crate) fn good(self) -> Result<Self> {
        if self.code == 0 {
            return Ok(self);
        }
        // What a deployment failed for is in its last line of progress.
        let failure = &self.json["deployment"]["failure"];
        let why = failure["reason"].as_str().unwrap_or_default();
        bail!(
            "a command that should succeed exited with {}: {}{why} {}",
            self.code,
            self.complaint.trim(),
            failure["log_tail"]
        )
    }
}

impl CommandLine {
    /// Makes one for this program.
    pub(crate) fn new(directory: &Path, home: &Path) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        Ok(Self {
            program,
            directory: directory.to_owned(),
            home: home.to_owned(),
        })
    }

    /// Returns the file of this program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Runs a command to its end, with `--json`.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<Answer> {
        let began_at = SystemClock.now();
        let started = tokio::time::Instant::now();
        let mut command = self.command(arguments);
        command
            .arg("--json")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(LONGEST, command.output())
            .await
            .with_context(|| format!("towpath {} took too long", arguments.join(" ")))?
            .with_context(|| format!("cannot run towpath {}", arguments.join(" ")))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            json: last_document(&text),
            complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
            began_at,
            took: started.elapsed(),
        })
    }

    /// Starts the control plane, and waits until it answers.
    pub(crate) async fn serve_and_await(&self) -> Result<Child> {
        let mut child = self.serve()?;
        let deadline = tokio::time::Instant::now() + LONGEST;
        while self.run(&["env", "ls"]).await?.code != 0 {
            if let Some(status) = child.try_wait().context("cannot watch the control plane")? {
                bail!("the control plane ended at its start: {status}");
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("the control plane does not answer");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(child)
    }

    /// Starts the control plane, which logs to a file in its data directory. It goes on when the
    /// handle is dropped.
    fn serve(&self) -> Result<Child> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.home.join("serve.log"))
            .context("cannot open serve.log")?;
        self.command(&["serve"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share serve.log")?)
            .stderr(log)
            .spawn()
            .context("cannot start the control plane")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(&self.directory)
            .env("TOWPATH_HOME", &self.home);
        command
    }
}

/// Returns the last JSON document of a text: the whole text, or its last line.
fn last_document(text: &str) -> Value {
    let whole = serde_json::from_str(text.trim());
    let last = || {
        text.lines()
            .rev()
            .find_map(|line| serde_json::from_str(line).ok())
    };
    whole.ok().or_else(last).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_document_is_the_whole_text_or_its_last_line() {
        assert_eq!(last_document("{\"a\":\n1}"), serde_json::json!({"a": 1}));
        assert_eq!(
            last_document("{\"a\":1}\n{\"a\":2}\n"),
            serde_json::json!({"a": 2})
        );
        assert_eq!(last_document("words"), Value::Null);
    }
}
