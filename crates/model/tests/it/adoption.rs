//! What Docker Compose started becomes an environment like any other, without a stop, and can be
//! let go again as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use towpath_model::adoption::takeover::Redirect;
use towpath_model::adoption::{Adoption, PortClaim};
use towpath_model::command::Refusal;
use towpath_model::deployment::{Outcome, State};
use towpath_model::id::ReleaseNumber;
use towpath_model::release::{RenderedService, Rendering};
use towpath_model::rollout::{Settings, Strategy};

use crate::world::{World, service, settings, stateful};

const VIA: u16 = 22_080;

fn published() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8080))
}

fn via() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], VIA))
}

fn redirect() -> BTreeSet<Redirect> {
    BTreeSet::from([Redirect {
        listen: published(),
        via: VIA,
    }])
}

fn adoption(services: Vec<RenderedService>, settings: Settings, via: Option<u16>) -> Adoption {
    let containers = services
        .iter()
        .map(|one| (one.spec.service.clone(), format!("c-{}", one.spec.service)))
        .collect();
    let services = services
        .into_iter()
        .map(|one| (one.spec.service.clone(), one));
    Adoption {
        project: "shop".to_owned(),
        release: ReleaseNumber(1),
        rendering: Arc::new(Rendering {
            services: services.collect(),
            secrets: BTreeMap::new(),
            settings,
            ..Rendering::default()
        }),
        volumes: BTreeMap::from([("data".to_owned(), "shop_data".to_owned())]),
        networks: BTreeMap::from([("default".to_owned(), "shop_default".to_owned())]),
        containers,
        ports: vec![PortClaim {
            service: "web".parse().unwrap(),
            listen: published(),
            via,
            container: "c-web".to_owned(),
        }],
        scale: BTreeMap::new(),
        completed: BTreeSet::new(),
        peers: BTreeMap::new(),
        actor: "ada".to_owned(),
    }
}

fn running() -> Vec<RenderedService> {
    vec![service("web", "web-1", 1), stateful("db", "db-1")]
}

/// A world with a database and a web service that were taken over, the latter with a port.
fn adopted(strategy: Strategy, via: Option<u16>) -> World {
    let mut world = World::new();
    let adoption = adoption(running(), settings(strategy), via);
    world.next_release = 2;
    let (web, number) = (published(), "web-1".to_owned());
    world.held.insert(web, number);
    world.environment.adopt(adoption, world.now).unwrap();
    world
}

fn settled(strategy: Strategy) -> World {
    let mut world = adopted(strategy, Some(VIA));
    world.run_until("moved", |world| world.redirects == redirect());
    world
}

#[test]
fn an_adoption_starts_and_stops_nothing_and_moves_the_traffic_when_the_router_is_ready() {
    let mut world = adopted(Strategy::Rolling, Some(VIA));
    world.step();
    assert!(world.redirects.is_empty(), "nobody is known to be well yet");
    world.run_until("moved", |world| world.redirects == redirect());
    for _ in 0..200 {
        world.step();
    }
    assert_eq!(world.deeds, ["adopt web-1", "adopt db-2"]);
    assert_eq!(world.environment.listens_on(), BTreeSet::from([via()]));
    let target = &world.environment.published.routes[0].route.targets[0];
    assert_eq!((target.weight, target.backends.len()), (10_000, 1));
}

#[test]
fn the_traffic_does_not_move_while_the_router_cannot_listen_on_the_other_port() {
    let mut world = adopted(Strategy::Rolling, Some(VIA));
    world.held.insert(via(), "db-2".to_owned());
    for _ in 0..200 {
        world.step();
    }
    assert!(world.redirects.is_empty());
}

#[test]
fn the_next_release_replaces_what_changed_and_leaves_the_rest_untouched() {
    for strategy in [Strategy::Rolling, Strategy::BlueGreen] {
        let mut world = settled(strategy);
        let next = vec![service("web", "web-2", 1), stateful("db", "db-1")];
        let number = world.deploy(next, settings(strategy));
        assert_eq!(
            world.finish(number).outcome(),
            Some(Outcome::Succeeded),
            "{strategy:?}"
        );
        assert_eq!(
            world.deeds,
            ["adopt web-1", "adopt db-2", "start web-3", "stop web-1"],
            "{strategy:?}"
        );
    }
}

