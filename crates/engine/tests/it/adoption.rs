//! What a restart of the control plane finds, and what is found when supervisors are killed.

use std::fs;
use std::time::Duration;

use towpath_model::observation::{ArtifactState, InstanceState};
use towpath_model::port::Engine as _;

use crate::support::{
    PATIENCE, RELEASE, World, eventually, is_alive, kill, pid_in, processes_with, run_file, spec,
};

#[tokio::test]
async fn an_instance_that_runs_is_adopted_as_it_was() {
    let world = World::new().await;
    let id = world.start(1, "echo pid=$$; exec sleep 1000").await;
    let address = world.until_running(&id).await;
    let before = world.state(&id).await;
    let pid = world.value("pid").await.parse().unwrap();
    let world = world.reopen();
    assert_eq!(world.state(&id).await, before);
    assert_eq!(world.until_running(&id).await, address);
    assert!(is_alive(pid));
    world.start(1, "echo second").await;
    assert_eq!(processes_with(world.directory.path()).len(), 1);
    world.stop(&id, PATIENCE).await;
    assert_eq!(world.until_exited(&id).await.signal, Some(15));
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn an_end_without_a_control_plane_is_known_to_the_next_one() {
    let world = World::new().await;
    let id = world
        .start(
            1,
            "echo pid=$$; while [ ! -e end ]; do sleep 0.01; done; exit 4",
        )
        .await;
    world.value("pid").await;
    let end = world
        .data()
        .environment(&world.environment)
        .join("releases/1/tree/end");
    let exit_file = world.instance_directory(&id).join("exit.json");
    let World {
        engine,
        directory,
        environment,
    } = world;
    drop(engine);
    fs::write(end, "").unwrap();
    eventually("it does not end", || exit_file.exists()).await;
    let engine = crate::support::open(directory.path());
    let world = World {
        engine,
        directory,
        environment,
    };
    let Some(InstanceState::Exited(exit)) = world.state(&id).await else {
        panic!("its end is not known");
    };
    assert_eq!(exit.code, Some(4));
    assert!(exit.log_tail.iter().any(|line| line.starts_with("pid=")));
}

#[tokio::test]
async fn killing_the_supervisor_ends_the_instance_and_all_that_it_started() {
    for adopted in [false, true] {
        let mut world = World::new().await;
        let id = world
            .start(1, "(sleep 1000 & echo child=$!; wait) & echo pid=$$; wait")
            .await;
        let pid = world.value("pid").await.parse().unwrap();
        let child = world.value("child").await.parse().unwrap();
        if adopted {
            world = world.reopen();
        }
        kill(pid_in(
            &run_file(&world.instance_directory(&id)),
            "supervisor",
        ));
        let exit = world.until_exited(&id).await;
        assert_eq!((exit.code, exit.signal, exit.error), (None, None, None));
        assert!(!is_alive(pid) && !is_alive(child), "adopted: {adopted}");
    }
}

#[tokio::test]
async fn what_a_killed_supervisor_left_is_ended_by_the_next_control_plane() {
    let world = World::new().await;
    let id = world.start(1, "sleep 1000 & echo child=$!; wait").await;
    let child = world.value("child").await.parse().unwrap();
    let supervisor = pid_in(&run_file(&world.instance_directory(&id)), "supervisor");
    let World {
        engine,
        directory,
        environment,
    } = world;
    drop(engine);
    kill(supervisor);
    eventually("it is not killed", || !is_alive(supervisor)).await;
    assert!(is_alive(child));
    let engine = crate::support::open(directory.path());
    let world = World {
        engine,
        directory,
        environment,
    };
    world.until_exited(&id).await;
    assert!(!is_alive(child));
}

#[tokio::test]
async fn a_stop_goes_on_over_a_restart() {
    let world = World::new().await;
    let id = world
        .start(1, "trap '' TERM; echo ready; while :; do sleep 0.05; done")
        .await;
    world.line(|line| line == "ready").await;
    world.stop(&id, Duration::from_millis(500)).await;
    let world = world.reopen();
    assert_eq!(world.state(&id).await, Some(InstanceState::Stopping));
    assert_eq!(world.until_exited(&id).await.signal, Some(9));
}

#[tokio::test]
async fn a_start_that_was_only_written_down_is_forgotten_and_can_be_asked_for_again() {
    let world = World::new().await;
    let id = world.start(1, "exit 1").await;
    world.until_exited(&id).await;
    let directory = world.instance_directory(&id);
    for file in ["run.json", "exit.json"] {
        fs::remove_file(directory.join(file)).unwrap();
    }
    let world = world.reopen();
    assert_eq!(world.state(&id).await, None);
    world.start(1, "exit 2").await;
    assert_eq!(world.until_exited(&id).await.code, Some(2));
}

#[tokio::test]
async fn a_supervisor_that_comes_too_late_starts_nothing() {
    let world = World::new().await;
    let id = world.start(1, "exec sleep 1000").await;
    world.until_running(&id).await;
    // The same order again in the directory that is claimed: nothing may run twice.
    let directory = world.instance_directory(&id);
    let launch = serde_json::json!({
        "stage": [env!("CARGO_BIN_EXE_towpath-shim")],
        "program": {
            "words": ["touch", "twice"], "shell": false, "environment": {}, "directory": directory,
            "user": null, "rlimits": {}, "cgroup": null,
        },
        "recorded": true, "log": null, "lifeline": false,
    });
    let mut shim = std::process::Command::new(env!("CARGO_BIN_EXE_towpath-shim"))
        .arg("run")
        .current_dir(&directory)
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = shim.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, format!("{launch}\n").as_bytes()).unwrap();
    let output = shim.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("claimed already"));
    assert!(!directory.join("twice").exists());
}

