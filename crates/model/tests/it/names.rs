//! The names of services: who is told of whom at every moment of a deployment, and how long one stays
//! that was told of. Not the answering, which is the router's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use towpath_model::container::{Container, NetworkJoin, NetworkMode};
use towpath_model::deployment::{Outcome, State};
use towpath_model::environment::Lifecycle;
use towpath_model::instance::Phase;
use towpath_model::names;
use towpath_model::observation::Network;
use towpath_model::release::{Condition, RenderedService};
use towpath_model::rollout::{Settings, Strategy};

use crate::world::{World, after, service, settings, stateful};

/// A front that asks for a back, and a cache that asks for the back too.
fn app(front: &str, back: &str) -> Vec<RenderedService> {
    let mut services = vec![
        service("front", front, 2),
        service("back", back, 2),
        service("cache", "c1", 1),
    ];
    for one in services.iter_mut().skip(1) {
        one.routes.clear();
    }
    services
}

fn deployed(services: Vec<RenderedService>) -> World {
    let mut world = World::new();
    world.naming = Some(Ok(()));
    let first = world.deploy(services, settings(Strategy::BlueGreen));
    assert_eq!(world.finish(first).outcome(), Some(Outcome::Succeeded));
    world
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is compared with what an asker is told, which may be nothing"
)]
fn told(pairs: &[(&str, usize)]) -> Option<BTreeMap<String, usize>> {
    let pairs = pairs
        .iter()
        .map(|(version, count)| ((*version).to_owned(), *count));
    Some(pairs.collect())
}

/// Returns an instance of a version, by its name within the environment.
fn one_of(world: &World, version: &str) -> String {
    let mut all = world.all_of(version);
    all.sort();
    all.first().cloned().unwrap()
}

#[test]
fn everybody_is_told_the_same_while_there_is_one_release() {
    let world = deployed(app("f1", "b1"));
    assert_eq!(world.views().len(), 1);
    for asker in ["f1", "b1", "c1"] {
        let asker = one_of(&world, asker);
        assert_eq!(world.told(&asker, "back"), told(&[("b1", 2)]));
        assert_eq!(world.told(&asker, "nobody"), None);
    }
}

#[test]
fn each_side_is_told_of_its_own_and_what_both_share_follows_the_traffic() {
    let mut world = deployed(app("f1", "b1"));
    let settings = Settings {
        bake: Duration::from_mins(1),
        ..settings(Strategy::BlueGreen)
    };
    let second = world.deploy(app("f2", "b2"), settings);
    world.run_until("finished", |world| {
        let (old, new) = (world.all_of("f1"), world.all_of("f2"));
        for asker in world.running_only(&old) {
            let back = world.told(&asker, "back");
            assert!(back.is_none_or(|back| !back.contains_key("b2")), "{asker}");
        }
        for asker in world.running_only(&new) {
            let back = world.told(&asker, "back");
            assert!(back.is_none_or(|back| !back.contains_key("b1")), "{asker}");
        }
        let all = world.weights("back").get("b2") == Some(&10_000);
        let shared = world.told(&one_of(world, "c1"), "back");
        let expected = if all { "b2" } else { "b1" };
        assert_eq!(shared, told(&[(expected, 2)]));
        world.finished.iter().any(|one| one.number == second)
    });
    assert_eq!(world.weights("back").get("b2"), Some(&10_000));
}

#[test]
fn a_candidate_is_named_to_its_own_side_before_its_verdict_and_to_nobody_else() {
    let mut world = deployed(app("f1", "b1"));
    world.unhealthy.insert("f2".to_owned());
    world.deploy(app("f2", "b2"), settings(Strategy::BlueGreen));
    world.run_until("both run", |world| {
        world.count_running("f2") == 2 && world.count_running("b2") == 2
    });
    world.step();
    assert_eq!(
        world.told(&one_of(&world, "f2"), "back"),
        told(&[("b2", 2)])
    );
    // It is told of itself, though it was never well: it has nobody else.
    assert_eq!(
        world.told(&one_of(&world, "b2"), "front"),
        told(&[("f2", 2)])
    );
    assert_eq!(
        world.told(&one_of(&world, "f1"), "back"),
        told(&[("b1", 2)])
    );
    assert_eq!(
        world.told(&one_of(&world, "c1"), "front"),
        told(&[("f1", 2)])
    );
    // Whoever is not known yet waits until he is.
    assert!(world.views().iter().all(|view| !view.clients.is_empty()));
}

#[test]
fn one_that_is_not_well_any_more_is_named_to_nobody() {
    let mut world = deployed(app("f1", "b1"));
    world.unhealthy.insert("b1".to_owned());
    world.run_until("nobody is named", |world| {
        world.told(&one_of(world, "f1"), "back") == told(&[])
    });
    world.unhealthy.clear();
    world.run_until("somebody new is named", |world| {
        world.told(&one_of(world, "f1"), "back") == told(&[("b1", 2)])
    });
}

