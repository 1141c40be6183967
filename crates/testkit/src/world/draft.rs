//! A release of one service for a world. Not a real app.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_model::id::ServiceName;
use towpath_model::pipeline::Demands;
use towpath_model::release::{Restart, Role, RouteSpec};
use towpath_model::render::{Draft, DraftService};
use towpath_model::rollout::Settings;
use towpath_model::routing::{Protocol, RoutePolicy};
use towpath_model::workload::{Command, HealthCheck, Probe, WorkloadSpec};

/// Returns a draft of the service `web`, two instances of it, published on port 8080. `version` is
/// its command; instances of the version `bad` end at once, and those of `ill` never become well.
pub fn draft(version: &str) -> Draft {
    let spec = WorkloadSpec {
        listens: true,
        health: HealthCheck {
            probe: Probe::Tcp,
            interval: Duration::from_millis(100),
            ..HealthCheck::default()
        },
        stop_grace: Duration::from_secs(1),
        ..WorkloadSpec::new(name(), Command::Shell(version.to_owned()))
    };
    let web = DraftService {
        spec,
        secrets: Vec::new(),
        replicas: 2,
        depends_on: BTreeMap::new(),
        restart_with: std::collections::BTreeSet::new(),
        role: Role::Service,
        restart: Restart::Always,
        routes: vec![RouteSpec {
            host_ip: None,
            port: 8080,
            protocol: Protocol::Http,
            hosts: Vec::new(),
            path_prefix: "/".to_owned(),
            target: None,
        }],
        internal: Some(Protocol::Http),
        policy: RoutePolicy::default(),
        exclusive_at: None,
    };
    Draft {
        services: BTreeMap::from([(name(), web)]),
        secret_sources: BTreeMap::new(),
        settings: Settings {
            bake: Duration::ZERO,
            ..Settings::default()
        },
        source: None,
        notify: BTreeMap::new(),
        preview: None,
        seed: None,
        demands: Demands::default(),
    }
}

fn name() -> ServiceName {
    "web".parse().expect("it is a name")
}
