//! The life of an instance: start, observe, stop, remove.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_model::observation::InstanceState;
use towpath_model::port::{Engine as _, PortError, Stop};
use towpath_model::workload::Command;

use crate::support::{PATIENCE, World, eventually, is_alive, processes_with, spec};

#[tokio::test]
async fn an_instance_runs_until_it_is_stopped() {
    let world = World::new().await;
    let id = world.start(1, "echo pid=$$; exec sleep 1000").await;
    world.until_running(&id).await;
    let pid = world.value("pid").await.parse().unwrap();
    assert!(is_alive(pid));
    world.stop(&id, PATIENCE).await;
    let exit = world.until_exited(&id).await;
    assert_eq!((exit.code, exit.signal, exit.error), (None, Some(15), None));
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn the_end_of_an_instance_has_its_exit_code_and_last_lines() {
    let world = World::new().await;
    let id = world.start(1, "echo one; echo two >&2; exit 3").await;
    let exit = world.until_exited(&id).await;
    assert_eq!(exit.code, Some(3));
    let mut tail = exit.log_tail;
    tail.sort();
    assert_eq!(tail, ["one", "two"]);
}

#[tokio::test]
async fn what_ignores_the_signal_is_killed_after_the_grace_period() {
    let world = World::new().await;
    let id = world
        .start(1, "trap '' TERM; echo pid=$$; while :; do sleep 0.1; done")
        .await;
    world.value("pid").await;
    let asked = tokio::time::Instant::now();
    world.stop(&id, Duration::from_millis(400)).await;
    assert_eq!(world.state(&id).await, Some(InstanceState::Stopping));
    let exit = world.until_exited(&id).await;
    assert_eq!(exit.signal, Some(9));
    assert!(asked.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn a_program_that_handles_the_signal_has_its_own_exit_code() {
    let world = World::new().await;
    let mut spec = spec("");
    let script = "trap 'echo bye; exit 7' USR1; echo pid=$$; while :; do sleep 0.05; done";
    spec.command = Command::Exec(["sh", "-c", script].map(str::to_owned).into());
    let id = world.start_spec(1, spec).await;
    world.value("pid").await;
    let stop = Stop {
        signal: "SIGUSR1".to_owned(),
        grace: PATIENCE,
    };
    world.engine.stop(&id, &stop).await.unwrap();
    let exit = world.until_exited(&id).await;
    assert_eq!(
        (exit.code, exit.log_tail.last().map(String::as_str)),
        (Some(7), Some("bye"))
    );
}

#[tokio::test]
async fn all_that_an_instance_started_ends_with_it() {
    let world = World::new().await;
    // A child that is in a session of its own, without the variables, whose parent is gone.
    let line = "(setsid env -i sh -c 'echo stray=$$; exec sleep 1000' &) ; sleep 1000 & echo child=$!; wait";
    let id = world.start(1, line).await;
    let stray = world.value("stray").await.parse().unwrap();
    let child = world.value("child").await.parse().unwrap();
    world.stop(&id, Duration::ZERO).await;
    world.until_exited(&id).await;
    assert!(!is_alive(stray) && !is_alive(child));
}

#[tokio::test]
async fn what_a_program_leaves_behind_when_it_ends_by_itself_is_killed() {
    let world = World::new().await;
    let id = world.start(1, "sleep 1000 & echo child=$!; exit 0").await;
    let child = world.value("child").await.parse().unwrap();
    assert_eq!(world.until_exited(&id).await.code, Some(0));
    assert!(!is_alive(child));
}

#[tokio::test]
async fn one_id_is_one_process_until_it_is_removed() {
    let world = World::new().await;
    let id = world.start(1, "echo started; exec sleep 1000").await;
    world.line(|text| text == "started").await;
    world.start(1, "echo started; exec sleep 1000").await;
    assert_eq!(processes_with(world.directory.path()).len(), 1);
    world.stop(&id, PATIENCE).await;
    world.until_exited(&id).await;
    world.start(1, "echo started; exec sleep 1000").await;
    assert!(matches!(
        world.state(&id).await,
        Some(InstanceState::Exited(_))
    ));
    world.engine.remove(&id).await.unwrap();
    assert_eq!(world.state(&id).await, None);
    world.start(1, "exit 5").await;
    assert_eq!(world.until_exited(&id).await.code, Some(5));
}

#[tokio::test]
async fn a_running_instance_is_not_removed_nor_its_environment_destroyed() {
    let world = World::new().await;
    let id = world.start(1, "exec sleep 1000").await;
    world.until_running(&id).await;
    let removed = world.engine.remove(&id).await;
    assert!(matches!(removed, Err(PortError::Refused(reason)) if reason.contains("still runs")));
    let keep = towpath_model::port::Volumes::Keep;
    let destroyed = world.engine.destroy(&world.environment, keep).await;
    assert!(matches!(destroyed, Err(PortError::Refused(reason)) if reason.contains("still runs")));
}

#[tokio::test]
async fn what_cannot_be_started_has_ended_with_the_reason() {
    let world = World::new().await;
    let mut wrong = spec("");
    wrong.command = Command::Exec(vec!["/no/such/program".to_owned()]);
    let id = world.start_spec(1, wrong).await;
    let exit = world.until_exited(&id).await;
    assert_eq!(
        exit.error.as_deref(),
        Some("cannot run `/no/such/program`: no such file")
    );
    let mut wrong = spec("exit");
    wrong.working_directory = Some("nowhere".to_owned());
    let id = world.start_spec(2, wrong).await;
    let exit = world.until_exited(&id).await;
    assert!(exit.error.unwrap().contains("nowhere: no such file"));
    let mut wrong = spec("exit");
    wrong.user = Some("nobody-has-this-name".to_owned());
    let id = world.start_spec(3, wrong).await;
    let exit = world.until_exited(&id).await;
    assert!(
        exit.error
            .unwrap()
            .contains("no user `nobody-has-this-name`")
    );
}

#[tokio::test]
async fn an_instance_is_not_started_before_its_artifacts_are_ready() {
    let world = World::without_release();
    let start = world.order(1, spec("exit"));
    let started = world.engine.start(&start, &BTreeMap::new()).await;
    assert!(
        matches!(started, Err(PortError::Failed { reason, .. }) if reason.contains("not ready"))
    );
    assert_eq!(world.state(&start.id).await, None);
}

#[tokio::test]
async fn a_stop_that_comes_right_after_the_start_is_not_lost() {
    let world = World::new().await;
    for number in 1..=20 {
        let id = world.start(number, "exec sleep 1000").await;
        world.stop(&id, PATIENCE).await;
        world.until_exited(&id).await;
    }
    eventually("a process is left", || {
        processes_with(world.directory.path()).is_empty()
    })
    .await;
}
