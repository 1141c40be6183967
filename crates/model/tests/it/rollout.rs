//! The way forward: each strategy with a good release.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_model::deployment::{JobState, Outcome, PauseReason, Phase, State};
use towpath_model::event::NewEvent;
use towpath_model::release::Condition;
use towpath_model::rollout::{CanaryStep, Settings, Strategy};

use crate::world::{World, after, job, service, settings, worker};

fn weights(pairs: &[(&str, u32)]) -> BTreeMap<String, u32> {
    pairs
        .iter()
        .map(|(version, weight)| ((*version).to_owned(), *weight))
        .collect()
}

fn deployed(version: &str, replicas: u32) -> World {
    let mut world = World::new();
    let first = world.deploy(
        vec![service("web", version, replicas)],
        settings(Strategy::Rolling),
    );
    assert_eq!(world.finish(first).outcome(), Some(Outcome::Succeeded));
    world
}

#[test]
fn the_first_release_is_routed_when_all_of_it_is_healthy() {
    let world = deployed("v1", 2);
    assert_eq!(world.count_running("v1"), 2);
    assert_eq!(world.weights("web"), weights(&[("v1", 10_000)]));
    let [route] = &world.environment.published.routes[..] else {
        panic!("one route")
    };
    assert_eq!(route.route.targets[0].backends.len(), 2);
}

#[test]
fn rolling_replaces_one_at_a_time_and_is_never_short() {
    let mut world = deployed("v1", 3);
    let second = world.deploy(vec![service("web", "v2", 3)], settings(Strategy::Rolling));
    world.deeds.clear();
    world.run_until("finished", |world| {
        // Those that drain are on their way out and count for neither bound.
        let live = world
            .environment
            .instances
            .values()
            .filter(|one| one.is_live());
        let serving = live.clone().filter(|one| one.is_serving()).count();
        assert!(serving >= 3, "{serving} serve");
        assert!(live.count() <= 4);
        world.finished.iter().any(|one| one.number == second)
    });
    assert_eq!(
        world.deeds,
        [
            "start web-4",
            "start web-5",
            "stop web-3",
            "start web-6",
            "stop web-2",
            "stop web-1",
        ]
    );
    assert_eq!(world.weights("web"), weights(&[("v2", 10_000)]));
}

#[test]
fn blue_green_moves_all_traffic_in_one_step() {
    let mut world = deployed("v1", 2);
    let second = world.deploy(vec![service("web", "v2", 2)], settings(Strategy::BlueGreen));
    world.run_until("finished", |world| {
        let now = world.weights("web");
        assert!(
            now == weights(&[("v1", 10_000)]) || now.get("v2") == Some(&10_000),
            "{now:?}"
        );
        world.finished.iter().any(|one| one.number == second)
    });
    assert_eq!(
        (world.count_running("v1"), world.count_running("v2")),
        (0, 2)
    );
}

#[test]
fn recreate_never_runs_both_and_holds_requests_meanwhile() {
    let mut world = deployed("v1", 2);
    let second = world.deploy(vec![service("web", "v2", 2)], settings(Strategy::Recreate));
    world.run_until("finished", |world| {
        assert!(world.count_running("v1") == 0 || world.count_running("v2") == 0);
        world.finished.iter().any(|one| one.number == second)
    });
    assert_eq!(world.count_running("v2"), 2);
}

fn canary() -> Settings {
    let step = |weight, seconds| CanaryStep {
        weight,
        soak: Duration::from_secs(seconds),
        pause: false,
    };
    Settings {
        steps: vec![step(1_000, 10), step(10_000, 0)],
        ..settings(Strategy::Canary)
    }
}

#[test]
fn a_canary_without_requests_pauses_and_goes_on_when_they_come() {
    let mut world = deployed("v1", 2);
    let second = world.deploy(vec![service("web", "v2", 2)], canary());
    world.run_to(State::Paused);
    let deployment = world.environment.deployment.clone().unwrap();
    assert_eq!(deployment.paused.unwrap().reason, PauseReason::Inconclusive);
    assert_eq!(
        world.weights("web"),
        weights(&[("v1", 9_000), ("v2", 1_000)])
    );
    world.settle();
    assert!(world.environment.deployment.is_some());
    world.count("web", "v1", 900, 0);
    world.count("web", "v2", 100, 0);
    assert_eq!(world.finish(second).outcome(), Some(Outcome::Succeeded));
}

