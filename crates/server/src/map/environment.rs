//! Environments, for the wire.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use towpath_api as api;
use towpath_control::Snapshot;
use towpath_model::environment::{Environment, Lifecycle, PublishedRoute};
use towpath_model::id::ServiceName;
use towpath_model::instance::{Health, Instance, Phase};
use towpath_model::observation::Observation;
use towpath_model::pipeline::behind::Behind;
use towpath_model::preview::Preview;
use towpath_model::release::RenderedService;
use towpath_model::routing::{FULL_WEIGHT, Protocol, RouteMode};

use super::deployment::{deployment, state};

/// Returns a weight in percent.
pub(crate) fn percent(weight: u32) -> f64 {
    f64::from(weight) * 100.0 / f64::from(FULL_WEIGHT)
}

/// Writes an environment down in short; what it is behind is known elsewhere.
pub(crate) fn summary(environment: &Environment, destroying: bool) -> api::EnvironmentSummary {
    let services = services(environment);
    api::EnvironmentSummary {
        id: environment.id.to_string(),
        app: environment.id.app.to_string(),
        name: environment.id.name.to_string(),
        lifecycle: lifecycle(environment.lifecycle),
        stable: environment.stable.map(|release| release.0),
        deployment: environment
            .deployment
            .as_ref()
            .map(|deployment| state(deployment.state())),
        healthy: services.iter().map(|service| service.healthy).sum(),
        wanted: services.iter().map(|service| service.wanted).sum(),
        on_hold: environment.hold.is_some(),
        behind: Vec::new(),
        destroying,
        preview: environment.preview.as_ref().map(preview),
    }
}

pub(crate) fn environment(snapshot: &Snapshot, destroying: bool) -> api::Environment {
    let Snapshot {
        environment,
        observation,
        engine_fault,
    } = snapshot;
    api::Environment {
        id: environment.id.to_string(),
        app: environment.id.app.to_string(),
        name: environment.id.name.to_string(),
        lifecycle: lifecycle(environment.lifecycle),
        stable: environment.stable.map(|release| release.0),
        rollback_to: environment.rollback_target().map(|release| release.0),
        deployment: environment
            .deployment
            .as_ref()
            .map(|active| deployment(&environment.id, active)),
        waiting: environment
            .waiting
            .as_ref()
            .map(|waiting| deployment(&environment.id, waiting)),
        services: services(environment),
        instances: environment
            .instances
            .values()
            .map(|one| instance(environment, observation, one))
            .collect(),
        routes: environment
            .published
            .routes
            .iter()
            .map(|published| route(environment, observation, published))
            .collect(),
        hold: environment.hold.as_ref().map(|hold| api::Hold {
            reason: hold.reason.clone(),
            since: hold.since,
        }),
        behind: Vec::new(),
        traffic: traffic(&environment.traffic),
        router_answers: observation.router.is_some(),
        engine_fault: engine_fault.clone(),
        destroying,
        preview: environment.preview.as_ref().map(preview),
    }
}

pub(crate) fn preview(preview: &Preview) -> api::Preview {
    api::Preview {
        like: preview.like.to_string(),
        secrets_from: preview.secrets_from.as_ref().map(ToString::to_string),
        pull_request: preview.request.as_ref().map(|request| request.number),
        created_by: preview.created_by.clone(),
        created_at: preview.created_at,
        expires_at: preview.expires_at,
    }
}

pub(crate) fn behind(behind: &Behind) -> api::Behind {
    api::Behind {
        of: behind.of.to_string(),
        release: behind.release.0,
        commit: behind.commit.clone(),
        sure: behind.is_sure,
    }
}

fn lifecycle(lifecycle: Lifecycle) -> api::Lifecycle {
    match lifecycle {
        Lifecycle::Up => api::Lifecycle::Up,
        Lifecycle::Down => api::Lifecycle::Down,
    }
}

