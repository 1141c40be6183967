//! The way back: bad releases, aborts, rollbacks.

use std::sync::Arc;
use std::time::Duration;

use towpath_model::deployment::{Outcome, PauseReason, State};
use towpath_model::id::DeploymentNumber;
use towpath_model::release::Rendering;
use towpath_model::rollout::{Settings, Strategy};

use crate::world::{World, job, service, settings};

const STRATEGIES: [Strategy; 4] = [
    Strategy::Rolling,
    Strategy::BlueGreen,
    Strategy::Canary,
    Strategy::Recreate,
];

fn deployed(version: &str, replicas: u32) -> (World, Arc<Rendering>) {
    let mut world = World::new();
    let first = world.deploy(
        vec![service("web", version, replicas)],
        settings(Strategy::Rolling),
    );
    world.finish(first);
    let rendering = Arc::clone(world.environment.stable_rendering().unwrap());
    (world, rendering)
}

fn serves_only(world: &World, version: &str, replicas: usize) {
    assert_eq!(
        world.weights("web").into_iter().collect::<Vec<_>>(),
        [(version.to_owned(), 10_000)]
    );
    assert_eq!(world.count_running(version), replicas);
    assert_eq!(world.running.len(), replicas);
}

#[test]
fn a_release_that_crashes_at_start_is_rolled_back_whatever_the_strategy() {
    for strategy in STRATEGIES {
        let (mut world, _) = deployed("v1", 2);
        world.crashing.insert("bad".to_owned());
        let second = world.deploy(vec![service("web", "bad", 2)], settings(strategy));
        let deployment = world.finish(second);
        assert_eq!(
            deployment.outcome(),
            Some(Outcome::RolledBack),
            "{strategy:?}"
        );
        let failure = deployment.failure.unwrap();
        assert!(
            failure.reason.contains("`web`: exited with code 1"),
            "{}",
            failure.reason
        );
        assert_eq!(failure.log_tail, ["the last line"]);
        world.settle();
        serves_only(&world, "v1", 2);
        assert!(world.environment.hold.is_some());
    }
}

#[test]
fn a_release_that_is_never_healthy_is_rolled_back_whatever_the_strategy() {
    for strategy in STRATEGIES {
        let (mut world, _) = deployed("v1", 2);
        world.unhealthy.insert("bad".to_owned());
        let second = world.deploy(vec![service("web", "bad", 2)], settings(strategy));
        let deployment = world.finish(second);
        assert_eq!(
            deployment.outcome(),
            Some(Outcome::RolledBack),
            "{strategy:?}"
        );
        assert!(deployment.failure.unwrap().reason.contains("answered 500"));
        world.settle();
        serves_only(&world, "v1", 2);
    }
}

#[test]
fn a_failing_first_release_leaves_nothing_routed() {
    let mut world = World::new();
    world.crashing.insert("bad".to_owned());
    let first = world.deploy(vec![service("web", "bad", 1)], settings(Strategy::Rolling));
    assert_eq!(world.finish(first).outcome(), Some(Outcome::Failed));
    world.settle();
    assert!(world.environment.is_empty());
}

fn baking(strategy: Strategy) -> Settings {
    Settings {
        bake: Duration::from_mins(1),
        ..settings(strategy)
    }
}

#[test]
fn errors_while_baking_roll_back() {
    let (mut world, _) = deployed("v1", 2);
    let second = world.deploy(vec![service("web", "v2", 2)], baking(Strategy::BlueGreen));
    world.run_to(State::Baking);
    world.count("web", "v2", 90, 10);
    let deployment = world.finish(second);
    assert_eq!(deployment.outcome(), Some(Outcome::RolledBack));
    assert!(
        deployment
            .failure
            .unwrap()
            .reason
            .contains("10 of 100 requests failed")
    );
    serves_only(&world, "v1", 2);
}

#[test]
fn a_rollback_while_baking_starts_nothing() {
    let (mut world, first) = deployed("v1", 2);
    let second = world.deploy(vec![service("web", "v2", 2)], baking(Strategy::BlueGreen));
    world.run_to(State::Baking);
    world.deeds.clear();
    assert_eq!(world.environment.rollback_target().unwrap().0, 1);
    let third = world.rollback(1, first);
    world.step();
    world.step();
    assert_eq!(
        world.weights("web").get("v1"),
        Some(&10_000),
        "two steps are enough"
    );
    assert_eq!(world.finish(third).outcome(), Some(Outcome::Succeeded));
    assert_eq!(world.finish(second).outcome(), Some(Outcome::Aborted));
    assert!(
        world.deeds.iter().all(|deed| deed.starts_with("stop")),
        "{:?}",
        world.deeds
    );
    serves_only(&world, "v1", 2);
}

