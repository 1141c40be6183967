//! That nothing outlives its environment, however hard it tries.

use std::time::Duration;

use tokio::time::Instant;

use crate::machine::{self, Process};
use crate::site::{LONGEST, Site};

const COMPOSE: &str = "
services:
  stubborn:
    image: none
    stop_grace_period: 1s
  calm:
    image: none
    volumes: [data:/data]
volumes:
  data: {}
";

/// Ignores every polite signal, and has a child that does, a grandchild in another session, and one
/// that hides its environment too. Each has a word of its own among its arguments.
const STUBBORN: &str = "
trap '' TERM HUP INT
stay='trap \"\" TERM HUP INT; while :; do sleep 0.2; done'
sh -c \"$stay\" child ROOT/child &
(setsid sh -c \"$stay\" grandchild ROOT/grandchild &)
(cd / && setsid env -i /bin/sh -c \"$stay\" hidden ROOT/hidden &)
while :; do sleep 0.2; done
";

/// What stays when an environment is gone.
fn is_ours(process: &Process) -> bool {
    process.has_role("serve") || process.has_role("router")
}

fn site() -> Site {
    let site = Site::new();
    let root = site.root().to_str().unwrap().to_owned();
    site.write("compose.yaml", COMPOSE);
    site.write("stubborn.sh", &STUBBORN.replace("ROOT", &root));
    let file = format!(
        "app: orphans\nservices:\n  stubborn:\n    process: {{ command: \"exec sh {root}/app/stubborn.sh\" }}\n    \
         health: {{ none: true }}\n  calm:\n    process: {{ command: \"exec sleep 1000000\" }}\n    health: {{ none: true }}\n"
    );
    site.write("towpath.yaml", &file);
    site
}

async fn up(site: &Site) {
    site.run(&["up", "--env", "dev", "--json"]).await.exited(0);
    let deadline = Instant::now() + LONGEST;
    for name in ["child", "grandchild", "hidden"] {
        let word = site.root().join(name);
        while machine::with_argument(word.to_str().unwrap()).is_empty() {
            assert!(
                Instant::now() < deadline,
                "there is no {name}: {}",
                site.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn programs_heed_signals_that_whoever_started_the_control_plane_ignores() {
    let site = Site::new();
    let compose = "services: { web: { image: none, stop_signal: SIGINT } }\n";
    site.write("compose.yaml", compose);
    let root = site.root().to_str().unwrap().to_owned();
    let command = format!("grep SigIgn /proc/self/status > {root}/ignored; exec sleep 1000000");
    site.write(
        "towpath.yaml",
        &format!(
            "app: orphans\nservices:\n  web:\n    process: {{ command: \"{command}\" }}\n    \
             health: {{ none: true }}\n"
        ),
    );
    // It starts the control plane, which inherits what it ignores.
    site.run_in_background(&["up", "--env", "dev"])
        .await
        .exited(0);
    let text = std::fs::read_to_string(site.root().join("ignored")).unwrap();
    let mask = text.trim_start_matches("SigIgn:").trim();
    let mask = u64::from_str_radix(mask, 16).unwrap();
    for signal in [1, 2, 3] {
        assert_eq!(
            mask >> (signal - 1) & 1,
            0,
            "signal {signal} is ignored: {text}"
        );
    }
    site.run(&["stop", "--all"]).await.exited(0);
}

/// Refuses processes that are left now: the command that ends them has returned.
fn assert_nothing_left(site: &Site) {
    let left: Vec<String> = site
        .processes()
        .iter()
        .filter(|process| !is_ours(process))
        .map(Process::words)
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[tokio::test]
async fn down_leaves_no_process_behind() {
    let mut site = site();
    site.serve().await;
    up(&site).await;
    site.run(&["down", "dev"]).await.exited(0);
    assert_nothing_left(&site);

    // The same of instances that were adopted.
    up(&site).await;
    site.kill_control_plane().await;
    site.serve().await;
    site.run(&["down", "dev"]).await.exited(0);
    assert_nothing_left(&site);

    site.stop_control_plane().await;
    site.wait_until_left(|process| process.has_role("router"))
        .await;
}

#[tokio::test]
async fn an_environment_that_is_removed_leaves_no_process_and_no_data_behind() {
    let mut site = site();
    site.serve().await;
    up(&site).await;
    assert!(has_directory_of(&site, "dev"), "nothing is kept of it");
    site.run(&["env", "rm", "dev", "--volumes", "--yes"])
        .await
        .exited(0);
    assert_nothing_left(&site);
    assert!(!has_directory_of(&site, "dev"), "its directory is left");
    site.run(&["status", "dev"]).await.exited(3);
}

#[tokio::test]
async fn a_killed_supervisor_leaves_no_process_behind() {
    let mut site = site();
    site.serve().await;
    up(&site).await;
    let supervisors = || -> Vec<Process> {
        let all = site.processes().into_iter();
        all.filter(|process| process.has_role("__shim")).collect()
    };
    let before = supervisors();
    assert_eq!(before.len(), 2, "{before:#?}");
    let hidden = site.root().join("hidden");
    let hidden = hidden.to_str().unwrap();
    // Only this one cannot be found then: it hides its environment, and left the session.
    machine::with_argument(hidden)
        .iter()
        .for_each(Process::kill);
    let old: Vec<Process> = ["child", "grandchild"]
        .iter()
        .flat_map(|name| machine::with_argument(site.root().join(name).to_str().unwrap()))
        .collect();
    before.iter().for_each(Process::kill);
    let deadline = Instant::now() + LONGEST;
    while old.iter().any(|process| site.processes().contains(process)) {
        assert!(
            Instant::now() < deadline,
            "left behind: {old:#?}\n{}",
            site.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    up(&site).await;
    site.run(&["down", "dev"]).await.exited(0);
    assert_nothing_left(&site);
}

/// Tells whether a directory of this name is anywhere in the data directory.
fn has_directory_of(site: &Site, name: &str) -> bool {
    let mut waiting = vec![site.home()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name() == name {
                return true;
            }
            waiting.push(entry.path());
        }
    }
    false
}