fn services(environment: &Environment) -> Vec<api::Service> {
    // The stable release says what there should be; a first release is not stable yet.
    let renderings = [
        environment.candidate_rendering(),
        environment.stable_rendering(),
    ];
    let mut found: BTreeMap<&ServiceName, &RenderedService> = BTreeMap::new();
    for rendering in renderings.into_iter().flatten() {
        found.extend(rendering.services.iter());
    }
    // While two releases have a service, the one with most of its traffic speaks for it: what is kept
    // warm beside it, or is tried out, is not counted.
    for (name, rendered) in &mut found {
        let owner = environment.owner(name);
        if let Some(owner) = owner.and_then(|owner| environment.service(owner, name)) {
            *rendered = owner;
        }
    }
    found
        .into_iter()
        .map(|(name, rendered)| service(environment, name, rendered))
        .collect()
}

fn service(
    environment: &Environment,
    name: &ServiceName,
    rendered: &RenderedService,
) -> api::Service {
    let live = || environment.live(&rendered.workload);
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let down = environment.lifecycle == Lifecycle::Down;
    // One that nobody sends requests to has no share of any.
    let takes_requests = rendered.internal.is_some() || !rendered.routes.is_empty();
    let shares = environment
        .shares
        .get(name)
        .filter(|_| takes_requests)
        .into_iter()
        .flatten();
    api::Service {
        name: name.to_string(),
        role: if rendered.is_job() {
            api::Role::Job
        } else {
            api::Role::Service
        },
        wanted: if rendered.is_job() || down {
            0
        } else {
            environment.wanted(rendered)
        },
        running: count(live().filter(|one| one.is_running()).count()),
        healthy: count(live().filter(|one| one.is_serving()).count()),
        stateful: rendered.is_exclusive(),
        shares: shares
            .filter(|share| share.weight > 0)
            .map(|share| api::Share {
                release: share.release.0,
                percent: percent(share.weight),
            })
            .collect(),
        crash_loop: environment
            .backoff
            .iter()
            .find(|(workload, backoff)| &workload.service == name && backoff.is_crash_loop())
            .map(|(_, backoff)| backoff.reason.clone()),
    }
}

fn instance(
    environment: &Environment,
    observation: &Observation,
    instance: &Instance,
) -> api::Instance {
    let id = environment.instance_id(instance);
    let (phase, address, since) = match &instance.phase {
        Phase::Pending { since } => (api::InstancePhase::Pending, None, *since),
        Phase::Running { address, since } => (api::InstancePhase::Running, Some(*address), *since),
        Phase::Draining { since, .. } => (api::InstancePhase::Draining, None, *since),
        Phase::Stopping { since } => (api::InstancePhase::Stopping, None, *since),
    };
    let probe = observation.probes.get(&id);
    api::Instance {
        id: id.to_string(),
        number: instance.number,
        service: instance.workload.service.to_string(),
        release: instance.release.0,
        workload: instance.workload.to_string(),
        job: instance.job.map(|number| number.0),
        phase,
        health: match instance.health {
            Health::Unknown => api::Health::Unknown,
            Health::Healthy => api::Health::Healthy,
            Health::Unhealthy => api::Health::Unhealthy,
        },
        address: address.map(|address: SocketAddr| address.to_string()),
        since,
        failing_check: probe
            .filter(|record| record.failures > 0)
            .and_then(|record| record.last_error.clone()),
    }
}

fn route(
    environment: &Environment,
    observation: &Observation,
    published: &PublishedRoute,
) -> api::Route {
    let faults = observation.router.iter().flat_map(|report| &report.faults);
    let name = &published.route.name;
    let adopted = environment.adopted.as_ref();
    // People go to the port that is published, whatever the router listens on meanwhile.
    let shown = PublishedRoute {
        listen: adopted.map_or(published.listen, |one| one.published(published.listen)),
        ..published.clone()
    };
    api::Route {
        service: name.split(':').next().unwrap_or(name).to_owned(),
        url: url(&shown),
        listen: published.listen.to_string(),
        protocol: match published.protocol {
            Protocol::Http => api::RouteProtocol::Http,
            Protocol::Tcp => api::RouteProtocol::Tcp,
        },
        hosts: published.route.hosts.clone(),
        path_prefix: published.route.path_prefix.clone(),
        internal: environment
            .peers
            .values()
            .any(|address| *address == published.listen),
        fault: faults
            .into_iter()
            .find(|fault| fault.address == published.listen)
            .map(|fault| fault.reason.clone()),
    }
}

