//! Values for the unit tests of this module.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use towpath_model::id::{ReleaseNumber, ServiceName};
use towpath_model::port::InstanceStart;
use towpath_model::workload::{Command, HealthCheck, Limits, WorkloadSpec};

/// Returns the start of a container with nothing special, in the environment `shop/dev`.
pub(super) fn start() -> InstanceStart {
    let spec = WorkloadSpec {
        container: Some(Box::default()),
        ..spec()
    };
    InstanceStart {
        id: "shop/dev/web-1".parse().unwrap(),
        workload: spec.id(),
        release: ReleaseNumber(1),
        spec: Arc::new(spec),
        fixed_port: None,
        peers: BTreeMap::new(),
    }
}

/// Returns a specification of the service `web` that asks for nothing.
pub(super) fn spec() -> WorkloadSpec {
    WorkloadSpec {
        service: ServiceName::new("web").unwrap(),
        command: Command::Exec(Vec::new()),
        environment: BTreeMap::new(),
        working_directory: None,
        source: None,
        build: None,
        user: None,
        secrets: Vec::new(),
        configs: Vec::new(),
        volumes: Vec::new(),
        container_port: None,
        listens: false,
        health: HealthCheck::default(),
        restart_with: Vec::new(),
        stop_signal: "SIGTERM".to_owned(),
        stop_grace: Duration::from_secs(10),
        limits: Limits::default(),
        container: None,
    }
}
