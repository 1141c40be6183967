//! The networks of a container and the names that it has in them. Not its ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use towpath_compose::model::{Network, ServiceNetwork};

use crate::container::{NetworkJoin, NetworkMode, NetworkSource, Subnet};
use crate::render::context::{Context, Subject};

/// The network that a service is in when nothing says it.
const DEFAULT: &str = "default";

/// Returns how the container is on the network.
pub(super) fn mode(context: &mut Context<'_>, subject: &Subject<'_>) -> NetworkMode {
    let service = subject.service;
    match service
        .network_mode
        .as_deref()
        .filter(|mode| !mode.is_empty())
    {
        Some("host") => {
            warn_of_host(context, subject);
            NetworkMode::Host
        }
        Some("none") => NetworkMode::None,
        // The engine's own bridge knows no names: the environment's network does all that it does.
        None | Some("bridge" | "default" | "nat") => {
            NetworkMode::Networks(networks(context, subject))
        }
        // One that shares the network of another service was refused: the draft is never used.
        Some(name) => {
            let join = NetworkJoin {
                network: NetworkSource {
                    external: Some(name.to_owned()),
                    ..NetworkSource::default()
                },
                ..NetworkJoin::default()
            };
            NetworkMode::Networks(BTreeMap::from([(name.to_owned(), join)]))
        }
    }
}

fn warn_of_host(context: &mut Context<'_>, subject: &Subject<'_>) {
    if subject.service.ports.is_empty() {
        return;
    }
    let span = context.compose(&subject.at(&["ports"]));
    let message = format!(
        "`{}` has the machine's own network: its ports are where the program opens them",
        subject.name
    );
    let help = "remove `ports`, or remove `network_mode: host`";
    context.warn("ignored", message, span, help);
}

fn networks(context: &mut Context<'_>, subject: &Subject<'_>) -> BTreeMap<String, NetworkJoin> {
    let mut joins: BTreeMap<String, NetworkJoin> = BTreeMap::new();
    for (name, stated) in &subject.service.networks {
        let stated = stated.clone().unwrap_or_default();
        let join = join(context, subject, name, &stated);
        joins.insert(name.clone(), join);
    }
    if joins.is_empty() {
        let join = join(context, subject, DEFAULT, &ServiceNetwork::default());
        joins.insert(DEFAULT.to_owned(), join);
    }
    joins
}

fn join(
    context: &mut Context<'_>,
    subject: &Subject<'_>,
    name: &str,
    stated: &ServiceNetwork,
) -> NetworkJoin {
    let mut at = |key: &str, text: &Option<String>| {
        let text = text.as_deref()?;
        let address = text.parse::<IpAddr>();
        if address.is_err() {
            let span = context.compose(&subject.at(&["networks", name, key]));
            let message = format!("`{text}` is not an IP address");
            context.refuse(
                "bad-value",
                message,
                span,
                "write one such as `172.28.0.10`",
            );
        }
        address.ok()
    };
    let v4 = at("ipv4_address", &stated.ipv4_address);
    let v6 = at("ipv6_address", &stated.ipv6_address);
    for (key, is_there) in [
        ("link_local_ips", !stated.link_local_ips.is_empty()),
        ("interface_name", stated.interface_name.is_some()),
        ("driver_opts", !stated.driver_opts.is_empty()),
    ] {
        if is_there {
            let span = context.compose(&subject.at(&["networks", name, key]));
            let message = format!("`{key}` has no effect");
            let help = "the engine's default is taken";
            context.warn("ignored", message, span, help);
        }
    }
    NetworkJoin {
        network: source(context, name),
        aliases: aliases(context, subject, stated),
        address: v4,
        address_v6: v6.and_then(|address| match address {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        }),
    }
}

/// Returns the names that a service has beside its own: aliases, the name that its container would
/// have, and what others call it in their `links`.
fn aliases(context: &Context<'_>, subject: &Subject<'_>, stated: &ServiceNetwork) -> Vec<String> {
    let own = subject.name.as_str();
    let services = context.inputs.loaded.project.services.values();
    let links = services
        .flat_map(|service| &service.links)
        .filter_map(|link| {
            let (target, alias) = link.split_once(':')?;
            (target == own).then(|| alias.to_owned())
        });
    let names: BTreeSet<String> = stated
        .aliases
        .iter()
        .cloned()
        .chain(subject.service.container_name.clone())
        .chain(links)
        .filter(|name| name != own)
        .collect();
    names.into_iter().collect()
}

fn source(context: &Context<'_>, name: &str) -> NetworkSource {
    let project = &context.inputs.loaded.project;
    let Some(network) = project.networks.get(name) else {
        return NetworkSource::default();
    };
    if network.external {
        let name = if network.name.is_empty() {
            name
        } else {
            &network.name
        };
        return NetworkSource {
            external: Some(name.to_owned()),
            ..NetworkSource::default()
        };
    }
    NetworkSource {
        external: None,
        driver: network.driver.clone().filter(|driver| driver != DEFAULT),
        driver_opts: network.driver_opts.clone(),
        internal: network.internal,
        subnets: subnets(network),
        ipv6: network.enable_ipv6.unwrap_or_default(),
        labels: network.labels.clone(),
    }
}

fn subnets(network: &Network) -> Vec<Subnet> {
    let pools = network.ipam.config.iter();
    pools
        .map(|pool| Subnet {
            cidr: pool.subnet.clone(),
            gateway: pool.gateway.clone(),
            range: pool.ip_range.clone(),
        })
        .collect()
}

/// Judges the networks of the project: those that the environment has to itself, and those that it
/// shares.
pub(in crate::render) fn judge(context: &mut Context<'_>) {
    let project = &context.inputs.loaded.project;
    let used: BTreeSet<&String> = project
        .services
        .values()
        .flat_map(|service| service.networks.keys())
        .collect();
    for (name, network) in &project.networks {
        if network.external || !used.contains(name) {
            continue;
        }
        if network.name != format!("{}_{name}", project.name) && !network.name.is_empty() {
            let span = context.compose(&["networks", name, "name"]);
            let message = format!(
                "the network `{name}` is not called `{}`: every environment has its own",
                network.name
            );
            let help = "write `external: true` to join one that all of them share";
            context.warn("own-name", message, span, help);
        }
        if network.ipam.config.iter().any(|pool| pool.subnet.is_some()) {
            let span = context.compose(&["networks", name, "ipam"]);
            let message = format!(
                "the addresses of the network `{name}` are fixed: only one environment on a machine can have them"
            );
            let help = "remove `ipam` in an overlay for the other environments";
            context.warn("fixed-addresses", message, span, help);
        }
    }
}
