//! Removes instances, the images of releases, and whole environments: only what carries our labels
//! or tags, and never a volume unless it is asked for.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, RemoveVolumeOptions,
};
use towpath_model::id::{EnvironmentId, InstanceId, ReleaseNumber};
use towpath_model::port::{PortError, Volumes};

use super::client::{Trouble, label_filter};
use super::shared::{Release, Shared, failed};
use super::state::Stage;
use super::{logs, names, start};
use crate::{secret_place, workspace};

/// How often, and how long after one another, a network is asked to go whose containers are gone.
const LETTING_GO_TRIES: u32 = 20;
const LETTING_GO: Duration = Duration::from_millis(100);

/// Removes an instance that ended. The end of its log stays for a while.
pub(super) async fn instance(shared: &Shared, id: &InstanceId) -> Result<(), PortError> {
    let attempted = || format!("remove {id}");
    let Some(known) = shared.instance(id) else {
        return Ok(());
    };
    if !matches!(known.record.stage, Stage::Ended(_)) {
        return Err(PortError::Refused(format!("{id} still runs")));
    }
    let docker = shared.client.get().await;
    let docker = docker.map_err(|trouble| trouble.failed(attempted()))?;
    remove_container(shared, &docker, id)
        .await
        .map_err(|trouble| trouble.failed(attempted()))?;
    shared
        .forget(id)
        .map_err(|error| failed(attempted(), &error))
}

async fn remove_container(
    shared: &Shared,
    docker: &Docker,
    id: &InstanceId,
) -> Result<(), Trouble> {
    let container = match start::find(shared, docker, id).await {
        Ok(Some(found)) => found.container,
        // Not there, or somebody else's of the same name.
        Ok(None) | Err(Trouble::Refused(_)) => return Ok(()),
        Err(trouble) => return Err(trouble),
    };
    logs::keep(shared, docker, id).await;
    // By force: somebody may have started it again by hand.
    // Volumes without a name go with it, but not those of one that was taken over: they were made
    // by somebody else.
    let adopted = shared.instance(id).and_then(|known| known.record.container);
    let options = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(adopted.is_none());
    let removed = docker
        .remove_container(&container, Some(options.build()))
        .await;
    gone(removed.map_err(|error| shared.client.trouble(&error)))
}

/// Tells whether a network is not removed because a container is in it. One that was removed just now may
/// still be, while Docker is busy.
fn is_still_used(error: &Error) -> bool {
    let Error::DockerResponseServerError {
        status_code: 403,
        message,
    } = error
    else {
        return false;
    };
    message.contains("active endpoints")
}

/// What is not there is removed.
fn gone(removed: Result<(), Trouble>) -> Result<(), Trouble> {
    match removed {
        Err(Trouble::Missing(_)) => Ok(()),
        removed => removed,
    }
}

/// Gives up what is being made of the releases that `unwanted` names, and waits until it is gone.
pub(super) async fn give_up(
    shared: &Shared,
    environment: &EnvironmentId,
    unwanted: impl Fn(ReleaseNumber) -> bool,
) {
    let making: Vec<_> = {
        let known = shared.lock();
        let releases = known.get(environment).map(|known| &known.releases);
        releases
            .into_iter()
            .flatten()
            .filter(|(number, _)| unwanted(**number))
            .filter_map(|(_, release)| release.making.clone())
            .collect()
    };
    for (cancel, done) in making {
        cancel.cancel();
        done.cancelled().await;
    }
}

/// Removes the images of all releases but those named and those that an instance runs.
pub(super) async fn keep(
    shared: &Shared,
    environment: &EnvironmentId,
    releases: &[ReleaseNumber],
) -> Result<(), PortError> {
    let surplus: Vec<ReleaseNumber> = {
        let known = shared.lock();
        let Some(known) = known.get(environment) else {
            return Ok(());
        };
        let used: BTreeSet<ReleaseNumber> = known
            .instances
            .values()
            .filter(|instance| !matches!(instance.record.stage, Stage::Ended(_)))
            .map(|instance| instance.record.labelled.release)
            .collect();
        known
            .releases
            .iter()
            .filter(|(number, release)| {
                release.making.is_none() && !releases.contains(number) && !used.contains(number)
            })
            .map(|(number, _)| *number)
            .collect()
    };
    for number in surplus {
        release(shared, environment, number).await?;
    }
    shared.tell(environment);
    Ok(())
}

async fn release(
    shared: &Shared,
    environment: &EnvironmentId,
    number: ReleaseNumber,
) -> Result<(), PortError> {
    let attempted = || format!("remove the images of release {number} of {environment}");
    let found = {
        let known = shared.lock();
        let release = known
            .get(environment)
            .and_then(|known| known.releases.get(&number));
        release.cloned()
    };
    if let Some(release) = found {
        untag(shared, environment, &release)
            .await
            .map_err(|trouble| trouble.failed(attempted()))?;
    }
    match std::fs::remove_dir_all(shared.layout.release(environment, number)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(attempted(), &error));
        }
        _ => {}
    }
    if let Some(known) = shared.lock().get_mut(environment) {
        known.releases.remove(&number);
    }
    Ok(())
}

