//! Route tables, written shortly.

use std::net::SocketAddr;

use towpath_model::id::{Digest, InstanceId, WorkloadId};
use towpath_model::routing::{
    Backend, FULL_WEIGHT, Listener, Protocol, Route, RouteMode, RoutePolicy, RouteTable, Target,
};

/// The workload of release `name`.
pub(crate) fn workload(name: &str) -> WorkloadId {
    WorkloadId::new("web".parse().unwrap(), &Digest::of(name.as_bytes()))
}

/// Instance `number`.
pub(crate) fn instance(number: u32) -> InstanceId {
    format!("shop/production/web-{number}").parse().unwrap()
}

/// The side of release `name`, with its instances.
pub(crate) fn target(name: &str, weight: u32, backends: &[(u32, SocketAddr)]) -> Target {
    let backend = |&(number, address): &(u32, SocketAddr)| Backend {
        instance: instance(number),
        address,
    };
    Target {
        workload: workload(name),
        weight,
        backends: backends.iter().map(backend).collect(),
    }
}

/// A route for every host and path.
pub(crate) fn route(targets: Vec<Target>) -> Route {
    Route {
        environment: "shop/production".parse().unwrap(),
        name: "web".to_owned(),
        hosts: Vec::new(),
        path_prefix: "/".to_owned(),
        targets,
        shield: None,
        mode: RouteMode::Serving,
        policy: RoutePolicy::default(),
    }
}

/// A table with one HTTP listener.
pub(crate) fn table(generation: u64, listener: SocketAddr, routes: Vec<Route>) -> RouteTable {
    table_of(generation, listener, Protocol::Http, routes)
}

/// A table with one listener.
pub(crate) fn table_of(
    generation: u64,
    listener: SocketAddr,
    protocol: Protocol,
    routes: Vec<Route>,
) -> RouteTable {
    RouteTable {
        generation,
        environments: [("shop/production".parse().unwrap(), generation)].into(),
        listeners: [(listener, Listener { protocol, routes })].into(),
        ..RouteTable::default()
    }
}

/// A table in which one backend of release `a` gets everything.
pub(crate) fn simple(generation: u64, listener: SocketAddr, backend: SocketAddr) -> RouteTable {
    let target = target("a", FULL_WEIGHT, &[(1, backend)]);
    table(generation, listener, vec![route(vec![target])])
}
