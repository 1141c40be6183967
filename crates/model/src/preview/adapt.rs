//! What a preview runs in place of what the environment runs that it is like: the same services, with
//! nothing that is the other's. Not which ports of the machine are free.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{NAME, Preview, Refusal, SERVICE};
use crate::container::NetworkMode;
use crate::id::{EnvironmentName, ServiceName};
use crate::pipeline::project::isolate_container;
use crate::release::{Role, RouteSpec};
use crate::render::{Draft, DraftService};
use crate::rollout::{Settings, Strategy};

/// Returns the ports of the machine on which the other environment is reached, whatever the host name:
/// the preview needs one of its own for each.
pub fn published_ports(draft: &Draft) -> BTreeSet<u16> {
    let services = draft.services.values();
    let routes = services.flat_map(|service| &service.routes);
    let routes = routes.filter(|route| route.hosts.is_empty());
    routes.map(|route| route.port).collect()
}

/// Makes what another environment runs what a preview of this name runs: on its own ports and host
/// names, with its own volumes and networks, one instance of each service unless more are asked for,
/// rolled out without a wait. `ports` has its own port for each of [`published_ports`].
pub fn adapt(
    draft: &mut Draft,
    name: &EnvironmentName,
    preview: &Preview,
    ports: &BTreeMap<u16, u16>,
) -> Result<(), Refusal> {
    let has_hosts = |one: &&DraftService| one.routes.iter().any(|route| !route.hosts.is_empty());
    let named = draft.services.values().filter(has_hosts).count();
    let domain = preview.terms.domain.as_deref();
    let domain = domain.filter(|domain| named < 2 || domain.contains(SERVICE));
    if let Some(seed) = &mut draft.seed {
        isolate(seed)?;
    }
    for (service, one) in &mut draft.services {
        isolate(one)?;
        if one.role == Role::Service {
            let scale = preview.terms.scale.get(service).copied();
            one.replicas = scale.unwrap_or_else(|| one.replicas.min(1));
        }
        for route in &mut one.routes {
            re_route(route, service, name, domain, ports);
        }
    }
    let strategy = match draft.settings.strategy {
        Strategy::Recreate => Strategy::Recreate,
        Strategy::Rolling | Strategy::BlueGreen | Strategy::Canary => Strategy::Rolling,
    };
    draft.settings = Settings {
        strategy,
        bake: Duration::ZERO,
        ..draft.settings.clone()
    };
    // They are told of the environment that they named, with its secrets.
    draft.notify.clear();
    draft.preview = None;
    Ok(())
}

fn isolate(one: &mut DraftService) -> Result<(), Refusal> {
    let Some(container) = &mut one.spec.container else {
        return Ok(());
    };
    if container.network == NetworkMode::Host {
        return Err(Refusal::HostNetwork(one.spec.service.clone()));
    }
    // Those that the router does not serve are at any free port of the machine.
    let mut published = std::mem::take(&mut container.published);
    isolate_container(container);
    for port in &mut published {
        port.port = None;
    }
    container.published = published;
    Ok(())
}

fn re_route(
    route: &mut RouteSpec,
    service: &ServiceName,
    name: &EnvironmentName,
    domain: Option<&str>,
    ports: &BTreeMap<u16, u16>,
) {
    if route.hosts.is_empty() {
        route.port = ports.get(&route.port).copied().unwrap_or(route.port);
        return;
    }
    let own = |host: &String| match (domain, host.strip_prefix("*.")) {
        (Some(domain), wild) => {
            let filled = domain.replace(NAME, name.as_str());
            let filled = filled.replace(SERVICE, service.as_str());
            let filled = filled.to_ascii_lowercase();
            wild.map_or_else(|| filled.clone(), |_| format!("*.{filled}"))
        }
        (None, Some(wild)) => format!("*.{name}.{wild}"),
        (None, None) => format!("{name}.{host}"),
    };
    let mut hosts: Vec<String> = Vec::new();
    for host in route.hosts.iter().map(own) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    route.hosts = hosts;
}
