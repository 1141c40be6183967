//! What another hand than ours does to a container: told from what it does itself, and from what we ask
//! for. Not what follows from it.

use bollard::models::ContainerUpdateBody;
use bollard::query_parameters::{
    KillContainerOptionsBuilder, RestartContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use towpath_model::id::InstanceId;
use towpath_model::observation::{ChangedLimits, InstanceState};
use towpath_model::port::EngineObservation;

use super::support::{World, spec};

/// It runs until it is asked to stop, and takes other signals.
const SERVES: &str = "trap 'exit 0' TERM; trap : HUP; while :; do sleep 0.05; done";

/// It ends by itself some time after a signal.
const ENDS: &str = "trap 'sleep 1; exit 3' HUP; while :; do sleep 0.05; done";

async fn running(number: u32, line: &str) -> (World, InstanceId) {
    let world = World::new().await;
    let id = world.start(number, spec(line)).await;
    world.until_running(&id).await;
    (world, id)
}

async fn signal(world: &World, id: &InstanceId, signal: &str) {
    let options = KillContainerOptionsBuilder::default().signal(signal);
    let name = world.container(id);
    let sent = world.docker.kill_container(&name, Some(options.build()));
    sent.await.unwrap();
}

#[tokio::test]
async fn a_container_that_is_stopped_or_killed_by_hand_is_told_from_an_end() {
    let (world, id) = running(1, SERVES).await;
    let options = StopContainerOptionsBuilder::default().t(5).build();
    let name = world.container(&id);
    world
        .docker
        .stop_container(&name, Some(options))
        .await
        .unwrap();
    let exit = world.until_exited(&id).await;
    assert!(exit.is_by_hand && exit.is_success(), "{exit:?}");
    assert_eq!(exit.note.as_deref(), Some("stopped by another hand"));

    let second = world.start(2, spec(SERVES)).await;
    world.until_running(&second).await;
    signal(&world, &second, "SIGKILL").await;
    let exit = world.until_exited(&second).await;
    assert!(exit.is_by_hand && !exit.was_removed(), "{exit:?}");
}

#[tokio::test]
async fn what_ends_by_itself_or_because_we_ask_is_no_others_doing() {
    let (world, id) = running(1, ENDS).await;
    signal(&world, &id, "SIGHUP").await;
    let exit = world.until_exited(&id).await;
    assert_eq!((exit.code, exit.is_by_hand), (Some(3), false), "{exit:?}");

    let second = world.start(2, spec(SERVES)).await;
    world.until_running(&second).await;
    let exit = world.stop(&second).await;
    assert!(!exit.is_by_hand, "{exit:?}");
}

#[tokio::test]
async fn one_that_is_restarted_by_hand_runs_on() {
    let (world, id) = running(1, SERVES).await;
    let Some(InstanceState::Running { since, .. }) = world.state(&id).await else {
        panic!("it does not run");
    };
    let options = RestartContainerOptionsBuilder::default().t(5).build();
    let name = world.container(&id);
    let restarted = world.docker.restart_container(&name, Some(options));
    restarted.await.unwrap();
    let later = world.until(|seen| match seen.instances.first()?.state {
        InstanceState::Running { since: later, .. } => (later != since).then_some(later),
        InstanceState::Starting => None,
        ref other => panic!("{other:?}"),
    });
    assert!(later.await > since);
    // What was done to it before is no reason for how it ends now.
    signal(&world, &id, "SIGHUP").await;
    assert!(!world.stop(&id).await.is_by_hand);
}

async fn until_changed(world: &World) -> ChangedLimits {
    world
        .until(|seen| seen.instances.first()?.limits.clone())
        .await
}

#[tokio::test]
async fn limits_that_are_changed_by_hand_are_told_and_put_back() {
    let world = World::new().await;
    let mut spec = spec(SERVES);
    spec.limits.memory_bytes = Some(128 << 20);
    spec.limits.pids = Some(100);
    let id = world.start(1, spec).await;
    world.until_running(&id).await;
    let name = world.container(&id);
    let update = ContainerUpdateBody {
        memory: Some(64 << 20),
        pids_limit: Some(50),
        ..ContainerUpdateBody::default()
    };
    world
        .docker
        .update_container(&name, update.clone())
        .await
        .unwrap();
    let found = until_changed(&world).await;
    let wanted = "memory: 64 MiB instead of 128 MiB, processes: 50 instead of 100";
    assert_eq!((found.found.as_str(), found.is_put_back), (wanted, true));
    let as_it_was =
        |seen: &EngineObservation| seen.instances.first()?.limits.is_none().then_some(());
    world.until(as_it_was).await;
    let host = world.docker.inspect_container(&name, None).await.unwrap();
    let host = host.host_config.unwrap();
    assert_eq!((host.memory, host.pids_limit), (Some(128 << 20), Some(100)));

    // Also what is changed while nobody looks.
    let docker = world.docker.clone();
    let (engine, world) = (std::sync::Arc::downgrade(&world.engine), world.reopen());
    assert!(engine.upgrade().is_none(), "the one before looks on");
    docker.update_container(&name, update).await.unwrap();
    until_changed(&world).await;
    world.until(as_it_was).await;
}

#[tokio::test]
async fn a_limit_where_there_was_none_is_told_and_left() {
    let (world, id) = running(1, SERVES).await;
    let update = ContainerUpdateBody {
        nano_cpus: Some(500_000_000),
        ..ContainerUpdateBody::default()
    };
    let name = world.container(&id);
    world.docker.update_container(&name, update).await.unwrap();
    let found = until_changed(&world).await;
    let wanted = "CPUs: 0.5 instead of no limit";
    assert_eq!((found.found.as_str(), found.is_put_back), (wanted, false));
}
