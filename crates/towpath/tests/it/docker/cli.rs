//! The `docker` command as a person uses it. Not Towpath's own way to Docker.

use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::site::LONGEST;

/// A Docker Engine, by where it listens; that of all tests when that is not said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Docker(pub(crate) Option<String>);

impl Docker {
    /// Returns the command with these words.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        if let Some(host) = &self.0 {
            command.env("DOCKER_HOST", host);
        }
        // The old builder asks for nothing that is not there.
        command.env("DOCKER_BUILDKIT", "0").args(words);
        command
    }

    /// Runs it, and returns what it wrote.
    pub(crate) async fn run(&self, words: &[&str]) -> String {
        run(&mut self.command(words)).await
    }

    /// Runs it, and returns each line that it wrote.
    pub(crate) async fn lines(&self, words: &[&str]) -> Vec<String> {
        let mut lines: Vec<String> = self.run(words).await.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    }
}

/// Runs a command that has to succeed, and returns what it wrote.
pub(crate) async fn run(command: &mut Command) -> String {
    let output = output(command).await;
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn output(command: &mut Command) -> Output {
    let ended = tokio::time::timeout(LONGEST * 5, command.stdin(Stdio::null()).output());
    ended.await.expect("it ends in time").unwrap()
}
