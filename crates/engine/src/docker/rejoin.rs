//! Puts a container that runs back into the networks that it was taken out of by hand, and makes
//! those that were removed. Not its first joining, which is part of the start.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerSummary, NetworkConnectRequest};
use towpath_model::id::InstanceId;

use super::client::Trouble;
use super::join::{self, docker_name};
use super::names::Labelled;
use super::shared::{Shared, Work};
use super::state::Record;
use super::{naming, network};

/// The wait before another try.
const PATIENCE: Duration = Duration::from_secs(2);

/// Tells whether a container is in all the networks that it was put into.
pub(super) fn is_in_all(record: &Record, summary: &ContainerSummary) -> bool {
    let settings = summary.network_settings.as_ref();
    let networks = settings.and_then(|settings| settings.networks.as_ref());
    record.networks.iter().all(|(name, joined)| {
        let on_machine = docker_name(&record.labelled.id.environment, name, joined);
        networks.is_some_and(|networks| networks.contains_key(&on_machine))
    })
}

/// Returns the address of a container in the network that it is reached in; `None` when it is in no
/// network, though it should be.
pub(super) fn address(labelled: &Labelled, summary: &ContainerSummary) -> Option<IpAddr> {
    let networks = summary.network_settings.as_ref();
    let networks = networks.and_then(|settings| settings.networks.as_ref());
    let named = labelled.network.as_ref().zip(networks);
    let named = named.and_then(|(name, networks)| networks.get(name));
    let others = networks.into_iter().flat_map(HashMap::values);
    named
        .into_iter()
        .chain(others)
        .find_map(|endpoint| {
            let both = [&endpoint.ip_address, &endpoint.global_ipv6_address];
            both.into_iter()
                .flatten()
                .find_map(|text| text.parse().ok())
        })
        // In the machine's own network, or in none.
        .or_else(|| {
            labelled
                .network
                .is_none()
                .then_some(IpAddr::V4(Ipv4Addr::LOCALHOST))
        })
}

/// Puts the container of an instance into the networks that it misses.
pub(super) async fn run(shared: Arc<Shared>, id: InstanceId) {
    match rejoin(&shared, &id).await {
        Ok(()) => {}
        Err(trouble) => {
            let reason = trouble.words();
            tracing::warn!(instance = %id, reason, "a container cannot be put back into its network");
            // The next observation tries again, but not at once.
            tokio::time::sleep(PATIENCE).await;
        }
    }
    shared.forget_seen(&id.environment);
    shared.set_work(&id, Work::None);
}

async fn rejoin(shared: &Shared, id: &InstanceId) -> Result<(), Trouble> {
    let Some(instance) = shared.instance(id) else {
        return Ok(());
    };
    let docker = shared.client.get().await?;
    let record = &instance.record;
    let container = record.container();
    let found = docker.inspect_container(&container, None).await;
    let found = found.map_err(|error| shared.client.trouble(&error))?;
    let settings = found.network_settings.unwrap_or_default();
    let present = settings.networks.unwrap_or_default();
    let environment = &id.environment;
    network::ensure(shared, &docker, environment, &record.networks).await?;
    let servers = naming::networks(shared, &docker, environment).await?;
    for (name, joined) in &record.networks {
        let on_machine = docker_name(environment, name, joined);
        if present.contains_key(&on_machine) {
            continue;
        }
        tracing::warn!(instance = %id, network = on_machine, "a container is not in its network and is put back");
        let mut endpoint = join::endpoint(&id.service, joined);
        // Where the router answers for names, Docker has none, as at the start.
        if !record.exclusive && servers.get(&on_machine).is_some_and(Result::is_ok) {
            endpoint.aliases = None;
        }
        let request = NetworkConnectRequest {
            container: container.clone(),
            endpoint_config: Some(endpoint),
        };
        let connected = docker.connect_network(&on_machine, request).await;
        connected.map_err(|error| {
            let attempted = format!("cannot join the network `{on_machine}`");
            shared.client.trouble(&error).after(&attempted)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bollard::models::{ContainerSummaryNetworkSettings, EndpointSettings};
    use towpath_model::container::NetworkJoin;

    use super::*;
    use crate::docker::start;
    use crate::docker::testing;

    fn in_networks(names: &[&str]) -> ContainerSummary {
        let networks = names
            .iter()
            .map(|name| ((*name).to_owned(), EndpointSettings::default()));
        let networks: HashMap<_, _> = networks.collect();
        ContainerSummary {
            network_settings: Some(ContainerSummaryNetworkSettings {
                networks: Some(networks),
            }),
            ..ContainerSummary::default()
        }
    }

    #[test]
    fn one_that_misses_a_network_is_not_in_all_of_them() {
        let mut record = start::record(&testing::start(), None);
        assert!(is_in_all(&record, &in_networks(&["shop-dev_default"])));
        assert!(!is_in_all(&record, &in_networks(&["other"])));
        record
            .networks
            .insert("back".to_owned(), NetworkJoin::default());
        assert!(!is_in_all(&record, &in_networks(&["shop-dev_default"])));
        record.networks = BTreeMap::new();
        assert!(is_in_all(&record, &in_networks(&[])));
    }
}
