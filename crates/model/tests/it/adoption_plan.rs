//! What would become of a Compose project, as a value: what is compared, what is named, what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use towpath_model::adoption::found::{
    FoundContainer, FoundImage, FoundMount, FoundPort, FoundProject, FoundSettings, FoundState,
};
use towpath_model::adoption::plan::{Plan, plan};
use towpath_model::container::{Container, Image, NetworkJoin, NetworkMode, PullPolicy};
use towpath_model::release::{RenderedService, Rendering};
use towpath_model::rollout::Strategy;

use crate::world::{job, service, settings, stateful};

/// Makes a container of a service.
fn contained(mut service: RenderedService) -> RenderedService {
    let mut spec = (*service.spec).clone();
    spec.container_port = Some(80);
    spec.environment = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    let joins = BTreeMap::from([("default".to_owned(), NetworkJoin::default())]);
    spec.container = Some(Box::new(Container {
        image: Image::Pulled {
            reference: "image:1".to_owned(),
            policy: PullPolicy::Missing,
        },
        network: NetworkMode::Networks(joins),
        ..Container::default()
    }));
    service.workload = spec.id();
    service.spec = Arc::new(spec);
    service
}

fn rendering() -> Rendering {
    let services = [
        contained(service("web", "1", 1)),
        contained(stateful("db", "1")),
    ];
    let services = services.map(|one| (one.spec.service.clone(), one));
    Rendering {
        services: BTreeMap::from(services),
        secrets: BTreeMap::new(),
        settings: settings(Strategy::Rolling),
        ..Rendering::default()
    }
}