/// Takes our tags away, and the references that were pulled for us and that no other release has.
/// Docker removes an image with its last name; one that a container has stays.
async fn untag(
    shared: &Shared,
    environment: &EnvironmentId,
    release: &Release,
) -> Result<(), Trouble> {
    let number = release.file.artifacts.release;
    let mut unwanted: Vec<String> = Vec::new();
    for (service, image) in &release.file.images {
        let (repository, tag) = names::image(environment, service, number);
        unwanted.push(format!("{repository}:{tag}"));
        unwanted.extend(
            image
                .brought
                .clone()
                .filter(|reference| !is_wanted(shared, (environment, number), reference)),
        );
    }
    if unwanted.is_empty() {
        return Ok(());
    }
    let docker = shared.client.get().await?;
    for reference in unwanted {
        let options = RemoveImageOptionsBuilder::default().build();
        let removed = docker.remove_image(&reference, Some(options), None).await;
        match removed.map_err(|error| shared.client.trouble(&error)) {
            Ok(_) | Err(Trouble::Missing(_)) => {}
            Err(Trouble::Conflict(reason)) => {
                tracing::info!(reference, reason, "an image is still in use and stays");
            }
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(())
}

/// Tells whether another release of any environment has an image by this reference.
fn is_wanted(shared: &Shared, own: (&EnvironmentId, ReleaseNumber), reference: &str) -> bool {
    let known = shared.lock();
    known.iter().any(|(environment, known)| {
        known.releases.iter().any(|(number, release)| {
            (environment, *number) != own
                && release.file.artifacts.images.values().any(|request| {
                    matches!(
                        &request.image,
                        towpath_model::container::Image::Pulled { reference: other, .. }
                            if other == reference
                    )
                })
        })
    })
}

/// Removes everything of an environment in which nothing runs.
pub(super) async fn environment(
    shared: &Shared,
    environment: &EnvironmentId,
    volumes: Volumes,
) -> Result<(), PortError> {
    let (instances, releases): (Vec<InstanceId>, Vec<ReleaseNumber>) = {
        let known = shared.lock();
        let Some(known) = known.get(environment) else {
            return Ok(());
        };
        let running = known
            .instances
            .iter()
            .find(|(_, instance)| !matches!(instance.record.stage, Stage::Ended(_)));
        if let Some((running, _)) = running {
            return Err(PortError::Refused(format!("{running} still runs")));
        }
        (
            known.instances.keys().cloned().collect(),
            known.releases.keys().copied().collect(),
        )
    };
    for id in &instances {
        instance(shared, id).await?;
    }
    let attempted = || format!("destroy {environment}");
    let docker = shared.client.get().await;
    let docker = docker.map_err(|trouble| trouble.failed(attempted()))?;
    sweep(shared, &docker, environment, volumes)
        .await
        .map_err(|trouble| trouble.failed(attempted()))?;
    for number in releases {
        release(shared, environment, number).await?;
    }
    for id in &instances {
        secret_place::remove(&shared.secrets_of(id))
            .map_err(|error| failed(attempted(), &error))?;
    }
    workspace::forget(&shared.layout.data.environment(environment))
        .map_err(|error| failed(attempted(), &error))?;
    match std::fs::remove_dir_all(shared.layout.environment(environment)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed(attempted(), &error));
        }
        _ => {}
    }
    shared.lock().remove(environment);
    shared.tell(environment);
    Ok(())
}

/// Removes every container, network and, when asked, volume that carries the environment's labels.
async fn sweep(
    shared: &Shared,
    docker: &Docker,
    environment: &EnvironmentId,
    volumes: Volumes,
) -> Result<(), Trouble> {
    let trouble = |error| shared.client.trouble(&error);
    let filter = label_filter(&names::filter(&shared.data_id, environment));
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filter);
    let containers = docker.list_containers(Some(options.build())).await;
    for container in containers.map_err(trouble)? {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true);
        let name = container.id.unwrap_or_default();
        let removed = docker.remove_container(&name, Some(options.build())).await;
        gone(removed.map_err(trouble))?;
    }
    let options = ListNetworksOptionsBuilder::default()
        .filters(&filter)
        .build();
    let networks = docker.list_networks(Some(options)).await.map_err(trouble)?;
    for network in networks {
        let id = network.id.unwrap_or_default();
        let mut tries = 0;
        while let Err(error) = docker.remove_network(&id).await {
            tries += 1;
            if !is_still_used(&error) || tries > LETTING_GO_TRIES {
                gone(Err(trouble(error)))?;
                break;
            }
            tokio::time::sleep(LETTING_GO).await;
        }
    }
    if volumes == Volumes::Delete {
        let options = ListVolumesOptionsBuilder::default()
            .filters(&filter)
            .build();
        let found = docker.list_volumes(Some(options)).await.map_err(trouble)?;
        for volume in found.volumes.into_iter().flatten() {
            let removed = docker
                .remove_volume(&volume.name, None::<RemoveVolumeOptions>)
                .await;
            gone(removed.map_err(trouble))?;
        }
    }
    Ok(())
}
