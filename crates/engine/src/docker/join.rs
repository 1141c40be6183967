//! How a container is in its networks. Pure: not the making of networks ([`super::network`]).

use std::collections::BTreeMap;
use std::net::IpAddr;

use bollard::models::{EndpointIpamConfig, EndpointSettings};
use towpath_model::container::{Container, NetworkJoin, NetworkMode};
use towpath_model::id::{EnvironmentId, ServiceName};

use super::naming::Naming;

/// A container's networks.
#[derive(Debug, Clone, Default)]
pub(super) struct Joined {
    /// What the container is made with.
    pub(super) mode: String,
    /// The network of that mode, where there is one.
    pub(super) first: Option<(String, EndpointSettings)>,
    /// Those that it is put into before its start.
    pub(super) further: Vec<(String, EndpointSettings)>,
}

impl Joined {
    /// Takes away the names that the router answers for.
    pub(super) fn unname(&mut self, naming: &Naming) {
        for (name, endpoint) in self.first.iter_mut().chain(&mut self.further) {
            if naming.servers.contains_key(name) {
                endpoint.aliases = None;
            }
        }
    }

    /// Lists the networks of a service's container, the one that it is reached in first.
    pub(super) fn new(
        environment: &EnvironmentId,
        service: &ServiceName,
        container: &Container,
    ) -> Self {
        let mut networks: Vec<_> = joins(container)
            .into_iter()
            .map(|(name, join)| {
                let reached = is_reached_from_the_machine(&join);
                (reached, docker_name(environment, &name, &join), join)
            })
            .collect();
        // Stable: by name, but a network that the router cannot reach into comes last.
        networks.sort_by_key(|(reached, ..)| !reached);
        let mut endpoints = networks
            .into_iter()
            .map(|(_, name, join)| (name, endpoint(service, &join)));
        match &container.network {
            NetworkMode::Host => Self {
                mode: "host".to_owned(),
                ..Self::default()
            },
            NetworkMode::None => Self {
                mode: "none".to_owned(),
                ..Self::default()
            },
            NetworkMode::Networks(_) => {
                let first = endpoints.next();
                Self {
                    mode: first
                        .as_ref()
                        .map_or_else(String::new, |(name, _)| name.clone()),
                    first,
                    further: endpoints.collect(),
                }
            }
        }
    }
}

/// Returns the networks of a container by their names in the Compose file.
pub(super) fn joins(container: &Container) -> BTreeMap<String, NetworkJoin> {
    container.joins()
}

/// Returns the name of a network on the machine.
pub(super) fn docker_name(environment: &EnvironmentId, name: &str, join: &NetworkJoin) -> String {
    join.on_machine(environment, name)
}

/// The machine has an address in a bridge only.
fn is_reached_from_the_machine(join: &NetworkJoin) -> bool {
    join.network
        .driver
        .as_deref()
        .is_none_or(|driver| driver == "bridge")
}

/// Returns what a service is in a network.
pub(super) fn endpoint(service: &ServiceName, join: &NetworkJoin) -> EndpointSettings {
    let mut aliases = vec![service.to_string()];
    aliases.extend(join.aliases.iter().cloned());
    let mut fixed = EndpointIpamConfig::default();
    match join.address {
        Some(IpAddr::V4(address)) => fixed.ipv4_address = Some(address.to_string()),
        Some(IpAddr::V6(address)) => fixed.ipv6_address = Some(address.to_string()),
        None => {}
    }
    if let Some(address) = join.address_v6 {
        fixed.ipv6_address = Some(address.to_string());
    }
    let is_fixed = join.address.is_some() || join.address_v6.is_some();
    EndpointSettings {
        aliases: Some(aliases),
        ipam_config: is_fixed.then_some(fixed),
        ..EndpointSettings::default()
    }
}
