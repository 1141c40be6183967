//! The kinds of services that the worlds deploy. Not what becomes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use towpath_model::release::{Condition, RenderedService, Restart, Role, RouteSpec};
use towpath_model::routing::{Protocol, RoutePolicy};
use towpath_model::workload::{Command, HealthCheck, Probe, VolumeMount, WorkloadSpec};

/// A service of a release.
pub(crate) fn service(name: &str, version: &str, replicas: u32) -> RenderedService {
    let command = Command::Exec(vec![version.to_owned()]);
    let spec = WorkloadSpec {
        listens: true,
        health: HealthCheck {
            probe: Probe::Tcp,
            ..HealthCheck::default()
        },
        ..WorkloadSpec::new(name.parse().unwrap(), command)
    };
    RenderedService {
        workload: spec.id(),
        spec: Arc::new(spec),
        replicas,
        depends_on: BTreeMap::new(),
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
    }
}

/// A release job.
pub(crate) fn job(name: &str, version: &str, irreversible: bool) -> RenderedService {
    let mut job = service(name, version, 1);
    job.role = Role::Job { irreversible };
    job.routes.clear();
    job.internal = None;
    job
}

/// A service with a volume of its own.
pub(crate) fn stateful(name: &str, version: &str) -> RenderedService {
    let mut stateful = service(name, version, 1);
    let mut spec = (*stateful.spec).clone();
    spec.volumes = vec![VolumeMount {
        volume: "data".to_owned(),
        target: "/data".to_owned(),
        read_only: false,
        shared: false,
    }];
    stateful.workload = spec.id();
    stateful.spec = Arc::new(spec);
    stateful.routes.clear();
    stateful
}

/// A service that does not listen: it takes its work from a queue.
pub(crate) fn worker(version: &str) -> RenderedService {
    let mut worker = service("worker", version, 1);
    worker.routes.clear();
    worker.internal = None;
    worker
}

/// The same service, waiting for another.
pub(crate) fn after(
    mut service: RenderedService,
    name: &str,
    condition: Condition,
) -> RenderedService {
    service.depends_on.insert(name.parse().unwrap(), condition);
    service
}
