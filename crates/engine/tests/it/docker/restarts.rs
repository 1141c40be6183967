//! A Docker Engine that is restarted while instances run and start: one of the test's own, so that
//! no other test meets it. It needs root, as the tests of other users do.

use towpath_model::observation::InstanceState;
use towpath_model::port::Engine as _;
use towpath_testkit::dockerd::Dockerd;

use super::daemon::IMAGE;
use super::support::{FIRST, World, pulled, spec};

const SERVES: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

#[tokio::test]
async fn after_a_restart_of_docker_its_instances_have_ended_and_new_ones_start() {
    let daemon = Dockerd::start(&[]);
    let world = World::at(&daemon.host()).await;
    world.prepare(FIRST, pulled(IMAGE)).await;
    let first = world.start(1, spec(SERVES)).await;
    world.until_running(&first).await;
    daemon.end().await;
    // Nobody knows what runs: that is said, and nothing is taken for ended.
    assert!(world.engine.observe(&world.environment).await.is_err());
    daemon.begin();
    let exit = world.until_exited(&first).await;
    assert_eq!(exit.error, None);
    assert!(!exit.is_by_hand, "Docker took it along: {exit:?}");
    let second = world.start(2, spec(SERVES)).await;
    world.until_running(&second).await;
    world.engine.remove(&first).await.unwrap();
    world.stop(&second).await;
}

#[tokio::test]
async fn a_start_that_a_restart_of_docker_interrupts_is_neither_lost_nor_done_twice() {
    let daemon = Dockerd::start(&[]);
    let world = World::at(&daemon.host()).await;
    world.prepare(FIRST, pulled(IMAGE)).await;
    let id = world.start(1, spec(SERVES)).await;
    daemon.end().await;
    daemon.begin();
    // Wherever it was met: it was forgotten and may be asked for again, it ended, or it runs.
    let state = world
        .until(|observation| {
            let state = crate::support::state_in(observation, &id);
            (!matches!(state, Some(InstanceState::Starting))).then_some(state)
        })
        .await;
    if state.is_none() {
        world.start(1, spec(SERVES)).await;
        world.until_running(&id).await;
    }
    let options = bollard::query_parameters::ListContainersOptionsBuilder::default();
    let containers = world
        .docker
        .list_containers(Some(options.all(true).build()))
        .await
        .unwrap();
    assert_eq!(containers.len(), 1);
}