#[test]
fn a_canary_step_is_not_left_before_its_time() {
    let mut world = deployed("v1", 2);
    world.deploy(vec![service("web", "v2", 2)], canary());
    world.run_until("soaking", |world| {
        let phase = world
            .environment
            .deployment
            .as_ref()
            .map(|one| one.phase.clone());
        matches!(phase, Some(Phase::Soaking { .. }))
    });
    let since = world.now;
    world.count("web", "v2", 1000, 0);
    world.run_until("shifted", |world| {
        world.weights("web").get("v2") == Some(&10_000)
    });
    assert!(world.now.duration_since(since).as_secs() >= 9);
}

#[test]
fn a_release_job_runs_once_before_what_waits_for_it_starts() {
    let mut world = World::new();
    let web = after(service("web", "v1", 1), "migrate", Condition::Completed);
    let first = world.deploy(
        vec![web, job("migrate", "job1", false)],
        settings(Strategy::Rolling),
    );
    let deployment = world.finish(first);
    assert_eq!(world.deeds, ["start migrate-1", "start web-2"]);
    assert_eq!(
        deployment.jobs.values().collect::<Vec<_>>(),
        [&JobState::Succeeded]
    );
}

#[test]
fn an_unchanged_service_is_not_touched() {
    let mut world = World::new();
    let api = || {
        let mut api = service("api", "a1", 2);
        api.routes.clear();
        api
    };
    let first = world.deploy(
        vec![service("web", "v1", 1), api()],
        settings(Strategy::Rolling),
    );
    world.finish(first);
    world.deeds.clear();
    let second = world.deploy(
        vec![service("web", "v2", 1), api()],
        settings(Strategy::Rolling),
    );
    world.finish(second);
    world.settle();
    assert_eq!(world.deeds, ["start web-4", "stop web-3"]);
}

#[test]
fn a_draining_instance_is_stopped_when_its_last_request_ended() {
    let mut world = deployed("v1", 1);
    world.load("web-1", 1, 0);
    world.deploy(vec![service("web", "v2", 1)], settings(Strategy::Rolling));
    world.run_to(State::Draining);
    world.settle();
    assert_eq!(world.count_running("v1"), 1, "a request is in flight");
    world.load("web-1", 0, 0);
    world.settle();
    assert_eq!(world.count_running("v1"), 0);
}

#[test]
fn a_deployment_does_not_wait_for_the_connections_of_the_one_before_it() {
    let mut world = deployed("v1", 1);
    world.load("web-1", 0, 1);
    world.deploy(vec![service("web", "v2", 1)], settings(Strategy::Rolling));
    world.run_to(State::Draining);
    let third = world.deploy(vec![service("web", "v3", 1)], settings(Strategy::Rolling));
    world.run_until("v3 serves", |world| {
        world.weights("web").get("v3") == Some(&10_000)
    });
    assert_eq!(world.count_running("v1"), 1, "its connection goes on");
    world.load("web-1", 0, 0);
    assert_eq!(world.finish(third).outcome(), Some(Outcome::Succeeded));
}

#[test]
fn a_newer_deployment_supersedes_one_that_waits() {
    let mut world = deployed("v1", 1);
    world.deploy(vec![service("web", "v2", 1)], settings(Strategy::Rolling));
    world.step();
    let waiting = world.deploy(vec![service("web", "v3", 1)], settings(Strategy::Rolling));
    let last = world.deploy(vec![service("web", "v4", 1)], settings(Strategy::Rolling));
    assert_eq!(world.finish(waiting).outcome(), Some(Outcome::Superseded));
    assert_eq!(world.finish(last).outcome(), Some(Outcome::Succeeded));
    assert_eq!(world.weights("web"), weights(&[("v4", 10_000)]));
}

