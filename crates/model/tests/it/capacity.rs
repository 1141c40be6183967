//! Nobody has traffic without the instances for it, and nobody loses instances while it has traffic.

use std::time::Duration;

use towpath_model::deployment::{Outcome, State};
use towpath_model::id::{ReleaseNumber, ServiceName};
use towpath_model::release::Condition;
use towpath_model::rollout::{Settings, Strategy};

use crate::world::{World, after, service, settings};

fn deployed(replicas: u32) -> World {
    let mut world = World::new();
    let first = world.deploy(
        vec![service("web", "v1", replicas)],
        settings(Strategy::Rolling),
    );
    world.finish(first);
    world
}

fn baking(strategy: Strategy) -> Settings {
    Settings {
        bake: Duration::from_mins(1),
        ..settings(strategy)
    }
}

fn scale(world: &mut World, count: u32) {
    let web: ServiceName = "web".parse().unwrap();
    let at = world.now;
    world.environment.rescale(&web, count, "ada", at).unwrap();
}

/// A world in which release 2 has the traffic and release 1, which cannot start, is still stable.
fn stranded() -> World {
    let mut world = World::new();
    let shop = |web| vec![service("web", web, 2), service("api", web, 2)];
    let first = world.deploy(shop("v1"), settings(Strategy::Rolling));
    world.finish(first);
    let second = world.deploy(shop("v2"), baking(Strategy::BlueGreen));
    world.run_to(State::Baking);
    world.kill_all("v1");
    world.crashing.insert("v1".to_owned());
    world.environment.abort("ada", world.now).unwrap();
    let deployment = world.finish(second);
    assert_eq!(deployment.outcome(), Some(Outcome::RollbackFailed));
    assert_eq!(world.weights("web").get("v2"), Some(&10_000));
    world
}

#[test]
fn a_release_with_fewer_instances_leaves_stable_whole_until_the_traffic_moved() {
    for strategy in [Strategy::Rolling, Strategy::BlueGreen, Strategy::Canary] {
        let mut world = deployed(3);
        world.hanging.insert("v2".to_owned());
        world.deploy(vec![service("web", "v2", 1)], settings(strategy));
        world.run_to(State::Provisioning);
        world.settle();
        assert_eq!(world.count_running("v1"), 3, "{strategy:?}");
    }
}

#[test]
fn the_way_back_from_fewer_instances_brings_all_of_stable_back() {
    let mut world = deployed(3);
    let second = world.deploy(vec![service("web", "v2", 1)], baking(Strategy::BlueGreen));
    world.run_to(State::Baking);
    world.kill_all("v1");
    world.environment.abort("ada", world.now).unwrap();
    assert_eq!(world.finish(second).outcome(), Some(Outcome::Aborted));
    assert_eq!(world.count_running("v1"), 3);
}

#[test]
fn a_candidate_without_artifacts_starts_nothing_though_it_shares_a_workload_that_has_traffic() {
    let mut world = stranded();
    world.building.insert(ReleaseNumber(3));
    let third = world.deploy(
        vec![service("web", "v3", 2), service("api", "v2", 2)],
        settings(Strategy::BlueGreen),
    );
    world.run_to(State::Preparing);
    world.kill_all("v2");
    world.settle();
    world.building.clear();
    assert_eq!(world.finish(third).outcome(), Some(Outcome::Succeeded));
    assert_eq!(
        (world.count_running("v3"), world.count_running("v2")),
        (2, 2)
    );
}

#[test]
fn a_stage_that_gives_stable_traffic_again_waits_for_its_instances() {
    let mut world = deployed(2);
    let second = world.deploy(vec![service("web", "v2", 2)], settings(Strategy::Canary));
    world.run_to(State::Paused);
    world.count("web", "v2", 100, 0);
    world.run_until("a quarter", |world| {
        world.weights("web").get("v2") == Some(&2_500)
    });
    world.kill_all("v1");
    world.crashing.insert("v1".to_owned());
    world.environment.abort("ada", world.now).unwrap();
    let deployment = world.finish(second);
    assert_eq!(deployment.outcome(), Some(Outcome::RollbackFailed));
    world.deploy(vec![service("web", "v3", 2)], settings(Strategy::Canary));
    world.run_until("the candidate runs", |world| world.count_running("v3") == 1);
    world.settle();
    assert_eq!(
        world.weights("web").get("v1"),
        Some(&7_500),
        "the first step would give it 9 500"
    );
}

