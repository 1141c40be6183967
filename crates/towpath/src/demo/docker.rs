//! The `docker` command as whoever has Docker uses it: what the demo makes and removes by hand, and
//! looks at. Not the engine, which speaks to Docker's API and is what is being shown.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use crate::exit::{Failed, Failure};

/// Longer than anything that is asked of Docker takes.
const LONGEST: Duration = Duration::from_mins(2);

/// The `docker` command, with a Docker Engine behind it.
#[derive(Debug, Clone)]
pub(crate) struct Docker {
    /// The version of the Docker Engine.
    pub(crate) version: String,
}

impl Docker {
    /// Finds the command and the Docker Engine, or says what is missing.
    pub(crate) async fn find() -> Result<Self> {
        let hint = "install Docker (docker.io in Debian and Ubuntu) and start it, or tell the story \
                    without it: towpath demo";
        let missing = |message: String| Failed::new(Failure::NotFound, message).hint(hint);
        let words = ["version", "--format", "{{.Server.Version}}"];
        let output = run(Command::new("docker").args(words), LONGEST).await;
        let output = output.map_err(|error| missing(format!("{error:#}")))?;
        if !output.status.success() {
            let said = said(&output);
            return Err(missing(format!("no Docker Engine answers: {said}")).into());
        }
        Ok(Self {
            version: text(&output),
        })
    }

    /// Runs a command to its end, and returns what it printed. Any exit status but 0 is an error.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("docker");
        let output = run(command.args(arguments), LONGEST).await?;
        if !output.status.success() {
            bail!("docker {}: {}", arguments.join(" "), said(&output));
        }
        Ok(text(&output))
    }

    /// Runs a command that prints a line for each thing.
    pub(crate) async fn list(&self, arguments: &[&str]) -> Result<Vec<String>> {
        let text = self.run(arguments).await?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Returns all that Docker knows of a container.
    pub(crate) async fn inspect(&self, container: &str) -> Result<Value> {
        let text = self.run(&["container", "inspect", container]).await?;
        let mut all: Vec<Value> = serde_json::from_str(&text).context("docker inspect")?;
        all.pop()
            .with_context(|| format!("no container {container}"))
    }

    /// Tells whether there is an image of this name.
    pub(crate) async fn has_image(&self, name: &str) -> bool {
        self.run(&["image", "inspect", "--format", "{{.Id}}", name])
            .await
            .is_ok()
    }

    /// Returns the ids of the containers with a label, the newest first.
    pub(crate) async fn containers(&self, labels: &[String]) -> Result<Vec<String>> {
        let filters: Vec<String> = labels
            .iter()
            .map(|label| format!("--filter=label={label}"))
            .collect();
        let mut words = vec!["ps", "--all", "--quiet", "--no-trunc"];
        words.extend(filters.iter().map(String::as_str));
        self.list(&words).await
    }

    /// Removes every container, network and volume with a label, and every image whose name begins
    /// with `images`. Returns what there was.
    pub(crate) async fn sweep(&self, label: &str, images: &str) -> Result<Vec<String>> {
        let with_label = format!("--filter=label={label}");
        let named = format!("--filter=reference={images}*");
        let mut found = Vec::new();
        for (kind, list, remove) in [
            (
                "container",
                ["ps", "--all", "--format={{.Names}}", &with_label],
                &["rm", "--force", "--volumes"][..],
            ),
            (
                "network",
                ["network", "ls", "--format={{.Name}}", &with_label],
                &["network", "rm"],
            ),
            (
                "volume",
                ["volume", "ls", "--format={{.Name}}", &with_label],
                &["volume", "rm"],
            ),
            (
                "image",
                ["image", "ls", "--format={{.Repository}}:{{.Tag}}", &named],
                &["image", "rm"],
            ),
        ] {
            for name in self.list(&list).await? {
                let mut words = remove.to_vec();
                words.push(&name);
                self.run(&words).await?;
                found.push(format!("{kind} {name}"));
            }
        }
        Ok(found)
    }
}

/// Runs a script with bash, its temporary files in a directory. Its last words are the error's when
/// it fails.
pub(crate) async fn script(script: &str, directory: &Path, longest: Duration) -> Result<()> {
    let mut command = Command::new("bash");
    command
        .args(["-c", script])
        .current_dir(directory)
        .env("TMPDIR", directory);
    let output = run(&mut command, longest).await?;
    if !output.status.success() {
        bail!("{}", said(&output));
    }
    Ok(())
}

/// Runs a command to its end, whatever that is.
pub(crate) async fn run(command: &mut Command, longest: Duration) -> Result<Output> {
    let name = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(longest, command.output())
        .await
        .with_context(|| format!("{name} took longer than {longest:?}"))?;
    output.with_context(|| format!("cannot run {name}"))
}

/// Returns what a command printed, without the last line's end.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

/// Returns the last words of a command that failed.
pub(crate) fn said(output: &Output) -> String {
    let complaint = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = complaint
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines.iter().rev().take(3).rev().copied();
    last.collect::<Vec<_>>().join("; ")
}