#[test]
fn those_that_go_are_told_of_one_another_as_long_as_they_are_busy() {
    let mut world = deployed(app("f1", "b1"));
    let (front, back) = (one_of(&world, "f1"), one_of(&world, "b1"));
    world.load(&front, 1, 0);
    world.deploy(app("f2", "b2"), settings(Strategy::BlueGreen));
    world.run_until("the old ones go", |world| {
        let goes = |one: &towpath_model::instance::Instance| {
            one.workload.service.as_str() == "back" && matches!(one.phase, Phase::Draining { .. })
        };
        world
            .environment
            .instances
            .values()
            .filter(|one| goes(one))
            .count()
            == 2
    });
    world.pass(Duration::from_secs(1));
    assert_eq!(world.told(&front, "back"), told(&[("b1", 2)]));
    assert_eq!(
        world.told(&one_of(&world, "c1"), "back"),
        told(&[("b2", 2)])
    );
    world.pass(Duration::from_secs(20));
    assert_eq!(world.told(&front, "back"), told(&[("b1", 2)]));
    world.load(&front, 0, 0);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.told(&front, "back"), told(&[("b2", 2)]));
    // Its address may be known and its connections open for a while.
    world.pass(Duration::from_secs(29));
    assert!(
        world
            .deeds
            .iter()
            .all(|deed| *deed != format!("stop {back}"))
    );
    world.pass(Duration::from_secs(2));
    assert!(world.deeds.contains(&format!("stop {back}")));
}

#[test]
fn a_deployment_ends_though_somebody_may_still_know_the_old_addresses() {
    let mut world = deployed(app("f1", "b1"));
    let before = world.now;
    let second = world.deploy(app("f2", "b2"), settings(Strategy::BlueGreen));
    world.finish(second);
    assert!(world.now.duration_since(before).as_secs() < 5);
    assert_eq!(world.count_running("b1"), 2);
    world.pass(Duration::from_secs(35));
    assert_eq!(
        (world.count_running("b1"), world.count_running("b2")),
        (0, 2)
    );
}

#[test]
fn a_canary_serves_what_both_share_only_when_it_has_everything() {
    let mut world = deployed(app("f1", "b1"));
    world.deploy(app("f2", "b2"), settings(Strategy::Canary));
    world.run_to(State::Shifting);
    world.pass(Duration::from_secs(2));
    assert_eq!(
        world.told(&one_of(&world, "c1"), "back"),
        told(&[("b1", 2)])
    );
    assert_eq!(
        world.told(&one_of(&world, "f2"), "back"),
        told(&[("b2", 1)])
    );
}

#[test]
fn a_rolling_release_serves_with_both_where_its_own_are_too_few() {
    let services = |front: &str, back: &str| {
        let mut services = app(front, back);
        services[1].replicas = 4;
        services
    };
    let mut world = deployed(services("f1", "b1"));
    let second = world.deploy(services("f2", "b2"), settings(Strategy::Rolling));
    let mut mixed = false;
    world.run_until("finished", |world| {
        if let Some(back) = world.told(&one_of(world, "c1"), "back") {
            assert!(back.values().sum::<usize>() >= 4, "{back:?}");
            mixed |= back.len() == 2;
        }
        world.finished.iter().any(|one| one.number == second)
    });
    assert!(mixed);
}

#[test]
fn the_first_of_a_candidate_starts_when_the_router_knows_that_there_are_two_sides() {
    let mut world = deployed(app("f1", "b1"));
    world.silent = true;
    world.deploy(app("f2", "b2"), settings(Strategy::BlueGreen));
    world.pass(Duration::from_secs(5));
    assert_eq!(world.count_running("f2"), 0);
    world.silent = false;
    world.run_until("it runs", |world| world.count_running("f2") == 2);
}

#[test]
fn a_candidate_that_failed_is_named_to_nobody_and_goes() {
    let mut world = deployed(app("f1", "b1"));
    world.crashing.insert("f2".to_owned());
    let second = world.deploy(app("f2", "b2"), settings(Strategy::BlueGreen));
    assert_eq!(world.finish(second).outcome(), Some(Outcome::RolledBack));
    world.pass(Duration::from_secs(35));
    assert_eq!(world.count_running("b2"), 0);
    assert_eq!(world.views().len(), 1);
    assert_eq!(
        world.told(&one_of(&world, "f1"), "back"),
        told(&[("b1", 2)])
    );
}

