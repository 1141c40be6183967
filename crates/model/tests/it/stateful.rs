//! Services with a volume of their own: never two of them at once.

use std::time::Duration;

use towpath_model::deployment::Outcome;
use towpath_model::release::Condition;
use towpath_model::rollout::Strategy;

use crate::world::{World, after, service, settings, stateful};

fn shop(db: &str, web: &str) -> Vec<towpath_model::release::RenderedService> {
    vec![
        stateful("db", db),
        after(service("web", web, 2), "db", Condition::Healthy),
    ]
}

#[test]
fn it_starts_before_those_that_wait_for_it() {
    let mut world = World::new();
    let first = world.deploy(shop("db1", "v1"), settings(Strategy::Rolling));
    assert_eq!(world.finish(first).outcome(), Some(Outcome::Succeeded));
    assert_eq!(world.deeds, ["start db-1", "start web-2", "start web-3"]);
}

#[test]
fn it_is_stopped_after_those_that_use_it_when_all_is() {
    let mut world = World::new();
    let first = world.deploy(shop("db1", "v1"), settings(Strategy::Rolling));
    world.finish(first);
    world.deeds.clear();
    world.environment.take_down("ada", world.now);
    world.run_until("all is stopped", |world| {
        world.environment.instances.is_empty()
    });
    assert_eq!(world.deeds, ["stop web-2", "stop web-3", "stop db-1"]);
}

#[test]
fn it_is_not_touched_when_only_others_change() {
    let mut world = World::new();
    let first = world.deploy(shop("db1", "v1"), settings(Strategy::Rolling));
    world.finish(first);
    let second = world.deploy(shop("db1", "v2"), settings(Strategy::BlueGreen));
    world.finish(second);
    world.settle();
    assert!(!world.deeds.contains(&"stop db-1".to_owned()));
    assert_eq!(world.count_running("db1"), 1);
}

#[test]
fn its_successor_starts_when_it_is_gone() {
    let mut world = World::new();
    let first = world.deploy(shop("db1", "v1"), settings(Strategy::Rolling));
    world.finish(first);
    let second = world.deploy(shop("db2", "v1"), settings(Strategy::BlueGreen));
    world.run_until("finished", |world| {
        assert!(world.count_running("db1") + world.count_running("db2") <= 1);
        world.finished.iter().any(|one| one.number == second)
    });
    assert_eq!(world.count_running("db2"), 1);
    assert_eq!(world.count_running("v1"), 2);
}

#[test]
fn it_comes_back_when_its_successor_fails() {
    let mut world = World::new();
    let first = world.deploy(shop("db1", "v1"), settings(Strategy::Rolling));
    world.finish(first);
    world.crashing.insert("db2".to_owned());
    let second = world.deploy(shop("db2", "v2"), settings(Strategy::BlueGreen));
    assert_eq!(world.finish(second).outcome(), Some(Outcome::RolledBack));
    world.settle();
    assert_eq!(
        (world.count_running("db1"), world.count_running("v1")),
        (1, 2)
    );
    assert_eq!(world.count_running("v2"), 0);
}

#[test]
fn it_waits_for_one_that_nobody_knows() {
    let mut world = World::new();
    world.stranger("shop/production/db-7");
    let first = world.deploy(vec![stateful("db", "db1")], settings(Strategy::Rolling));
    world.finish(first);
    assert_eq!(world.deeds, ["stop db-7", "start db-1"]);
}

#[test]
fn one_that_the_engine_does_not_show_yet_still_has_the_volume() {
    let mut world = World::new();
    let first = world.deploy(vec![stateful("db", "db1")], settings(Strategy::Rolling));
    world.finish(first);
    let second = world.deploy(vec![stateful("db", "db2")], settings(Strategy::BlueGreen));
    while world.stale.is_none() {
        let before = (world.now, world.running.clone());
        world.pass(Duration::from_millis(50));
        if world.deeds.contains(&"start db-2".to_owned()) {
            // The engine goes on to answer as it did before the start.
            world.stale = Some(before);
        }
    }
    world.environment.abort("ada", world.now).unwrap();
    for _ in 0..100 {
        world.pass(Duration::from_millis(50));
        assert_eq!(
            (world.count_running("db1"), world.count_running("db2")),
            (0, 1)
        );
    }
    world.stale = None;
    assert_eq!(world.finish(second).outcome(), Some(Outcome::Aborted));
    assert_eq!(
        (world.count_running("db1"), world.count_running("db2")),
        (1, 0)
    );
}