#[test]
fn scaling_changes_the_count_and_nothing_else() {
    let mut world = deployed("v1", 2);
    let web = "web".parse().unwrap();
    world
        .environment
        .rescale(&web, 4, "ada", world.now)
        .unwrap();
    world.settle();
    assert_eq!(world.count_running("v1"), 4);
    world
        .environment
        .rescale(&web, 1, "ada", world.now)
        .unwrap();
    world.settle();
    assert_eq!(world.count_running("v1"), 1);
}

#[test]
fn a_worker_that_waits_for_its_release_to_answer_takes_nothing_for_a_bad_one() {
    let mut world = World::new();
    let shop = |web, work| {
        vec![
            service("web", web, 1),
            after(worker(work), "web", Condition::Healthy),
        ]
    };
    let first = world.deploy(shop("v1", "w1"), settings(Strategy::BlueGreen));
    assert_eq!(world.finish(first).outcome(), Some(Outcome::Succeeded));
    world.unhealthy.insert("bad".to_owned());
    world.deeds.clear();
    let second = world.deploy(shop("bad", "w2"), settings(Strategy::BlueGreen));
    assert_eq!(world.finish(second).outcome(), Some(Outcome::RolledBack));
    assert_eq!(world.deeds, ["start web-3", "stop web-3"]);
    assert_eq!(world.count_running("w1"), 1);
}

#[test]
fn a_canary_step_without_a_report_of_the_router_is_no_pass() {
    let mut world = deployed("v1", 1);
    let second = world.deploy(vec![service("web", "v2", 1)], settings(Strategy::Canary));
    world.run_until("the first step is held", |world| {
        let active = world.environment.deployment.as_ref();
        active.is_some_and(|one| matches!(one.phase, Phase::Soaking { stage: 0, .. }))
    });
    world.count("web", "v2", 1_000, 0);
    world.silent = true;
    world.run_to(State::Paused);
    assert_eq!(world.weights("web").get("v2"), Some(&500));
    world.silent = false;
    world.run_until("the second step", |world| {
        world.weights("web").get("v2") == Some(&2_500)
    });
    world.environment.abort("ada", world.now).unwrap();
    assert_eq!(world.finish(second).outcome(), Some(Outcome::Aborted));
}

#[test]
fn who_is_started_again_later_finds_the_release_job_done() {
    let mut world = World::new();
    let services = vec![
        after(service("web", "v1", 1), "migrate", Condition::Completed),
        job("migrate", "job1", false),
    ];
    let first = world.deploy(services, settings(Strategy::Rolling));
    assert_eq!(world.finish(first).outcome(), Some(Outcome::Succeeded));
    world.kill("web-2");
    world.settle();
    assert_eq!(world.count_running("v1"), 1);
    assert_eq!(
        world.deeds,
        ["start migrate-1", "start web-2", "start web-3"]
    );
}

#[test]
fn no_move_is_told_as_one_from_a_state_to_itself() {
    for strategy in [Strategy::Rolling, Strategy::BlueGreen, Strategy::Recreate] {
        let mut world = deployed("v1", 3);
        let second = world.deploy(vec![service("web", "v2", 3)], settings(strategy));
        world.finish(second);
        let same = |event: &&NewEvent| event.from.is_some() && event.from == event.to;
        assert_eq!(world.events.iter().find(same), None);
    }
}

#[test]
fn a_release_job_reaches_a_new_service_that_only_the_others_can_ask() {
    let mut world = World::new();
    let mut cache = service("cache", "v1", 1);
    cache.routes.clear();
    let mut migrate = job("migrate", "job1", false);
    let wait = ("cache".parse().unwrap(), Condition::Healthy);
    migrate.depends_on.extend([wait]);
    let first = world.deploy(vec![cache, migrate], settings(Strategy::Rolling));
    world.run_until("the job is decided on", |world| {
        let active = world.environment.deployment.as_ref();
        active.is_some_and(|active| !active.jobs.is_empty())
    });
    assert_eq!(world.weights("cache"), weights(&[("v1", 10_000)]));
    assert_eq!(world.finish(first).outcome(), Some(Outcome::Succeeded));
}
