//! `towpath demo` from the outside. Not its acts, which it judges by itself.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::machine::{self, Process};
use crate::site::PROGRAM;

/// The longest that the story may take, on a machine that is busy with other tests.
const LONGEST: Duration = Duration::from_mins(8);

#[tokio::test]
async fn the_demo_ends_well_loses_nothing_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let story = Command::new(PROGRAM)
        .args(["demo", "--json"])
        .env("TMPDIR", directory.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let told = tokio::time::timeout(LONGEST, story).await;
    let left = machine::belonging_to(directory.path());
    left.iter().for_each(Process::kill);
    let told = told.expect("it ends in time").unwrap();
    let text = String::from_utf8_lossy(&told.stdout);
    let complaint = String::from_utf8_lossy(&told.stderr);
    let report: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{complaint}"));
    let acts = report["acts"].as_array().unwrap();
    assert!(acts.len() >= 14, "{report:#}");
    for act in acts {
        assert_eq!(act["as_it_should"], true, "{act:#}");
        assert_eq!(act["failed"], 0, "{act:#}");
    }
    assert_eq!(told.status.code(), Some(0), "{report:#}\n{complaint}");
    let left: Vec<String> = left.iter().map(Process::words).collect();
    assert!(left.is_empty(), "{left:#?}");
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert!(files.is_empty(), "{files:#?}");
}

#[tokio::test]
async fn a_demo_without_a_docker_engine_says_so_before_it_begins() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = format!("unix://{}/docker.sock", directory.path().display());
    let told = Command::new(PROGRAM)
        .args(["demo", "--engine", "docker"])
        .env("TMPDIR", directory.path())
        .env("DOCKER_HOST", nowhere)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let complaint = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(3), "{complaint}");
    assert!(complaint.contains("hint: install Docker"), "{complaint}");
    assert!(told.stdout.is_empty(), "nothing was told");
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert!(files.is_empty(), "{files:#?}");
}