#[test]
fn recreating_what_has_the_traffic_already_does_not_wait_for_it_to_stop() {
    let mut world = stranded();
    let shop = vec![service("web", "v2", 2), service("api", "v2", 2)];
    let third = world.deploy(shop, settings(Strategy::Recreate));
    assert_eq!(world.finish(third).outcome(), Some(Outcome::Succeeded));
}

#[test]
fn what_was_down_comes_up_whole_without_the_release_before() {
    let mut world = deployed(3);
    world.environment.take_down("ada", world.now);
    world.settle();
    world.deeds.clear();
    let second = world.deploy(vec![service("web", "v2", 3)], settings(Strategy::Rolling));
    assert_eq!(world.finish(second).outcome(), Some(Outcome::Succeeded));
    assert_eq!(world.deeds, ["start web-4", "start web-5", "start web-6"]);
}

#[test]
fn fewer_stages_after_a_scale_down_still_end_with_all_the_traffic() {
    let mut world = deployed(4);
    let second = world.deploy(vec![service("web", "v2", 4)], settings(Strategy::Rolling));
    world.run_until("a quarter", |world| {
        world.weights("web").get("v2") == Some(&2_500)
    });
    scale(&mut world, 1);
    assert_eq!(world.finish(second).outcome(), Some(Outcome::Succeeded));
    world.settle();
    assert_eq!(world.weights("web").get("v2"), Some(&10_000));
    assert_eq!(
        (world.count_running("v1"), world.count_running("v2")),
        (0, 1)
    );
}

#[test]
fn a_scale_down_in_the_middle_leaves_stable_what_its_share_needs() {
    let mut world = deployed(4);
    world.deploy(vec![service("web", "v2", 4)], settings(Strategy::Rolling));
    world.run_until("a quarter", |world| {
        world.weights("web").get("v2") == Some(&2_500)
    });
    world.hanging.insert("v2".to_owned());
    world.run_to(State::Provisioning);
    scale(&mut world, 3);
    world.settle();
    assert_eq!(world.weights("web").get("v1"), Some(&7_500));
    assert_eq!(world.count_running("v1"), 3);
}

#[test]
fn nobody_waits_for_what_nobody_wants() {
    let mut world = World::new();
    let shop = |web| {
        vec![
            after(service("web", web, 1), "api", Condition::Healthy),
            service("api", "api", 0),
        ]
    };
    let first = world.deploy(shop("v1"), settings(Strategy::BlueGreen));
    assert_eq!(world.finish(first).outcome(), Some(Outcome::Succeeded));
    assert_eq!(world.count_running("v1"), 1);
}

#[test]
fn who_was_to_go_and_is_wanted_again_stays() {
    let mut world = deployed(2);
    world.load("web-2", 1, 0);
    scale(&mut world, 1);
    world.settle();
    world.deeds.clear();
    scale(&mut world, 2);
    world.settle();
    assert_eq!(world.deeds, [""; 0]);
    assert_eq!(
        world.environment.published.routes[0].route.targets[0]
            .backends
            .len(),
        2
    );
}

#[test]
fn requests_have_their_time_from_the_confirmation_on() {
    let mut world = deployed(2);
    world.load("web-2", 1, 0);
    world.silent = true;
    scale(&mut world, 1);
    world.pass(Duration::from_secs(40));
    world.silent = false;
    world.pass(Duration::from_secs(25));
    assert_eq!(world.count_running("v1"), 2);
    world.pass(Duration::from_secs(10));
    assert_eq!(world.count_running("v1"), 1);
}
