//! A process that commits is killed with SIGKILL: what it was told is committed is there.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use towpath_store::{MasterKey, Store};

use crate::support::{Directory, event, production};

/// In a working directory with this file, the test is the other process.
const MARKER: &str = "commit-until-killed";

/// The other process: commits as fast as it can to the store in its working directory, and prints
/// each version that was acknowledged.
#[expect(clippy::print_stdout, reason = "its output is what the test reads")]
async fn commit_until_killed() {
    let here = Path::new(".");
    let store = Store::open(here, MasterKey::from_directory(here).unwrap())
        .await
        .unwrap();
    let loaded = store.load_environment(&production()).await.unwrap();
    let mut version = loaded.unwrap().version;
    loop {
        let document = json!({"version": version + 1, "padding": "x".repeat(20_000)});
        version = store
            .commit_environment(&production(), version, &document, &[], &[event("tick")])
            .await
            .unwrap();
        println!("committed {version}");
    }
}

fn start_other(directory: &Directory) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "killed::kill_9_loses_nothing_that_was_acknowledged",
        ])
        .arg("--nocapture")
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for so many acknowledgements, kills the process, and returns the last acknowledgement
/// that it wrote.
fn kill_after(mut other: Child, commits: usize) -> u64 {
    let output = BufReader::new(other.stdout.take().unwrap());
    let mut last = 0;
    let mut seen = 0;
    for line in output.lines() {
        let line = line.unwrap();
        if let Some(version) = line.strip_prefix("committed ") {
            last = version.parse().unwrap();
            seen += 1;
            if seen == commits {
                other.kill().unwrap();
            }
        }
    }
    other.wait().unwrap();
    assert!(seen >= commits, "the other process ended by itself");
    last
}

#[tokio::test]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    if Path::new(MARKER).exists() {
        commit_until_killed().await;
    }
    let directory = Directory::new();
    fs::write(directory.path().join(MARKER), b"").unwrap();
    directory.with_shop().await.close().await;
    for round in 1..=8 {
        let acknowledged = kill_after(start_other(&directory), round * 7);
        let store = directory.open().await;
        let loaded = store.load_environment(&production()).await.unwrap();
        let loaded = loaded.unwrap();
        // One more may have been committed that it could not say any more.
        assert!((acknowledged..=acknowledged + 1).contains(&loaded.version));
        assert_eq!(loaded.document.get("version"), Some(&json!(loaded.version)));
        let verification = store.verify_events().await.unwrap();
        // The app's registration, and one event for each commit after the first version.
        assert_eq!(
            (verification.count, verification.first_bad),
            (loaded.version, None)
        );
    }
}