#[test]
fn of_what_there_is_only_one_both_sides_are_told() {
    let with_db = |front: &str, db: &str| vec![service("front", front, 1), stateful("db", db)];
    let mut world = deployed(with_db("f1", "d1"));
    let settings = Settings {
        bake: Duration::from_mins(1),
        ..settings(Strategy::BlueGreen)
    };
    world.deploy(with_db("f2", "d2"), settings);
    world.run_to(State::Baking);
    for front in ["f1", "f2"] {
        let front = one_of(&world, front);
        assert_eq!(world.told(&front, "db"), told(&[("d2", 1)]));
    }
}

#[test]
fn an_environment_that_is_taken_down_waits_for_no_names_and_has_none_in_the_end() {
    let mut world = deployed(vec![
        after(service("front", "f1", 1), "back", Condition::Started),
        service("back", "b1", 1),
    ]);
    world.environment.lifecycle = Lifecycle::Down;
    let before = world.now;
    world.run_until("empty", |world| world.environment.is_empty());
    assert!(world.now.duration_since(before).as_secs() < 3);
}

#[test]
fn where_the_engine_answers_itself_the_trail_says_so_once() {
    let mut world = deployed(app("f1", "b1"));
    let reason = "cannot listen on port 53".to_owned();
    let mut environment = world.environment.clone();
    for network in environment.networks.values_mut() {
        network.server = Err(reason.clone());
    }
    assert!(names::build(&environment).is_empty());
    world.naming = Some(Err(reason));
    world.settle();
    let lines = world
        .events
        .iter()
        .filter(|one| one.what == "environment.names");
    assert_eq!(lines.count(), 1);
}

/// A service as a container in networks, each with an alias.
fn in_networks(name: &str, networks: &[(&str, &str)]) -> RenderedService {
    let mut rendered = service(name, name, 1);
    let mut spec = (*rendered.spec).clone();
    let join = |alias: &str| NetworkJoin {
        aliases: vec![alias.to_owned()],
        ..NetworkJoin::default()
    };
    let joins = networks
        .iter()
        .map(|(network, alias)| ((*network).to_owned(), join(alias)));
    spec.container = Some(Box::new(Container {
        network: NetworkMode::Networks(joins.collect()),
        ..Container::default()
    }));
    rendered.workload = spec.id();
    rendered.spec = Arc::new(spec);
    rendered
}

#[test]
fn a_name_is_known_in_the_networks_that_both_are_in_with_the_aliases_of_each() {
    let mut world = deployed(vec![
        in_networks("front", &[("outer", "www")]),
        in_networks("back", &[("inner", "store"), ("outer", "api")]),
        in_networks("db", &[("inner", "sql")]),
    ]);
    let environment = &mut world.environment;
    let ids: BTreeMap<String, _> = environment
        .instances
        .values()
        .map(|one| {
            (
                one.workload.service.to_string(),
                environment.instance_id(one),
            )
        })
        .collect();
    let network = |gateway: u8, members: &[(&str, u8)]| Network {
        server: Ok([10, gateway, 0, 1].into()),
        members: members
            .iter()
            .map(|(name, last)| (ids[*name].clone(), vec![[10, gateway, 0, *last].into()]))
            .collect(),
        guests: [[10, gateway, 0, 9].into()].into(),
    };
    environment.networks = [
        (
            "shop-production_inner".to_owned(),
            network(1, &[("back", 2), ("db", 3)]),
        ),
        (
            "shop-production_outer".to_owned(),
            network(2, &[("back", 2), ("front", 3)]),
        ),
    ]
    .into();
    let servers = names::build(environment);
    let asked = |server: &str, client: &str| {
        let views = &servers[&format!("{server}:53").parse().unwrap()].views;
        let client = client.parse().unwrap();
        let view = views
            .iter()
            .find(|view| view.clients.is_empty() || view.clients.contains(&client));
        let names = view.unwrap().names.iter();
        names
            .map(|(name, all)| {
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                format!("{name} {}", all.join(" "))
            })
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(
        asked("10.2.0.1", "10.2.0.3"),
        "api 10.2.0.2, back 10.2.0.2, front 10.2.0.3, www 10.2.0.3"
    );
    assert_eq!(
        asked("10.1.0.1", "10.1.0.3"),
        "back 10.1.0.2, db 10.1.0.3, sql 10.1.0.3, store 10.1.0.2"
    );
    // It is in both, whichever server it asks.
    let both = "api 10.2.0.2, back 10.1.0.2, db 10.1.0.3, front 10.2.0.3, sql 10.1.0.3, \
                store 10.1.0.2, www 10.2.0.3";
    assert_eq!(asked("10.1.0.1", "10.1.0.2"), both);
    assert_eq!(asked("10.2.0.1", "10.2.0.2"), both);
    // A guest is told what is in the network that it asks from.
    assert_eq!(asked("10.1.0.1", "10.1.0.9"), asked("10.1.0.1", "10.1.0.3"));
}
