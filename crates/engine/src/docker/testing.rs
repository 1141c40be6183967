//! Values for the unit tests of this module.

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_model::id::ServiceName;
use towpath_model::workload::{Command, HealthCheck, Limits, WorkloadSpec};

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
