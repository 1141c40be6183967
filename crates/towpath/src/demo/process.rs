//! Processes of this machine as `/proc` shows them: whose they are, what memory they have. Not how
//! they are started.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A process that belongs to the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id.
    pub(crate) id: i32,
    /// Its arguments, the program first.
    pub(crate) arguments: Vec<String>,
    /// The environment of the app that it is an instance in.
    environment: Option<String>,
}

impl Process {
    /// Tells whether it was started in this role of the program (`serve`, `router`).
    pub(crate) fn has_role(&self, role: &str) -> bool {
        self.arguments
            .get(1)
            .is_some_and(|argument| argument == role)
    }

    /// Tells whether it is an instance in this environment.
    pub(crate) fn is_of(&self, environment: &str) -> bool {
        self.environment.as_deref() == Some(environment)
    }

    /// Sends it a signal. One that is gone is no error.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let Some(id) = Pid::from_raw(self.id) else {
            return Ok(());
        };
        match kill_process(id, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot signal process {}", self.id)),
        }
    }

    /// Returns its resident memory in bytes; nothing when it is gone.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id));
        let kibibytes = status.ok().and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        });
        kibibytes.unwrap_or(0) * 1024
    }
}

/// Returns every living process whose arguments or environment name `directory`, but this one.
pub(crate) fn belonging_to(directory: &Path) -> Result<Vec<Process>> {
    let needle = directory.as_os_str().as_encoded_bytes();
    let own = i64::from(std::process::id());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("cannot read /proc")? {
        let entry = entry.context("cannot read /proc")?;
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        // A process may end at any moment: what cannot be read is not there.
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let ours = contains(&arguments, needle) || contains(&environment, needle);
        if ours && i64::from(id) != own && !arguments.is_empty() {
            let environment = split(&environment).iter().find_map(|variable| {
                variable
                    .strip_prefix("TOWPATH_ENVIRONMENT=")
                    .map(str::to_owned)
            });
            found.push(Process {
                id,
                arguments: split(&arguments),
                environment,
            });
        }
    }
    Ok(found)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

fn split(arguments: &[u8]) -> Vec<String> {
    arguments
        .split(|byte| *byte == 0)
        .filter(|argument| !argument.is_empty())
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

/// Waits until nothing belongs to `directory` any more, `longest` at the most. Returns what still
/// does.
pub(crate) async fn wait_for_none(directory: &Path, longest: Duration) -> Result<Vec<Process>> {
    let deadline = tokio::time::Instant::now() + longest;
    loop {
        let left = belonging_to(directory)?;
        if left.is_empty() || tokio::time::Instant::now() >= deadline {
            return Ok(left);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