fn container(service: &str) -> FoundContainer {
    let variables = [("A", "1"), ("PATH", "/bin")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let runs = FoundSettings {
        command: vec!["serve".to_owned()],
        environment: BTreeMap::from(variables),
        ..FoundSettings::default()
    };
    let mut defaults = runs.clone();
    defaults.environment.remove("A");
    FoundContainer {
        id: format!("c-{service}"),
        name: format!("shop-{service}-1"),
        service: service.to_owned(),
        number: 1,
        one_off: false,
        working_directory: Some("/srv/shop".to_owned()),
        config_files: vec!["/srv/shop/compose.yaml".to_owned()],
        state: FoundState::Running,
        image: FoundImage {
            reference: "image:1".to_owned(),
            id: "sha256:1".to_owned(),
            now: Some("sha256:1".to_owned()),
        },
        settings: runs,
        defaults,
        mounts: Vec::new(),
        networks: BTreeSet::from(["shop_default".to_owned()]),
        ports: BTreeSet::new(),
        on_host_network: false,
        memory: 0,
    }
}

fn web() -> FoundContainer {
    let mut web = container("web");
    web.ports.insert(FoundPort {
        host: None,
        port: 8080,
        target: 80,
        protocol: "tcp".to_owned(),
    });
    web
}

fn db() -> FoundContainer {
    let mut db = container("db");
    db.mounts.push(FoundMount {
        target: "/data".to_owned(),
        volume: Some("shop_data".to_owned()),
        path: None,
        anonymous: false,
    });
    db
}

fn planned(containers: Vec<FoundContainer>) -> Plan {
    let named =
        |name: &str, on_machine: &str| BTreeMap::from([(name.to_owned(), on_machine.to_owned())]);
    let found = FoundProject {
        name: "shop".to_owned(),
        containers,
        volumes: named("data", "shop_data"),
        networks: named("default", "shop_default"),
    };
    plan(&found, &rendering())
}

fn differs(containers: Vec<FoundContainer>, service: &str) -> Vec<String> {
    let plan = planned(containers);
    let mut all = plan.containers.into_iter();
    let one = all.find(|one| one.service.as_str() == service);
    one.expect("it is planned").differs
}

#[test]
fn what_runs_as_the_files_say_differs_in_nothing_and_its_port_moves() {
    let plan = planned(vec![web(), db()]);
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
    assert!(
        plan.containers.iter().all(|one| one.differs.is_empty()),
        "{plan:#?}"
    );
    let ports: Vec<String> = plan
        .ports
        .iter()
        .map(|one| one.listen.to_string())
        .collect();
    assert_eq!(ports, ["0.0.0.0:8080"]);
    assert!(plan.scale.is_empty());
}

#[test]
fn every_difference_is_named_and_no_value() {
    let mut web = web();
    web.settings
        .environment
        .insert("A".to_owned(), "hunter2".to_owned());
    web.settings
        .environment
        .insert("B".to_owned(), "3".to_owned());
    web.settings.command = vec!["other".to_owned()];
    web.image.now = Some("sha256:2".to_owned());
    web.networks.insert("elsewhere".to_owned());
    web.memory = 1 << 20;
    let plan = planned(vec![web, db()]);
    let words = plan
        .containers
        .iter()
        .find(|one| one.service.as_str() == "web");
    assert_eq!(
        words.unwrap().differs,
        [
            "image",
            "command",
            "environment.A",
            "environment.B",
            "networks",
            "mem_limit"
        ]
    );
    let said = format!("{:?} {:?}", plan.containers, plan.notes);
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn another_volume_at_the_same_place_differs() {
    let mut db = db();
    db.mounts[0].volume = Some("other_data".to_owned());
    assert_eq!(differs(vec![web(), db], "db"), ["volumes./data"]);
}

#[test]
fn what_differs_is_a_workload_of_its_own_that_comes_back_as_it_ran() {
    let mut changed = web();
    changed
        .settings
        .environment
        .insert("A".to_owned(), "2".to_owned());
    let same = planned(vec![web(), db()]).rendering;
    let other = planned(vec![changed, db()]).rendering;
    let name = "web".parse().unwrap();
    assert_ne!(
        same.services[&name].workload,
        other.services[&name].workload
    );
    let runs = &other.services[&name].spec.environment;
    assert_eq!(runs.get("A").map(String::as_str), Some("2"));
    assert!(!runs.contains_key("PATH"), "the image has it: {runs:?}");
}

#[test]
fn the_number_that_runs_stays_and_a_service_that_does_not_run_is_not_started() {
    let mut second = web();
    second.id = "c-web-2".to_owned();
    second.number = 2;
    let plan = planned(vec![web(), second]);
    let scale: Vec<(String, u32)> = plan
        .scale
        .iter()
        .map(|(name, count)| (name.to_string(), *count))
        .collect();
    assert_eq!(scale, [("db".to_owned(), 0), ("web".to_owned(), 2)]);
}

#[test]
fn what_stands_in_the_way_is_refused() {
    let mut paused = web();
    paused.state = FoundState::Other("paused".to_owned());
    let mut unlike = web();
    unlike.id = "c-web-2".to_owned();
    unlike.settings.command = vec!["other".to_owned()];
    let mut twice = db();
    twice.id = "c-db-2".to_owned();
    for (containers, word) in [
        (vec![paused, db()], "paused"),
        (vec![web(), unlike], "not alike"),
        (vec![web(), db(), twice], "more than one"),
        (Vec::new(), "none of its containers runs"),
    ] {
        let refusals = planned(containers).refusals.join("\n");
        assert!(refusals.contains(word), "{word}: {refusals}");
    }
}

#[test]
fn what_is_not_of_the_files_is_left_alone_and_named() {
    let mut one_off = web();
    one_off.one_off = true;
    one_off.name = "shop-web-run-1".to_owned();
    let plan = planned(vec![web(), db(), one_off, container("old")]);
    let notes = plan.notes.join("\n");
    assert!(
        notes.contains("shop-web-run-1") && notes.contains("`old`"),
        "{notes}"
    );
    assert_eq!(plan.containers.len(), 2);
}

#[test]
fn data_in_a_volume_without_a_name_is_warned_of() {
    let mut web = web();
    web.mounts.push(FoundMount {
        target: "/cache".to_owned(),
        volume: Some("0a".repeat(32)),
        path: None,
        anonymous: true,
    });
    let plan = planned(vec![web, db()]);
    assert!(plan.containers.iter().all(|one| one.differs.is_empty()));
    assert!(
        plan.notes.iter().any(|note| note.contains("/cache")),
        "{:?}",
        plan.notes
    );
}

#[test]
fn a_release_job_that_still_runs_is_waited_for() {
    let mut rendering = rendering();
    let migrate = contained(job("migrate", "job", false));
    rendering
        .services
        .insert("migrate".parse().unwrap(), migrate);
    let found = FoundProject {
        name: "shop".to_owned(),
        containers: vec![web(), db(), container("migrate")],
        ..FoundProject::default()
    };
    let refusals = plan(&found, &rendering).refusals.join("\n");
    assert!(refusals.contains("release job"), "{refusals}");
}