#[test]
fn the_router_takes_the_port_before_the_redirect_goes_and_the_other_port_after_it() {
    let mut world = settled(Strategy::BlueGreen);
    let next = vec![service("web", "web-2", 1), stateful("db", "db-1")];
    world.deploy(next, settings(Strategy::BlueGreen));
    world.run_until("without the other port", |world| {
        let listens = world.environment.listens_on();
        let bound = listens.contains(&published())
            && world.report.faults.is_empty()
            && world.environment.stable == Some(ReleaseNumber(2));
        let redirected = world.redirects == redirect();
        assert!(bound || redirected, "nobody has the port: {listens:?}");
        assert!(!redirected || listens.contains(&via()), "{listens:?}");
        !listens.contains(&via())
    });
    assert_eq!(
        world.environment.listens_on(),
        BTreeSet::from([published()])
    );
    let adopted = world.environment.adopted.as_ref().unwrap();
    assert!(adopted.takeovers.is_empty());
    assert_eq!(adopted.containers.keys().collect::<Vec<_>>(), [&2]);
}

#[test]
fn a_failing_candidate_leaves_what_was_adopted_serving() {
    let mut world = settled(Strategy::BlueGreen);
    world.unhealthy.insert("web-2".to_owned());
    let next = vec![service("web", "web-2", 1), stateful("db", "db-1")];
    let number = world.deploy(next, settings(Strategy::BlueGreen));
    let ended = world.finish(number);
    assert_ne!(ended.outcome(), Some(Outcome::Succeeded));
    assert_ne!(ended.state(), State::Succeeded);
    assert_eq!(world.redirects, redirect());
    assert!(
        !world.deeds.contains(&"stop web-1".to_owned()),
        "{:?}",
        world.deeds
    );
}

#[test]
fn a_lost_redirect_is_made_again() {
    let mut world = settled(Strategy::Rolling);
    world.redirects.clear();
    world.run_until("made again", |world| world.redirects == redirect());
}

#[test]
fn a_port_that_is_kept_moves_when_its_container_goes() {
    let mut world = adopted(Strategy::BlueGreen, None);
    for _ in 0..200 {
        world.step();
    }
    assert!(world.redirects.is_empty() && world.environment.listens_on().is_empty());
    let next = vec![service("web", "web-2", 1), stateful("db", "db-1")];
    world.deploy(next, settings(Strategy::BlueGreen));
    world.run_until("on the port itself", |world| {
        world.environment.listens_on() == BTreeSet::from([published()])
            && world.report.faults.is_empty()
    });
}

#[test]
fn an_undo_gives_the_traffic_back_and_stops_nothing() {
    let mut world = settled(Strategy::Rolling);
    world.environment.let_go("ada", world.now).unwrap();
    world.run_until("forgotten", |world| {
        let listens = world.environment.listens_on();
        assert!(
            world.redirects.is_empty() || listens.contains(&via()),
            "{listens:?}"
        );
        world.environment.is_empty() && world.running.is_empty()
    });
    assert!(world.redirects.is_empty());
    assert_eq!(
        world.deeds,
        ["adopt web-1", "adopt db-2", "let go db-2", "let go web-1"]
    );
}

#[test]
fn an_undo_is_refused_after_a_deployment() {
    let mut world = settled(Strategy::BlueGreen);
    let next = vec![service("web", "web-2", 1), stateful("db", "db-1")];
    let number = world.deploy(next, settings(Strategy::BlueGreen));
    assert_eq!(
        world.environment.let_go("ada", world.now),
        Err(Refusal::NotAsAdopted)
    );
    world.finish(number);
    assert_eq!(
        world.environment.let_go("ada", world.now),
        Err(Refusal::NotAsAdopted)
    );
}

#[test]
fn an_environment_that_has_a_release_takes_nothing_over() {
    let mut world = settled(Strategy::Rolling);
    let again = adoption(running(), settings(Strategy::Rolling), None);
    let refused = world.environment.adopt(again, world.now);
    assert!(matches!(refused, Err(Refusal::NotNew(_))));
}

#[test]
fn what_was_taken_over_is_not_replaced_because_a_new_check_never_passed() {
    let mut world = adopted(Strategy::Rolling, Some(VIA));
    world.unhealthy.insert("web-1".to_owned());
    for _ in 0..2_000 {
        world.step();
        world.now = world
            .now
            .checked_add(std::time::Duration::from_millis(100))
            .unwrap();
    }
    assert_eq!(world.deeds, ["adopt web-1", "adopt db-2"]);
    assert!(world.redirects.is_empty(), "nobody to give requests to");
}
