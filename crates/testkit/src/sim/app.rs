//! The simulated app: its releases, one after the other, good ones and bad ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use towpath_model::id::{ReleaseNumber, SecretVersion, ServiceName};
use towpath_model::release::{Condition, RenderedService, Rendering, Restart, Role, RouteSpec};
use towpath_model::rollout::{Analysis, CanaryStep, Settings, Strategy};
use towpath_model::routing::{FULL_WEIGHT, Protocol, RoutePolicy};
use towpath_model::workload::{
    Command, HealthCheck, Probe, SecretMount, VolumeMount, WorkloadSpec,
};

use super::chance::Chance;
use super::nature::Nature;

/// What a service of the app is now.
#[derive(Debug, Clone)]
struct Blueprint {
    version: u32,
    nature: Nature,
    replicas: u32,
    secret: u32,
}

/// The app's source: every commit changes some of it and makes a release.
#[derive(Debug)]
pub(super) struct App {
    services: BTreeMap<&'static str, Blueprint>,
    next_release: u32,
    next_version: u32,
    /// Every release ever made, as it was rendered.
    pub(super) releases: BTreeMap<ReleaseNumber, Arc<Rendering>>,
}

const BAD: [Nature; 7] = [
    Nature::CannotStart,
    Nature::CrashAtStart,
    Nature::CrashLater,
    Nature::NeverHealthy,
    Nature::Flapping,
    Nature::Errors,
    Nature::Slow,
];

impl App {
    pub(super) fn new(chance: &mut Chance) -> Self {
        let mut app = Self {
            services: BTreeMap::new(),
            next_release: 1,
            next_version: 1,
            releases: BTreeMap::new(),
        };
        app.renew("web", chance.count(1, 3), Nature::Good);
        for (name, likely, most) in [("api", 400, 3), ("worker", 500, 2), ("db", 400, 1)] {
            if chance.hits(likely) {
                app.renew(name, chance.count(1, most), Nature::Good);
            }
        }
        if chance.hits(400) {
            app.renew("migrate", 1, Nature::JobGood);
        }
        app
    }

    fn renew(&mut self, name: &'static str, replicas: u32, nature: Nature) {
        let version = self.next_version;
        self.next_version += 1;
        let secret = version;
        self.services.insert(
            name,
            Blueprint {
                version,
                nature,
                replicas,
                secret,
            },
        );
    }

    /// Commits a change and releases it: most are good.
    pub(super) fn release(&mut self, chance: &mut Chance) -> (ReleaseNumber, Arc<Rendering>) {
        let first = self.releases.is_empty();
        let kept = self.services.clone();
        if !first {
            self.change(chance);
        }
        let bad = chance.hits(if first { 100 } else { 400 });
        let serving: Vec<&'static str> = self
            .services
            .keys()
            .filter(|name| **name != "migrate")
            .copied()
            .collect();
        if bad && let Some(name) = chance.pick(&serving) {
            let nature = chance.pick(&BAD).unwrap_or(Nature::Good);
            let replicas = self.services.get(name).map_or(1, |one| one.replicas);
            self.renew(name, replicas, nature);
        }
        if self.services.contains_key("migrate") {
            let nature = chance
                .weighted(&[
                    (8, Nature::JobGood),
                    (1, Nature::JobFails),
                    (1, Nature::JobHangs),
                ])
                .unwrap_or(Nature::JobGood);
            self.renew("migrate", 1, nature);
        }
        let rendering = Arc::new(self.render(chance));
        let number = ReleaseNumber(self.next_release);
        self.next_release += 1;
        self.releases.insert(number, Arc::clone(&rendering));
        // What was bad is mended by the next commit.
        if bad {
            self.services = kept;
        }
        (number, rendering)
    }

    /// Changes at least one service; adds and removes some.
    fn change(&mut self, chance: &mut Chance) {
        let names: Vec<&'static str> = self
            .services
            .keys()
            .filter(|name| **name != "migrate")
            .copied()
            .collect();
        if let Some(name) = chance.pick(&names) {
            let most = if name == "db" { 1 } else { 4 };
            let nature = if chance.hits(150) {
                Nature::SlowStart
            } else {
                Nature::Good
            };
            self.renew(name, chance.count(1, most), nature);
        }
        if chance.hits(500) {
            self.renew("web", chance.count(1, 4), Nature::Good);
        }
        if chance.hits(150) {
            match chance.pick(&["api", "worker", "db", "migrate"]) {
                Some("migrate") => self.renew("migrate", 1, Nature::JobGood),
                Some(name) if self.services.remove(name).is_none() => {
                    self.renew(name, 1, Nature::Good);
                }
                _ => {}
            }
        }
    }