#[tokio::test]
async fn a_process_of_another_boot_with_the_same_number_is_left_alone() {
    let world = World::new().await;
    let id = world.start(1, "exec sleep 1000").await;
    world.until_running(&id).await;
    let path = world.instance_directory(&id).join("run.json");
    let mut run = run_file(&world.instance_directory(&id));
    let supervisor = pid_in(&run, "supervisor");
    let mut stranger = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .unwrap();
    let pid = i32::try_from(stranger.id()).unwrap();
    let World {
        engine,
        directory,
        environment,
    } = world;
    drop(engine);
    kill(supervisor);
    eventually("it is not killed", || !is_alive(supervisor)).await;
    // As after a reboot: somebody else has the number, and its start time by chance.
    run["boot"] = "another boot".into();
    run["supervisor"]["pid"] = pid.into();
    fs::write(path, run.to_string()).unwrap();
    let engine = crate::support::open(directory.path());
    let world = World {
        engine,
        directory,
        environment,
    };
    assert!(matches!(
        world.state(&id).await,
        Some(InstanceState::Exited(_))
    ));
    assert!(is_alive(pid));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn an_instance_that_cannot_be_read_is_set_aside_and_runs_no_more() {
    let world = World::new().await;
    let id = world.start(1, "echo pid=$$; exec sleep 1000").await;
    let pid = world.value("pid").await.parse().unwrap();
    fs::write(world.instance_directory(&id).join("state.json"), "{ broken").unwrap();
    let world = world.reopen();
    assert_eq!(world.state(&id).await, None);
    eventually("it still runs", || !is_alive(pid)).await;
    let aside = world
        .data()
        .environment(&world.environment)
        .join("unreadable")
        .join(id.local());
    assert!(aside.join("state.json").exists());
}

#[tokio::test]
async fn an_interrupted_build_ends_with_the_control_plane_and_begins_on_a_clean_directory() {
    let world = World::without_release();
    let source = world.source(&[("input", "x")]);
    let build = "if [ -e half ]; then exit 9; fi; touch half; sleep 1000";
    world.begin_to_prepare(Some(source.clone()), &[build]).await;
    let half = world
        .data()
        .environment(&world.environment)
        .join("releases/1/tree/half");
    eventually("the build does not begin", || half.exists()).await;
    assert!(!processes_with(world.directory.path()).is_empty());
    let World {
        engine,
        directory,
        environment,
    } = world;
    drop(engine);
    eventually("the build goes on", || {
        processes_with(directory.path()).is_empty()
    })
    .await;
    let engine = crate::support::open(directory.path());
    let world = World {
        engine,
        directory,
        environment,
    };
    let observation = world.engine.observe(&world.environment).await.unwrap();
    assert_eq!(observation.artifacts.get(&RELEASE), None);
    let state = world
        .prepare(Some(source), &["test ! -e half && test -e input"])
        .await;
    assert_eq!(state, ArtifactState::Ready);
}

#[tokio::test]
async fn finished_releases_and_failed_ones_are_known_after_a_restart() {
    let world = World::without_release();
    let failed = world.prepare(None, &["echo why >&2; exit 1"]).await;
    let world = world.reopen();
    let observation = world.engine.observe(&world.environment).await.unwrap();
    assert_eq!(observation.artifacts.get(&RELEASE), Some(&failed));
    assert_eq!(world.prepare(None, &["true"]).await, ArtifactState::Ready);
    let world = world.reopen();
    let id = world.start_spec(1, spec("exit 6")).await;
    assert_eq!(world.until_exited(&id).await.code, Some(6));
}

/// What makes a run of this binary the control plane of the test below.
const ROLE: &str = "plays-the-control-plane";

/// Plays the control plane of the test below: starts an instance and a build, says so, and waits
/// to be killed. Nothing when it is run as a test.
#[tokio::test]
#[ignore = "a part of the next test"]
async fn a_control_plane_to_be_killed() {
    let directory = std::env::current_dir().unwrap();
    if !directory.join(ROLE).exists() {
        return;
    }
    let world = World::at(directory.clone());
    world.prepare(None, &[]).await;
    let id = world.start(1, "echo pid=$$; exec sleep 1000").await;
    world.until_running(&id).await;
    let second = towpath_model::id::ReleaseNumber(2);
    world
        .begin_release(second, None, &["touch begun; sleep 1000"])
        .await;
    let begun = world
        .data()
        .environment(&world.environment)
        .join("releases/2/tree/begun");
    eventually("the build does not begin", || begun.exists()).await;
    fs::write(directory.join("started"), "").unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_control_plane_that_is_killed_leaves_instances_and_no_builds() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(ROLE), "").unwrap();
    let mut control_plane = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "adoption::a_control_plane_to_be_killed",
            "--ignored",
        ])
        .current_dir(directory.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let started = directory.path().join("started");
    eventually("it does not start", || started.exists()).await;
    control_plane.kill().unwrap();
    control_plane.wait().unwrap();

    let world = World::of(directory);
    let id = "shop/dev/web-1".parse().unwrap();
    world.until_running(&id).await;
    let pid: i32 = world.value("pid").await.parse().unwrap();
    assert!(is_alive(pid));
    let alone = || {
        processes_with(world.directory.path())
            .iter()
            .all(|(found, _)| *found == pid)
    };
    eventually("the build goes on", alone).await;
    world.stop(&id, PATIENCE).await;
    assert_eq!(world.until_exited(&id).await.signal, Some(15));
    assert!(!is_alive(pid));
}
