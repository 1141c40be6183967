//! Verdicts on instances, and what is progress.

use std::time::Duration;

use towpath_model::deployment::Outcome;
use towpath_model::instance::elapsed;
use towpath_model::rollout::{Settings, Strategy};

use crate::world::{World, service, settings, stateful};

const STRATEGIES: [Strategy; 4] = [
    Strategy::Rolling,
    Strategy::BlueGreen,
    Strategy::Canary,
    Strategy::Recreate,
];

/// The default check's patience: three tries, five seconds apart.
const PATIENCE: Duration = Duration::from_secs(15);

#[test]
fn one_instance_that_never_becomes_well_fails_the_deployment() {
    for strategy in STRATEGIES {
        let mut world = World::new();
        let first = world.deploy(vec![service("web", "v1", 2)], settings(strategy));
        world.finish(first);
        world.unhealthy.insert("bad".to_owned());
        let asked = world.now;
        let second = world.deploy(vec![service("web", "bad", 2)], settings(strategy));
        let deployment = world.finish(second);
        assert_eq!(deployment.outcome(), Some(Outcome::RolledBack));
        let failure = deployment.failure.unwrap();
        assert_eq!(
            failure.reason,
            "service `web`: not healthy 15s after its start: answered 500"
        );
        let took = elapsed(asked, failure.at);
        assert!(took < PATIENCE + Duration::from_secs(1), "{took:?}");
    }
}

#[test]
fn a_stateful_one_that_never_becomes_well_fails_it_too() {
    let mut world = World::new();
    let first = world.deploy(vec![stateful("db", "db1")], settings(Strategy::Rolling));
    world.finish(first);
    world.unhealthy.insert("db2".to_owned());
    let asked = world.now;
    let second = world.deploy(vec![stateful("db", "db2")], settings(Strategy::Rolling));
    let deployment = world.finish(second);
    assert_eq!(deployment.outcome(), Some(Outcome::RolledBack));
    let took = elapsed(asked, deployment.failure.unwrap().at);
    assert!(took < PATIENCE + Duration::from_secs(1), "{took:?}");
    assert_eq!(world.count_running("db1"), 1);
}

#[test]
fn a_crash_is_tried_again_as_often_as_the_settings_say() {
    let mut world = World::new();
    world.crashing.insert("bad".to_owned());
    let first = world.deploy(vec![service("web", "bad", 1)], settings(Strategy::Rolling));
    let deployment = world.finish(first);
    assert_eq!(
        deployment.failure.unwrap().reason,
        "service `web`: exited with code 1 (3 times)"
    );
    assert_eq!(world.deeds.len(), 3, "{:?}", world.deeds);
}

#[test]
fn what_comes_and_goes_is_no_progress() {
    let mut world = World::new();
    let shop = |db, web| vec![stateful("db", db), service("web", web, 1)];
    let first = world.deploy(shop("db1", "v1"), settings(Strategy::BlueGreen));
    world.finish(first);
    world.hanging.insert("v2".to_owned());
    let deadline = Duration::from_mins(1);
    let settings = Settings {
        progress_deadline: deadline,
        ..settings(Strategy::BlueGreen)
    };
    let asked = world.now;
    let second = world.deploy(shop("db2", "v2"), settings);
    while !world.finished.iter().any(|one| one.number == second) {
        // Well and ill by turns, two seconds each, for longer than the deadline.
        world.pass(Duration::from_secs(2));
        if !world.unhealthy.remove("db2") {
            world.unhealthy.insert("db2".to_owned());
        }
        assert!(
            elapsed(asked, world.now) < deadline * 3,
            "it goes on for ever"
        );
    }
    let failure = world.finish(second).failure.unwrap();
    assert_eq!(
        failure.reason,
        "no progress for 60s while provisioning, waiting for service `web` to become healthy"
    );
    let took = elapsed(asked, failure.at);
    assert!(took < deadline + Duration::from_secs(5), "{took:?}");
}