    fn render(&self, chance: &mut Chance) -> Rendering {
        let fails_to_build = chance.hits(50);
        let mut services = BTreeMap::new();
        let mut secrets = BTreeMap::new();
        for (name, blueprint) in &self.services {
            let mut service = render(name, blueprint, chance);
            let depends = |on: &str| self.services.contains_key(on) && *name != on;
            for (on, condition) in [
                ("db", Condition::Healthy),
                ("api", Condition::Started),
                ("migrate", Condition::Completed),
            ] {
                let waits = match *name {
                    "web" => true,
                    "api" | "worker" => on != "api",
                    "migrate" => on == "db",
                    _ => false,
                };
                if waits && depends(on) {
                    service.depends_on.insert(name_of(on), condition);
                }
            }
            for mount in &service.spec.secrets {
                secrets.insert(mount.secret.clone(), mount.version);
            }
            if fails_to_build && *name == "web" {
                let mut spec = (*service.spec).clone();
                spec.build = Some(Command::Shell("false".to_owned()));
                service.workload = spec.id();
                service.spec = Arc::new(spec);
            }
            services.insert(name_of(name), service);
        }
        Rendering {
            services,
            secrets,
            settings: settings(chance),
            ..Rendering::default()
        }
    }

    /// Returns what an instance of another environment is.
    pub(super) fn foreign() -> WorkloadSpec {
        let blueprint = Blueprint {
            version: 0,
            nature: Nature::Good,
            replicas: 1,
            secret: 1,
        };
        spec("web", &blueprint)
    }

    /// Returns where the services are reached by the others.
    pub(super) fn peers(rendering: &Rendering) -> BTreeMap<ServiceName, SocketAddr> {
        let listening = rendering
            .services
            .iter()
            .filter(|(_, service)| service.internal.is_some());
        listening
            .map(|(name, _)| {
                let port = match name.as_str() {
                    "web" => 7_001,
                    "api" => 7_002,
                    _ => 7_003,
                };
                (name.clone(), SocketAddr::from(([127, 0, 0, 1], port)))
            })
            .collect()
    }
}

fn name_of(text: &str) -> ServiceName {
    text.parse().expect("the names of the app are valid")
}

fn render(name: &'static str, blueprint: &Blueprint, chance: &mut Chance) -> RenderedService {
    let spec = spec(name, blueprint);
    let role = if name == "migrate" {
        Role::Job {
            irreversible: chance.hits(200),
        }
    } else {
        Role::Service
    };
    let routes = match name {
        "web" => vec![route(8_080)],
        "api" if blueprint.version.is_multiple_of(2) => vec![route(8_081)],
        _ => Vec::new(),
    };
    RenderedService {
        workload: spec.id(),
        replicas: blueprint.replicas,
        depends_on: BTreeMap::new(),
        role,
        restart: Restart::Always,
        routes,
        internal: spec.listens.then_some(Protocol::Http),
        policy: RoutePolicy::default(),
        exclusive_at: None,
        spec: Arc::new(spec),
    }
}

fn route(port: u16) -> RouteSpec {
    RouteSpec {
        host_ip: None,
        port,
        protocol: Protocol::Http,
        hosts: Vec::new(),
        path_prefix: "/".to_owned(),
        target: None,
    }
}

fn spec(name: &'static str, blueprint: &Blueprint) -> WorkloadSpec {
    let volume = VolumeMount {
        volume: "data".to_owned(),
        target: "/data".to_owned(),
        read_only: false,
        shared: false,
    };
    let words = vec![
        name.to_owned(),
        format!("v{}", blueprint.version),
        blueprint.nature.word().to_owned(),
    ];
    WorkloadSpec {
        secrets: vec![SecretMount {
            secret: "token".parse().expect("a valid name of a secret"),
            version: SecretVersion(blueprint.secret),
            file: Some("token".to_owned()),
            variable: None,
        }],
        volumes: if name == "db" {
            vec![volume]
        } else {
            Vec::new()
        },
        listens: matches!(name, "web" | "api" | "db"),
        health: HealthCheck {
            probe: Probe::Tcp,
            interval: Duration::from_secs(2),
            start_interval: Duration::from_millis(200),
            timeout: Duration::from_secs(1),
            retries: 3,
            start_period: Duration::from_secs(5),
        },
        stop_grace: Duration::from_secs(3),
        ..WorkloadSpec::new(name_of(name), Command::Exec(words))
    }
}

/// Draws settings whose times are short, so that whole deployments fit into a simulation.
fn settings(chance: &mut Chance) -> Settings {
    let strategy = chance
        .pick(&[
            Strategy::Rolling,
            Strategy::BlueGreen,
            Strategy::Canary,
            Strategy::Recreate,
        ])
        .unwrap_or_default();
    let paused = chance.hits(150);
    let steps = [1_000, 5_000, FULL_WEIGHT]
        .into_iter()
        .enumerate()
        .map(|(index, weight)| CanaryStep {
            weight,
            soak: Duration::from_millis(chance.between(1_000, 4_000)),
            pause: paused && index == 1,
        })
        .collect();
    let unavailable = u32::from(chance.hits(200));
    Settings {
        strategy,
        steps,
        surge: if unavailable > 0 {
            chance.count(0, 1)
        } else {
            chance.count(1, 3)
        },
        unavailable,
        progress_deadline: Duration::from_secs(chance.between(20, 40)),
        bake: Duration::from_secs(chance.between(0, 6)),
        drain: Duration::from_secs(2),
        drain_upgraded: Duration::from_secs(5),
        start_failures: chance.count(1, 3),
        automatic_rollback: !chance.hits(100),
        analysis: Analysis {
            min_requests: 10,
            max_error_rate: 0.05,
            ..Analysis::default()
        },
        pause_expiry: Duration::from_mins(1),
    }
}
