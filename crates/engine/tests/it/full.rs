//! A disk that is full, and a data directory that cannot be used. A small file system is mounted
//! where the machine allows it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use towpath_engine::process::{ProcessConfig, ProcessEngine};
use towpath_model::observation::ArtifactState;
use towpath_model::port::{DataDirectory, Engine as _, PortError};

use crate::support::{RealClock, World, spec};

/// A file system of one megabyte, gone with the test.
struct Disk(tempfile::TempDir);

impl Disk {
    /// Mounts it; `None` where that is not allowed.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = run(
            "mount",
            &["-t", "tmpfs", "-o", "size=1m", "towpath"],
            directory.path(),
        );
        mounted.then_some(Self(directory))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l"], self.0.path());
    }
}

fn run(program: &str, arguments: &[&str], directory: &Path) -> bool {
    Command::new(program)
        .args(arguments)
        .arg(directory)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Takes all the room that is left.
fn fill(path: &Path) {
    for bytes in [4_096, 1] {
        while fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, &vec![1; bytes]))
            .is_ok()
        {}
    }
}

#[tokio::test]
async fn on_a_full_disk_nothing_starts_everything_stops_and_work_goes_on_when_there_is_room() {
    let Some(disk) = Disk::mount() else {
        eprintln!("skipped: mounting a file system is not allowed here");
        return;
    };
    let world = World::at(disk.0.path().to_owned());
    world.prepare(None, &[]).await;
    let running = world
        .start(1, "echo ready; while :; do echo more; sleep 0.01; done")
        .await;
    world.line(|line| line == "ready").await;
    let filler = disk.0.path().join("filler");
    fill(&filler);

    let order = world.order(2, spec("exit"));
    let started = world.engine.start(&order, &BTreeMap::new()).await;
    let Err(PortError::Failed { reason, .. }) = started else {
        panic!("{started:?}")
    };
    assert!(reason.contains("No space left"), "{reason}");
    assert_eq!(world.state(&order.id).await, None);

    let second = towpath_model::id::ReleaseNumber(2);
    world
        .begin_release(second, None, &["head -c 5000 /dev/zero > x"])
        .await;
    let state = world
        .until(|observation| {
            let state = observation.artifacts.get(&second)?;
            (*state != ArtifactState::Building).then(|| state.clone())
        })
        .await;
    assert!(matches!(state, ArtifactState::Failed { .. }), "{state:?}");

    world.stop(&running, Duration::from_secs(1)).await;
    world.until_exited(&running).await;

    fs::remove_file(filler).unwrap();
    world.engine.remove(&running).await.unwrap();
    world.start(2, "exit 3").await;
    assert_eq!(world.until_exited(&order.id).await.code, Some(3));
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let config = ProcessConfig::new("/no/such/shim".into(), Vec::new());
    let data = DataDirectory(file.join("data"));
    let error = ProcessEngine::open(&data, Arc::new(RealClock), config).unwrap_err();
    assert!(
        error.to_string().contains(&*data.0.to_string_lossy()),
        "{error}"
    );
}

#[tokio::test]
async fn a_supervisor_that_cannot_be_started_is_the_reason_of_an_end() {
    let world = World::new().await;
    let id = world.order(1, spec("exit")).id;
    let World {
        engine,
        directory,
        environment,
    } = world;
    drop(engine);
    let config = ProcessConfig::new("/no/such/shim".into(), Vec::new());
    let data = DataDirectory(directory.path().to_owned());
    let engine = Arc::new(ProcessEngine::open(&data, Arc::new(RealClock), config).unwrap());
    let world = World {
        engine,
        directory,
        environment,
    };
    world.start(1, "exit").await;
    let error = world.until_exited(&id).await.error.unwrap();
    assert!(
        error.starts_with("cannot start the supervisor: No such file"),
        "{error}"
    );
}
