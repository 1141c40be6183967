//! Services with a volume of their own: never two of them at once.

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
