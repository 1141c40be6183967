//! Git as a developer has it, whatever is configured on the machine. Not what is done with it.

use std::path::Path;

use tokio::process::Command;

use crate::site::{Answer, LONGEST};

/// Runs Git in a directory, to its end.
pub(crate) async fn git(directory: &Path, arguments: &[&str]) -> Answer {
    let mut command = Command::new("git");
    command
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"])
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env_remove("GIT_SSL_CAINFO")
        .kill_on_drop(true);
    let output = tokio::time::timeout(LONGEST * 2, command.output()).await;
    let output = output.expect("Git ends in time").unwrap();
    Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Commits all of a directory. Returns the commit.
pub(crate) async fn commit(directory: &Path, message: &str) -> String {
    for arguments in [&["add", "--all"][..], &["commit", "--quiet", "-m", message]] {
        git(directory, arguments).await.exited(0);
    }
    let head = git(directory, &["rev-parse", "HEAD"]).await.exited(0);
    head.stdout.trim().to_owned()
}
