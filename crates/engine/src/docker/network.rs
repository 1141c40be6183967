//! Makes the networks and volumes that a container needs. They are made when they are needed, so
//! what somebody removed comes back with the next start.

use std::collections::{BTreeMap, HashMap};

use bollard::Docker;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, VolumeCreateRequest};
use towpath_model::container::{Container, NetworkJoin, NetworkSource, VolumeSource};
use towpath_model::id::EnvironmentId;
use towpath_model::workload::WorkloadSpec;

use super::client::Trouble;
use super::join::docker_name;
use super::mounts::volume_name;
use super::names;
use super::naming;
use super::shared::Shared;

/// Makes every network of these that is not there.
pub(super) async fn ensure(
    shared: &Shared,
    docker: &Docker,
    environment: &EnvironmentId,
    joins: &BTreeMap<String, NetworkJoin>,
) -> Result<(), Trouble> {
    for (name, join) in joins {
        let on_machine = docker_name(environment, name, join);
        // The permit is never closed.
        let _turn = shared.networks.acquire().await;
        ensure_network(shared, docker, environment, &on_machine, &join.network).await?;
    }
    Ok(())
}

async fn ensure_network(
    shared: &Shared,
    docker: &Docker,
    environment: &EnvironmentId,
    name: &str,
    source: &NetworkSource,
) -> Result<(), Trouble> {
    let found = docker.inspect_network(name, None).await;
    match found.map_err(|error| shared.client.trouble(&error)) {
        Ok(network) => {
            let labels = network.labels.unwrap_or_default();
            let external = source.external.is_some();
            ours(shared, environment, &labels, external, || {
                format!("network `{name}`")
            })?;
            let is_empty = network.containers.is_none_or(|all| all.is_empty());
            if external {
                return Ok(());
            }
            // Nobody is in it who would ask in the old way.
            if is_empty
                && naming::could_be_the_routers(shared, docker, &labels, source).await
                && docker.remove_network(name).await.is_ok()
            {
                return make_network(shared, docker, environment, name, source).await;
            }
            naming::note(shared, environment, name, &labels, network.ipam.as_ref());
            Ok(())
        }
        Err(Trouble::Missing(_)) if source.external.is_some() => Err(Trouble::Refused(format!(
            "the external network `{name}` does not exist: make it with `docker network create {name}`"
        ))),
        Err(Trouble::Missing(_)) => make_network(shared, docker, environment, name, source).await,
        Err(trouble) => Err(trouble),
    }
}

async fn make_network(
    shared: &Shared,
    docker: &Docker,
    environment: &EnvironmentId,
    name: &str,
    source: &NetworkSource,
) -> Result<(), Trouble> {
    let mut labels: HashMap<String, String> = source.labels.clone().into_iter().collect();
    labels.extend(names::labels(&shared.data_id, environment));
    labels.extend(naming::label(shared, docker, source).await);
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some(source.driver.clone().unwrap_or_else(|| "bridge".to_owned())),
        internal: Some(source.internal),
        attachable: Some(true),
        enable_ipv6: Some(source.ipv6),
        ipam: addresses(source),
        options: Some(source.driver_opts.clone().into_iter().collect()),
        labels: Some(labels.clone()),
        ..NetworkCreateRequest::default()
    };
    let trouble = |error| {
        let attempted = format!("cannot make the network `{name}`");
        shared.client.trouble(&error).after(&attempted)
    };
    docker.create_network(request).await.map_err(trouble)?;
    let made = docker.inspect_network(name, None).await.map_err(trouble)?;
    naming::note(shared, environment, name, &labels, made.ipam.as_ref());
    Ok(())
}

fn addresses(source: &NetworkSource) -> Option<Ipam> {
    let config = source.subnets.iter().map(|one| IpamConfig {
        subnet: one.cidr.clone(),
        ip_range: one.range.clone(),
        gateway: one.gateway.clone(),
        auxiliary_addresses: None,
    });
    (!source.subnets.is_empty()).then(|| Ipam {
        driver: None,
        config: Some(config.collect()),
        options: None,
    })
}

/// Makes every named volume of a container that is not there. Volumes stay.
pub(super) async fn ensure_volumes(
    shared: &Shared,
    docker: &Docker,
    environment: &EnvironmentId,
    spec: &WorkloadSpec,
    container: &Container,
) -> Result<(), Trouble> {
    let unknown = VolumeSource::default();
    for mount in &spec.volumes {
        let source = container.volumes.get(&mount.volume).unwrap_or(&unknown);
        let name = volume_name(environment, &mount.volume, source);
        let found = docker.inspect_volume(&name).await;
        match found.map_err(|error| shared.client.trouble(&error)) {
            Ok(volume) => {
                let external = source.external.is_some();
                let what = || format!("volume `{name}`");
                ours(shared, environment, &volume.labels, external, what)?;
            }
            Err(Trouble::Missing(_)) if source.external.is_some() => {
                return Err(Trouble::Refused(format!(
                    "the external volume `{name}` does not exist: make it with `docker volume create {name}`"
                )));
            }
            Err(Trouble::Missing(_)) => {
                let mut labels: HashMap<String, String> =
                    source.labels.clone().into_iter().collect();
                labels.extend(names::labels(&shared.data_id, environment));
                let request = VolumeCreateRequest {
                    name: Some(name.clone()),
                    driver: source.driver.clone(),
                    driver_opts: Some(source.driver_opts.clone().into_iter().collect()),
                    labels: Some(labels),
                    cluster_volume_spec: None,
                };
                docker.create_volume(request).await.map_err(|error| {
                    let attempted = format!("cannot make the volume `{name}`");
                    shared.client.trouble(&error).after(&attempted)
                })?;
            }
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(())
}

/// Refuses what has our name and is somebody else's.
fn ours(
    shared: &Shared,
    environment: &EnvironmentId,
    labels: &HashMap<String, String>,
    external: bool,
    what: impl Fn() -> String,
) -> Result<(), Trouble> {
    let own = names::labels(&shared.data_id, environment);
    let is_ours = own
        .iter()
        .all(|(name, value)| labels.get(name) == Some(value));
    if external || is_ours {
        return Ok(());
    }
    Err(Trouble::Refused(format!(
        "the {} exists already and is not of this environment: remove it, rename the app, or declare it `external`",
        what()
    )))
}
