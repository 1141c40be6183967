//! What is refused, what is held, and what is not ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_model::command::{Refusal, Request};
use towpath_model::deployment::{Deployment, Kind, Outcome, State};
use towpath_model::id::ReleaseNumber;
use towpath_model::release::Rendering;
use towpath_model::rollout::{Settings, Strategy};

use crate::world::{World, service, settings};

fn deployed() -> World {
    let mut world = World::new();
    let first = world.deploy(vec![service("web", "v1", 1)], settings(Strategy::Rolling));
    world.finish(first);
    world.settle();
    world
}

fn hold(world: &mut World) {
    let at = world.now;
    world
        .environment
        .put_on_hold("a feast".to_owned(), "ada", at);
}

#[test]
fn a_release_without_services_is_refused() {
    let mut world = deployed();
    let request = Request {
        kind: Kind::Release,
        release: ReleaseNumber(2),
        rendering: Arc::new(Rendering {
            services: BTreeMap::new(),
            secrets: BTreeMap::new(),
            settings: Settings::default(),
            ..Rendering::default()
        }),
        settings: None,
        peers: BTreeMap::new(),
        actor: "ada".to_owned(),
        automatic: false,
    };
    let at = world.now;
    let refusal = world.environment.request(request, at).unwrap_err();
    assert_eq!(refusal, Refusal::Empty);
    world.settle();
    assert_eq!(world.count_running("v1"), 1);
}

#[test]
fn what_waited_and_nobody_asked_for_does_not_begin_on_hold() {
    let mut world = deployed();
    world.building.insert(ReleaseNumber(2));
    let second = world.deploy(vec![service("web", "v2", 1)], settings(Strategy::Rolling));
    world.run_to(State::Preparing);
    world.automatic = true;
    let third = world.deploy(vec![service("web", "v3", 1)], settings(Strategy::Rolling));
    hold(&mut world);
    world.building.clear();
    assert_eq!(world.finish(second).outcome(), Some(Outcome::Succeeded));
    let refused = world.finish(third);
    assert_eq!(refused.outcome(), Some(Outcome::Aborted));
    assert_eq!(
        refused.failure.unwrap().reason,
        "automatic deployment is on hold: a feast"
    );
    assert_eq!(world.count_running("v3"), 0);
}

#[test]
fn a_release_lifts_the_hold_that_was_there_when_it_was_asked_for_and_no_other() {
    let mut world = deployed();
    hold(&mut world);
    let second = world.deploy(vec![service("web", "v2", 1)], settings(Strategy::Rolling));
    world.finish(second);
    assert_eq!(world.environment.hold, None);
    world.settle();
    world.building.insert(ReleaseNumber(3));
    let third = world.deploy(vec![service("web", "v3", 1)], settings(Strategy::Rolling));
    world.run_to(State::Preparing);
    hold(&mut world);
    world.building.clear();
    world.finish(third);
    assert!(world.environment.hold.is_some());
}

#[test]
fn taking_down_ends_the_deployment_and_says_so() {
    let mut world = deployed();
    world.hanging.insert("v2".to_owned());
    let second = world.deploy(vec![service("web", "v2", 1)], settings(Strategy::BlueGreen));
    world.run_to(State::Provisioning);
    let change = world.environment.take_down("ada", world.now);
    let ended: Vec<_> = change
        .finished
        .iter()
        .map(|one| (one.number, one.outcome()))
        .collect();
    assert_eq!(ended, [(second, Some(Outcome::Aborted))]);
    let said: Vec<_> = change
        .events
        .iter()
        .map(|event| event.what.as_str())
        .collect();
    assert_eq!(said, ["deployment.aborted", "environment.down"]);
}

#[test]
fn taking_down_after_the_shift_does_not_make_it_a_failure() {
    let mut world = deployed();
    world.load("web-1", 1, 0);
    world.deploy(vec![service("web", "v2", 1)], settings(Strategy::BlueGreen));
    world.run_to(State::Draining);
    let change = world.environment.take_down("ada", world.now);
    let ended: Vec<_> = change.finished.iter().map(Deployment::outcome).collect();
    assert_eq!(ended, [Some(Outcome::Succeeded)]);
}

#[test]
fn what_another_environment_has_is_not_touched() {
    let mut world = deployed();
    world.stranger("shop/staging/web-9");
    world.stranger("shop/production/web-9");
    world.deeds.clear();
    world.settle();
    assert_eq!(world.deeds, ["stop web-9"]);
    let left: Vec<String> = world.running.keys().map(ToString::to_string).collect();
    assert_eq!(left, ["shop/production/web-1", "shop/staging/web-9"]);
}
