//! Verdicts on instances, and what is progress.

use std::time::Duration;

use jiff::Timestamp;
use towpath_model::deployment::Outcome;
use towpath_model::instance::elapsed;
use towpath_model::observation::{ChangedLimits, Exit, InstanceState};
use towpath_model::release::Restart;
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

/// Has the engine say something else of an instance than before.
fn say(world: &mut World, instance: &str, state: InstanceState) {
    let mut seen = world.running.values_mut();
    let one = seen.find(|one| one.id.local() == instance).unwrap();
    one.state = state;
}

/// Returns where requests for `web` go.
fn routed(world: &World) -> Vec<String> {
    let routes = world.environment.published.routes.iter();
    let targets = routes.flat_map(|one| &one.route.targets);
    let backends = targets.flat_map(|target| &target.backends);
    let mut found: Vec<String> = backends.map(|one| one.address.to_string()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn one_that_somebody_restarted_is_asked_again_where_it_is_now() {
    let mut world = World::new();
    let first = world.deploy(vec![service("web", "v1", 1)], settings(Strategy::Rolling));
    world.finish(first);
    world.settle();
    assert_eq!(routed(&world), ["127.0.0.1:30000"]);
    let address = "127.0.0.9:30000".parse().unwrap();
    let since = world.now;
    say(
        &mut world,
        "web-1",
        InstanceState::Running { address, since },
    );
    world.step();
    assert!(routed(&world).is_empty(), "it was not asked yet");
    world.settle();
    assert_eq!(routed(&world), ["127.0.0.9:30000"]);
    assert_eq!(world.deeds, ["start web-1"], "it was not replaced");
    assert!(
        world
            .events
            .iter()
            .any(|event| event.what == "instance.restarted")
    );
}

#[test]
fn one_that_was_taken_off_its_network_gets_no_requests_until_it_is_back() {
    let mut world = World::new();
    let first = world.deploy(
        vec![stateful("db", "db1"), service("web", "v1", 1)],
        settings(Strategy::Rolling),
    );
    world.finish(first);
    world.settle();
    let before = world.deeds.clone();
    let back = world.running.values().find(|one| one.id.local() == "web-2");
    let back = back.unwrap().state.clone();
    say(&mut world, "web-2", InstanceState::Starting);
    world.settle();
    assert!(routed(&world).is_empty());
    say(&mut world, "web-2", back);
    world.settle();
    assert_eq!(routed(&world), ["127.0.0.1:30000"]);
    assert_eq!(world.deeds, before, "it was not replaced");
}

#[test]
fn what_a_candidate_wrote_that_never_became_well_is_told_with_the_failure() {
    let mut world = World::new();
    let first = world.deploy(vec![service("web", "v1", 1)], settings(Strategy::Rolling));
    world.finish(first);
    world.unhealthy.insert("bad".to_owned());
    let second = world.deploy(vec![service("web", "bad", 1)], settings(Strategy::Rolling));
    let failure = world.finish(second).failure.unwrap();
    assert_eq!(failure.log_tail, ["web-2 is ill"]);
    assert_eq!(failure.unheard, None);
}

#[test]
fn what_a_candidate_wrote_that_never_came_that_far_is_told_with_the_failure() {
    let mut world = World::new();
    let first = world.deploy(vec![service("web", "v1", 1)], settings(Strategy::Rolling));
    world.finish(first);
    world.hanging.insert("slow".to_owned());
    let second = world.deploy(vec![service("web", "slow", 1)], settings(Strategy::Rolling));
    let failure = world.finish(second).failure.unwrap();
    assert_eq!(failure.service.unwrap().as_str(), "web");
    assert_eq!(failure.log_tail, ["web-2 is ill"]);
}

/// What was said of another hand's doings, in order.
fn drifts(world: &World) -> Vec<String> {
    let events = world.events.iter();
    let drifts = events.filter(|event| event.what == "environment.drifted");
    drifts.filter_map(|event| event.reason.clone()).collect()
}

#[test]
fn what_another_hand_did_to_many_at_once_is_said_once_with_what_is_done_about_it() {
    let mut world = World::new();
    let services = vec![service("web", "v1", 12), service("api", "a1", 1)];
    let first = world.deploy(services, settings(Strategy::Rolling));
    world.finish(first);
    world.settle();
    assert_eq!(drifts(&world), [""; 0]);
    world
        .running
        .retain(|_, one| one.id.local().starts_with("api"));
    let api = world.running.values().next().unwrap().id.local();
    let address = "127.0.0.9:30000".parse().unwrap();
    let since = world.now;
    say(&mut world, &api, InstanceState::Running { address, since });
    world.settle();
    let drifts = drifts(&world);
    assert_eq!(drifts.len(), 1, "{drifts:?}");
    assert!(drifts[0].starts_with("removed: web-"), "{drifts:?}");
    let ends = format!(
        " and 2 more (started anew); restarted: {api} (checked again before it gets requests)"
    );
    assert!(drifts[0].ends_with(&ends), "{drifts:?}");
    // The next start waits, as after every failure.
    world.pass(Duration::from_mins(1));
    world.settle();
    assert_eq!(world.count_running("v1"), 12);
}

#[test]
fn what_ends_by_itself_or_is_told_to_stop_is_no_drift() {
    let mut world = World::new();
    let first = world.deploy(vec![service("web", "v1", 2)], settings(Strategy::Rolling));
    world.finish(first);
    world.settle();
    let exit = |note: Option<&str>, signal| Exit {
        code: None,
        signal,
        error: None,
        is_by_hand: false,
        note: note.map(ToOwned::to_owned),
        at: Timestamp::UNIX_EPOCH,
        log_tail: Vec::new(),
    };
    let killed = exit(Some("killed for want of memory"), Some(9));
    say(&mut world, "web-1", InstanceState::Exited(killed));
    world.settle();
    let second = world.deploy(vec![service("web", "v2", 2)], settings(Strategy::BlueGreen));
    world.finish(second);
    world.settle();
    assert_eq!(drifts(&world), [""; 0]);
    let removed = exit(Some("its container was removed"), None);
    let one = world.running.values().next().unwrap().id.local();
    say(&mut world, &one, InstanceState::Exited(removed));
    world.settle();
    assert_eq!(drifts(&world), [format!("removed: {one} (started anew)")]);
}

#[test]
fn what_another_hand_stopped_is_told_and_started_anew_unless_its_restart_says_otherwise() {
    let mut world = World::new();
    let mut ends = service("ends", "e1", 1);
    ends.restart = Restart::No;
    let services = vec![service("web", "v1", 1), ends];
    let first = world.deploy(services, settings(Strategy::Rolling));
    world.finish(first);
    world.settle();
    let stopped = |code| {
        InstanceState::Exited(Exit {
            code: Some(code),
            signal: None,
            error: None,
            is_by_hand: true,
            note: Some("stopped by another hand".to_owned()),
            at: Timestamp::UNIX_EPOCH,
            log_tail: Vec::new(),
        })
    };
    let local = |world: &World, service: &str| {
        let mut all = world.running.values().map(|one| one.id.local());
        all.find(|name| name.starts_with(service)).unwrap()
    };
    let (web, ends) = (local(&world, "web"), local(&world, "ends"));
    say(&mut world, &web, stopped(143));
    say(&mut world, &ends, stopped(0));
    world.settle();
    let wanted = format!(
        "stopped: {web} (started anew); stopped: {ends} (not started again, as its `restart` says)"
    );
    assert_eq!(drifts(&world), [wanted]);
    world.pass(Duration::from_mins(1));
    world.settle();
    assert_eq!(
        (world.count_running("v1"), world.count_running("e1")),
        (1, 0)
    );
}

#[test]
fn changed_limits_are_told_once_for_each_change() {
    let mut world = World::new();
    let first = world.deploy(vec![service("web", "v1", 1)], settings(Strategy::Rolling));
    world.finish(first);
    let change = |world: &mut World, found: Option<&str>, is_put_back| {
        let limits = found.map(|found| ChangedLimits {
            found: found.to_owned(),
            is_put_back,
        });
        for one in world.running.values_mut() {
            one.limits.clone_from(&limits);
        }
        world.settle();
        world.settle();
    };
    change(&mut world, Some("CPUs: 2 instead of 1"), true);
    change(&mut world, None, true);
    change(&mut world, Some("CPUs: 2 instead of 1"), true);
    change(
        &mut world,
        Some("memory: 64 MiB instead of no limit"),
        false,
    );
    let put_back = "given other limits: web-1 (CPUs: 2 instead of 1) (put back)";
    let left = "given other limits: web-1 (memory: 64 MiB instead of no limit) \
                (left, as Docker takes no limit away from what runs)";
    assert_eq!(drifts(&world), [put_back, put_back, left]);
}
