//! The environment's part of the route table, derived from its shares and instances. Not the
//! merging of environments into one table.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::adoption::takeover::socket;
use crate::deployment::{Deployment, Phase};
use crate::environment::{Environment, Lifecycle, PublishedRoute};
use crate::id::{ReleaseNumber, ServiceName};
use crate::observation::Observation;
use crate::release::{RenderedService, RouteSpec};
use crate::rollout::Strategy;
use crate::routing::{Backend, Route, RouteMode, Shield, Target};
use crate::{instance, names};

/// The longest that a request is held while a release is recreated.
const RECREATE_HOLD_MS: u64 = 60_000;

/// Returns the routes that the environment should have now.
pub fn build(environment: &Environment) -> Vec<PublishedRoute> {
    if environment.lifecycle == Lifecycle::Down {
        return Vec::new();
    }
    let mut routes = Vec::new();
    for (name, shares) in &environment.shares {
        let Some(release) = environment.owner(name) else {
            continue;
        };
        let Some(service) = environment.service(release, name) else {
            continue;
        };
        if service.internal.is_none() || shares.is_empty() {
            continue;
        }
        routes.extend(service_routes(environment, name, service));
    }
    routes
}

fn service_routes(
    environment: &Environment,
    name: &ServiceName,
    service: &RenderedService,
) -> Vec<PublishedRoute> {
    let route = |label: String, hosts: Vec<String>, path_prefix: String, port| Route {
        environment: environment.id.clone(),
        name: label,
        hosts,
        path_prefix,
        targets: targets(environment, name, port),
        shield: shield(environment, name),
        mode: mode(environment, name),
        policy: service.policy.clone(),
    };
    let sockets = |spec: &RouteSpec| {
        let listen = socket(spec.host_ip, spec.port);
        let adopted = environment.adopted.as_ref();
        let takeover = adopted.and_then(|adopted| adopted.takeover(listen));
        takeover.map_or_else(|| vec![listen], |takeover| takeover.sockets().collect())
    };
    let specs = service.routes.iter();
    let listened = specs.flat_map(|spec| sockets(spec).into_iter().map(move |at| (spec, at)));
    let external = listened.map(|(spec, listen)| PublishedRoute {
        listen,
        protocol: spec.protocol,
        route: route(
            format!("{name}:{}", spec.port),
            spec.hosts.clone(),
            spec.path_prefix.clone(),
            spec.target,
        ),
    });
    // A stateful service's only instance listens on the service's address itself.
    let internal = (!service.is_exclusive())
        .then(|| environment.peers.get(name).copied().zip(service.internal))
        .flatten()
        .map(|(listen, protocol)| PublishedRoute {
            listen,
            protocol,
            route: route(name.to_string(), Vec::new(), "/".to_owned(), None),
        });
    external.chain(internal).collect()
}

/// Returns the sides of the service: those with traffic, and those kept warm without. Their
/// backends are at `port` of the instances, or at the port that stands for the service.
fn targets(environment: &Environment, name: &ServiceName, port: Option<u16>) -> Vec<Target> {
    let shares = environment.shares.get(name).map_or(&[][..], Vec::as_slice);
    shares
        .iter()
        .map(|share| {
            let serving = environment
                .live(&share.workload)
                .filter(|one| one.is_serving());
            let backends = serving.filter_map(|one| match one.phase {
                instance::Phase::Running { address, .. } => Some(Backend {
                    instance: environment.instance_id(one),
                    address: SocketAddr::new(address.ip(), port.unwrap_or(address.port())),
                }),
                _ => None,
            });
            Target {
                workload: share.workload.clone(),
                weight: share.weight,
                backends: backends.collect(),
            }
        })
        .collect()
}

fn shield(environment: &Environment, name: &ServiceName) -> Option<Shield> {
    let deployment = environment.deployment.as_ref()?;
    let verdict_is_out = match deployment.phase {
        Phase::Provisioning { .. }
        | Phase::Shifting { .. }
        | Phase::Soaking { .. }
        | Phase::Baking { .. }
        | Phase::Restoring
        | Phase::Reverting => true,
        Phase::Queued
        | Phase::Preparing
        | Phase::Vacating
        | Phase::Draining
        | Phase::Discarding
        | Phase::Ended(_) => false,
    };
    let candidate = &environment.service(deployment.release, name)?.workload;
    let stable = &environment.service(environment.stable?, name)?.workload;
    (verdict_is_out && candidate != stable).then(|| Shield {
        candidate: candidate.clone(),
        stable: stable.clone(),
    })
}

fn mode(environment: &Environment, name: &ServiceName) -> RouteMode {
    match &environment.deployment {
        Some(deployment) if is_recreated(environment, deployment, name) => RouteMode::Paused {
            max_wait_ms: RECREATE_HOLD_MS,
        },
        _ => environment.traffic.clone(),
    }
}

/// Tells whether the service is between two releases of which only one may run.
fn is_recreated(environment: &Environment, deployment: &Deployment, name: &ServiceName) -> bool {
    let between = match deployment.phase {
        Phase::Vacating | Phase::Provisioning { .. } | Phase::Shifting { .. } => true,
        Phase::Restoring | Phase::Reverting => deployment.shifted_at.is_none(),
        Phase::Queued
        | Phase::Preparing
        | Phase::Soaking { .. }
        | Phase::Baking { .. }
        | Phase::Draining
        | Phase::Discarding
        | Phase::Ended(_) => false,
    };
    let workload = |release| {
        environment
            .service(release, name)
            .map(|service| &service.workload)
    };
    between
        && deployment.settings.strategy == Strategy::Recreate
        && environment
            .stable
            .is_some_and(|stable| workload(stable) != workload(deployment.release))
}

impl Environment {
    /// Returns the release that has the most of a service's traffic: the service has its ports and
    /// domains.
    pub fn owner(&self, name: &ServiceName) -> Option<ReleaseNumber> {
        let shares = self.shares.get(name)?;
        shares
            .iter()
            .max_by_key(|share| share.weight)
            .map(|share| share.release)
    }

    /// Rebuilds the routes and the names, and gives them a new generation when they changed. Returns
    /// whether they did.
    pub(crate) fn refresh_routes(&mut self) -> bool {
        let routes = build(self);
        let names = names::build(self);
        let changed = routes != self.published.routes || names != self.published.names;
        if changed {
            self.published.generation += 1;
            self.published.routes = routes;
            self.published.names = names;
        }
        changed
    }

    /// Tells whether the router said that it has what it was last told.
    pub fn is_acknowledged(&self, observation: &Observation) -> bool {
        self.has_acknowledged(observation, self.published.generation)
    }

    /// Tells whether the router said that it has this generation or a later one.
    pub(crate) fn has_acknowledged(&self, observation: &Observation, generation: u64) -> bool {
        let acknowledged = observation
            .router
            .as_ref()
            .map(|report| report.environments.get(&self.id).copied().unwrap_or(0));
        acknowledged.is_some_and(|acknowledged| acknowledged >= generation)
    }

    /// Returns every socket that the environment's routes listen on.
    pub fn listens_on(&self) -> BTreeSet<SocketAddr> {
        self.published
            .routes
            .iter()
            .map(|route| route.listen)
            .collect()
    }
}