/// Returns where to point a client at: the first host name, else the address; `localhost` for
/// every interface.
fn url(published: &PublishedRoute) -> String {
    let (ip, port) = (published.listen.ip(), published.listen.port());
    let named = published.route.hosts.first();
    let host = match (named, ip) {
        (Some(name), _) => name.clone(),
        (None, ip) if ip.is_unspecified() || ip.is_loopback() => "localhost".to_owned(),
        (None, IpAddr::V4(ip)) => ip.to_string(),
        (None, IpAddr::V6(ip)) => format!("[{ip}]"),
    };
    match published.protocol {
        Protocol::Tcp => format!("tcp://{host}:{port}"),
        Protocol::Http if port == 80 => format!("http://{host}{}", published.route.path_prefix),
        Protocol::Http => format!("http://{host}:{port}{}", published.route.path_prefix),
    }
}

fn traffic(mode: &RouteMode) -> api::Traffic {
    match mode {
        RouteMode::Serving => api::Traffic::Serving,
        RouteMode::Paused { max_wait_ms } => api::Traffic::Paused {
            max_wait_ms: *max_wait_ms,
        },
        RouteMode::Maintenance {
            page,
            retry_after_s,
        } => api::Traffic::Maintenance {
            page: page.clone(),
            retry_after_s: *retry_after_s,
        },
    }
}

pub(crate) fn to_traffic(traffic: api::Traffic) -> RouteMode {
    match traffic {
        api::Traffic::Serving => RouteMode::Serving,
        api::Traffic::Paused { max_wait_ms } => RouteMode::Paused { max_wait_ms },
        api::Traffic::Maintenance {
            page,
            retry_after_s,
        } => RouteMode::Maintenance {
            page,
            retry_after_s,
        },
    }
}

#[cfg(test)]
mod tests {
    use towpath_model::routing::{Route, RoutePolicy};

    use super::*;

    fn published(listen: &str, protocol: Protocol, host: Option<&str>) -> PublishedRoute {
        PublishedRoute {
            listen: listen.parse().unwrap(),
            protocol,
            route: Route {
                environment: "shop/dev".parse().unwrap(),
                name: "web:8080".to_owned(),
                hosts: host.map(str::to_owned).into_iter().collect(),
                path_prefix: "/".to_owned(),
                targets: Vec::new(),
                shield: None,
                mode: RouteMode::Serving,
                policy: RoutePolicy::default(),
            },
        }
    }

    #[test]
    fn a_route_is_reached_by_its_host_name_or_on_this_machine() {
        for (listen, protocol, host, wanted) in [
            (
                "0.0.0.0:8080",
                Protocol::Http,
                None,
                "http://localhost:8080/",
            ),
            ("[::]:80", Protocol::Http, None, "http://localhost/"),
            ("10.0.0.1:81", Protocol::Http, None, "http://10.0.0.1:81/"),
            (
                "0.0.0.0:80",
                Protocol::Http,
                Some("shop.test"),
                "http://shop.test/",
            ),
            (
                "127.0.0.1:6379",
                Protocol::Tcp,
                None,
                "tcp://localhost:6379",
            ),
        ] {
            assert_eq!(url(&published(listen, protocol, host)), wanted);
        }
    }

    #[test]
    fn a_route_on_the_address_of_a_service_is_internal() {
        let mut owner = Environment::new("shop/dev".parse().unwrap());
        let address: SocketAddr = "127.0.0.1:21000".parse().unwrap();
        owner.peers.insert("web".parse().unwrap(), address);
        let observation = Observation::default();
        let inside = published("127.0.0.1:21000", Protocol::Http, None);
        let outside = published("0.0.0.0:8080", Protocol::Http, None);
        assert!(route(&owner, &observation, &inside).internal);
        let outside = route(&owner, &observation, &outside);
        assert_eq!((outside.internal, outside.service.as_str()), (false, "web"));
    }

    #[test]
    fn traffic_survives_the_way_to_the_wire_and_back() {
        for mode in [
            RouteMode::Serving,
            RouteMode::Paused { max_wait_ms: 5 },
            RouteMode::Maintenance {
                page: Some("x".to_owned()),
                retry_after_s: 3,
            },
        ] {
            assert_eq!(to_traffic(traffic(&mode)), mode);
        }
    }
}