#[test]
fn a_rollback_after_the_end_brings_the_whole_release_back() {
    let (mut world, first) = deployed("v1", 2);
    let second = world.deploy(vec![service("web", "v2", 2)], settings(Strategy::BlueGreen));
    world.finish(second);
    world.settle();
    assert_eq!(world.environment.rollback_target().unwrap().0, 1);
    let third = world.rollback(1, first);
    assert_eq!(world.finish(third).outcome(), Some(Outcome::Succeeded));
    world.settle();
    serves_only(&world, "v1", 2);
}

#[test]
fn an_abort_is_heard_in_every_state() {
    for state in [
        State::Provisioning,
        State::Shifting,
        State::Baking,
        State::Paused,
    ] {
        let (mut world, _) = deployed("v1", 2);
        let second = world.deploy(vec![service("web", "v2", 2)], baking(Strategy::Canary));
        if state == State::Baking {
            world.run_until("baking", |world| {
                world
                    .environment
                    .deployment
                    .as_ref()
                    .is_some_and(|one| one.paused.is_some())
            });
            world.count("web", "v2", 100, 0);
            world.run_until("step 2", |world| {
                world.weights("web").get("v2") == Some(&2_500)
            });
        } else {
            world.run_to(state);
        }
        world.environment.abort("ada", world.now).unwrap();
        assert_eq!(
            world.finish(second).outcome(),
            Some(Outcome::Aborted),
            "{state}"
        );
        world.settle();
        serves_only(&world, "v1", 2);
    }
}

#[test]
fn a_failure_after_an_irreversible_job_waits_for_a_person() {
    let (mut world, _) = deployed("v1", 1);
    world.crashing.insert("bad".to_owned());
    let services = vec![service("web", "bad", 1), job("migrate", "job2", true)];
    let second = world.deploy(services, settings(Strategy::BlueGreen));
    world.run_to(State::Paused);
    let pause = world
        .environment
        .deployment
        .as_ref()
        .unwrap()
        .paused
        .clone()
        .unwrap();
    assert_eq!(pause.reason, PauseReason::Failed);
    assert!(
        pause.detail.contains("`migrate` is irreversible"),
        "{}",
        pause.detail
    );
    assert!(world.environment.resume("ada", world.now).is_err());
    assert_eq!(world.count_running("v1"), 1);
    world.environment.abort("ada", world.now).unwrap();
    assert_eq!(world.finish(second).outcome(), Some(Outcome::Aborted));
}

#[test]
fn a_failing_rollback_leaves_the_traffic_where_it_is_and_holds() {
    let (mut world, first) = deployed("v1", 1);
    let second = world.deploy(vec![service("web", "v2", 1)], settings(Strategy::BlueGreen));
    world.finish(second);
    world.settle();
    world.crashing.insert("v1".to_owned());
    let third = world.rollback(1, first);
    assert_eq!(world.finish(third).outcome(), Some(Outcome::RollbackFailed));
    world.settle();
    serves_only(&world, "v2", 1);
    assert!(world.environment.hold.is_some());
}

#[test]
fn a_way_back_that_the_router_does_not_confirm_ends_and_holds() {
    let (mut world, _) = deployed("v1", 1);
    let second = world.deploy(vec![service("web", "v2", 1)], baking(Strategy::BlueGreen));
    world.run_to(State::Baking);
    world.silent = true;
    world.environment.abort("ada", world.now).unwrap();
    let deployment = world.finish(second);
    assert_eq!(deployment.outcome(), Some(Outcome::RollbackFailed));
    assert!(world.environment.hold.is_some());
    world.silent = false;
    world.settle();
    serves_only(&world, "v1", 1);
}

#[test]
fn taking_down_leaves_nothing() {
    let (mut world, _) = deployed("v1", 2);
    world.environment.take_down("ada", world.now);
    world.settle();
    assert!(world.environment.is_empty());
    assert!(world.running.is_empty());
}

/// A world in which a rollback from release 2 to release 1 waits for the router to confirm the shift.
fn rolling_back_to_v1() -> (World, DeploymentNumber) {
    let mut world = World::new();
    let hasty = Settings {
        start_failures: 1,
        ..settings(Strategy::BlueGreen)
    };
    let first = world.deploy(vec![service("web", "v1", 2)], hasty);
    world.finish(first);
    let rendering = Arc::clone(world.environment.stable_rendering().unwrap());
    let second = world.deploy(vec![service("web", "v2", 2)], settings(Strategy::BlueGreen));
    world.finish(second);
    world.settle();
    world.silent = true;
    let third = world.rollback(1, rendering);
    world.run_to(State::Shifting);
    (world, third)
}

#[test]
fn a_rollback_that_has_the_traffic_does_not_give_it_back() {
    let (mut world, rollback) = rolling_back_to_v1();
    world.kill("web-5");
    assert_eq!(
        world.finish(rollback).outcome(),
        Some(Outcome::RollbackFailed)
    );
    world.silent = false;
    world.settle();
    assert_eq!(world.weights("web").get("v1"), Some(&10_000));
    assert_eq!(world.count_running("v1"), 1);
}

#[test]
fn a_rollback_that_was_paused_and_forgotten_keeps_the_traffic_and_holds() {
    let (mut world, rollback) = rolling_back_to_v1();
    world.environment.pause("ada", world.now).unwrap();
    world.silent = false;
    let deployment = world.environment.deployment.as_ref().unwrap();
    let expiry = deployment.settings.pause_expiry;
    world.now = world.now.checked_add(expiry).unwrap();
    let deployment = world.finish(rollback);
    assert_eq!(deployment.outcome(), Some(Outcome::RollbackFailed));
    let reason = deployment.failure.unwrap().reason;
    assert!(reason.contains("the pause expired"), "{reason}");
    assert!(world.environment.hold.is_some());
    world.settle();
    assert_eq!(world.weights("web").get("v1"), Some(&10_000));
}

#[test]
fn a_rollback_of_which_nobody_is_left_leaves_the_traffic_to_those_who_are() {
    let (mut world, rollback) = rolling_back_to_v1();
    world.kill_all("v1");
    world.step();
    world.silent = false;
    assert_eq!(
        world.finish(rollback).outcome(),
        Some(Outcome::RollbackFailed)
    );
    world.settle();
    serves_only(&world, "v2", 2);
    assert!(world.environment.hold.is_some());
}

#[test]
fn a_rollback_lets_a_release_that_is_recreated_go_its_own_way_back_first() {
    let (mut world, first) = deployed("v1", 1);
    let second = world.deploy(vec![service("web", "v2", 1)], settings(Strategy::BlueGreen));
    world.finish(second);
    world.settle();
    world.hanging.insert("v3".to_owned());
    let third = world.deploy(vec![service("web", "v3", 1)], settings(Strategy::Recreate));
    world.run_until("v3 is started", |world| {
        world.environment.instances.len() == 1 && world.deeds.len() == 5
    });
    let fourth = world.rollback(1, first);
    assert_eq!(world.finish(third).outcome(), Some(Outcome::Aborted));
    assert_eq!(world.weights("web").get("v2"), Some(&10_000));
    assert_eq!(world.finish(fourth).outcome(), Some(Outcome::Succeeded));
    world.settle();
    serves_only(&world, "v1", 1);
}

#[test]
fn the_trail_of_a_way_back_names_each_state_once() {
    let (mut world, _) = deployed("v1", 1);
    let second = world.deploy(vec![service("web", "v2", 1)], baking(Strategy::BlueGreen));
    world.run_to(State::Baking);
    world.events.clear();
    world.environment.abort("ada", world.now).unwrap();
    world.finish(second);
    let states: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| event.from.as_deref().zip(event.to.as_deref()))
        .collect();
    assert_eq!(states, [("rolling back", "aborted")]);
    let moves: Vec<_> = world
        .events
        .iter()
        .filter(|event| event.what == "deployment.moved")
        .filter_map(|event| event.reason.as_deref())
        .collect();
    assert_eq!(
        moves,
        [
            "all traffic goes to the stable release",
            "the traffic went back; what failed is stopped"
        ]
    );
}
