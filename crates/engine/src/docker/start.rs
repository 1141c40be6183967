//! Starts an instance: everything from the order to the running container. Not the making of its
//! image ([`super::image`]), though one that somebody removed is made again here.

use std::collections::BTreeMap;
use std::sync::Arc;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, ContainerStateStatusEnum, NetworkConnectRequest};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use towpath_model::container::{Container, NetworkMode};
use towpath_model::id::{InstanceId, SecretName};
use towpath_model::observation::Exit;
use towpath_model::port::InstanceStart;
use towpath_model::workload::SecretValue;

use super::body::{Parts, body};
use super::client::Trouble;
use super::join::{self, Joined};
use super::names::{self, Labelled};
use super::naming::Naming;
use super::shared::{Shared, Work};
use super::state::{PinnedImage, Record, Stage};
use super::{exec, files, given, image, mounts, network, stop};

/// A start that was asked for.
pub(super) struct Order {
    pub(super) start: InstanceStart,
    pub(super) secrets: BTreeMap<SecretName, SecretValue>,
}

/// Returns what is written down before anything is done.
pub(super) fn record(start: &InstanceStart, image: Option<&PinnedImage>) -> Record {
    let container = start.spec.container.as_deref();
    let unknown = Container::default();
    let container = container.unwrap_or(&unknown);
    let joined = Joined::new(&start.id.environment, &start.id.service, container);
    let exposed = image.and_then(|image| image.port);
    let port = start.spec.container_port.or(start.fixed_port).or(exposed);
    Record {
        labelled: Labelled {
            id: start.id.clone(),
            workload: start.workload.clone(),
            release: start.release,
            port: port.unwrap_or(0),
            network: match &container.network {
                NetworkMode::Networks(_) => Some(joined.mode),
                NetworkMode::Host | NetworkMode::None => None,
            },
        },
        container: None,
        stage: Stage::Asked,
        stop: None,
        check: image
            .and_then(|image| image.check.clone())
            .filter(|_| container.image_health),
        networks: join::joins(container),
        exclusive: start.spec.exclusive().is_some(),
        limits: None,
        post_start: container.post_start.clone(),
        pre_stop: container.pre_stop.clone(),
    }
}

/// Makes and starts the container of an instance that was written down.
pub(super) async fn run(shared: Arc<Shared>, order: Order) {
    let id = order.start.id.clone();
    let started = match make(&shared, &order).await {
        Ok((docker, Made::New(_))) => begin(&shared, &docker, &id).await,
        Ok((_, Made::Ran)) => shared
            .change(&id, |record| record.stage = Stage::Begun)
            .map(drop)
            .map_err(|error| Trouble::Refused(format!("cannot write it down: {error}"))),
        Err(trouble) => Err(trouble),
    };
    conclude(&shared, &id, started).await;
}

/// Starts the container of an instance again whose start was asked of a Docker that went away.
pub(super) async fn resume(shared: Arc<Shared>, id: InstanceId) {
    let started = match shared.client.get().await {
        Ok(docker) => begin(&shared, &docker, &id).await,
        Err(trouble) => Err(trouble),
    };
    conclude(&shared, &id, started).await;
}

async fn conclude(shared: &Arc<Shared>, id: &InstanceId, started: Result<(), Trouble>) {
    match started {
        Ok(()) => {}
        Err(Trouble::Away(reason)) => {
            tracing::warn!(instance = %id, reason, "a start was interrupted and is tried again");
        }
        Err(trouble) => {
            discard(shared, id).await;
            shared.ended(id, cannot_start(shared, trouble.words()));
        }
    }
    let asked = shared.instance(id).and_then(|known| known.record.stop);
    let work = match asked {
        Some(_) => Work::Stopping,
        None => Work::None,
    };
    shared.set_work(id, work);
    if asked_to_stop(work) {
        stop::run(Arc::clone(shared), id.clone()).await;
    }
}

fn asked_to_stop(work: Work) -> bool {
    work == Work::Stopping
}

fn cannot_start(shared: &Shared, reason: &str) -> Exit {
    Exit {
        code: None,
        signal: None,
        error: Some(reason.to_owned()),
        is_by_hand: false,
        note: None,
        at: shared.clock.now(),
        log_tail: Vec::new(),
    }
}

/// Removes a container that will never run.
async fn discard(shared: &Shared, id: &InstanceId) {
    let Ok(docker) = shared.client.get().await else {
        return;
    };
    if let Ok(Some(found)) = find(shared, &docker, id).await {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true);
        // What stays is removed with the instance's record.
        let container = &found.container;
        drop(
            docker
                .remove_container(container, Some(options.build()))
                .await,
        );
    }
}

/// A container that is there under an instance's name.
pub(super) struct Found {
    /// Docker's id of it.
    pub(super) container: String,
    /// Whether it ever ran.
    ran: bool,
}

/// Returns the container of an instance, if it is ours.
pub(super) async fn find(
    shared: &Shared,
    docker: &Docker,
    id: &InstanceId,
) -> Result<Option<Found>, Trouble> {
    let adopted = shared.instance(id).and_then(|known| known.record.container);
    let name = shared.container_of(id);
    let found = docker.inspect_container(&name, None).await;
    let found = match found.map_err(|error| shared.client.trouble(&error)) {
        Ok(found) => found,
        Err(Trouble::Missing(_)) => return Ok(None),
        Err(trouble) => return Err(trouble),
    };
    let labels = found
        .config
        .and_then(|config| config.labels)
        .unwrap_or_default();
    // One that was taken over is ours by its record.
    let is_ours = adopted.is_some()
        || (labels.get(names::DATA) == Some(&shared.data_id)
            && labels.get(names::INSTANCE) == Some(&id.to_string()));
    if is_ours {
        let status = found.state.and_then(|state| state.status);
        return Ok(Some(Found {
            container: found.id.unwrap_or(name),
            ran: status != Some(ContainerStateStatusEnum::CREATED),
        }));
    }
    Err(Trouble::Refused(format!(
        "a container named `{name}` exists already and is not of this environment: remove or rename it"
    )))
}

/// The container of an instance that is to start.
enum Made {
    /// It was made just now.
    New(String),
    /// It is there and ran, though nobody wrote it down: it is never run twice.
    Ran,
}

/// Makes all that the instance needs, and its container.
async fn make(shared: &Arc<Shared>, order: &Order) -> Result<(Docker, Made), Trouble> {
    let start = &order.start;
    let docker = shared.client.get().await?;
    let Some(container) = start.spec.container.as_deref() else {
        return Err(Trouble::Refused(
            "its specification has no container".to_owned(),
        ));
    };
    let image = image::present(shared, &docker, start, &order.secrets).await?;
    let environment = &start.id.environment;
    network::ensure(shared, &docker, environment, &join::joins(container)).await?;
    network::ensure_volumes(shared, &docker, environment, &start.spec, container).await?;
    let naming = Naming::of(shared, environment, container);
    naming.wait().await?;
    let mut joined = Joined::new(environment, &start.id.service, container);
    // Of what there are never two at once, Docker's name is right, and there with it at once.
    if start.spec.exclusive().is_none() {
        joined.unname(&naming);
    }
    let further = joined.further.clone();
    let configs = shared.layout.instance(&start.id).join("configs");
    let request = request(shared, order, container, &image, joined, &configs);
    let request = request.map_err(Trouble::Refused)?;
    let made = create(shared, &docker, &start.id, container, request).await?;
    let Made::New(id) = &made else {
        return Ok((docker, made));
    };
    files::give(shared, &docker, &start.id, container, id).await?;
    for (name, endpoint) in further {
        let request = NetworkConnectRequest {
            container: id.clone(),
            endpoint_config: Some(endpoint),
        };
        docker
            .connect_network(&name, request)
            .await
            .map_err(|error| {
                let attempted = format!("cannot join the network `{name}`");
                shared.client.trouble(&error).after(&attempted)
            })?;
    }
    Ok((docker, made))
}

/// Writes the files that the instance is given, and says what its container is.
pub(super) fn request(
    shared: &Shared,
    order: &Order,
    container: &Container,
    image: &PinnedImage,
    joined: Joined,
    configs: &std::path::Path,
) -> Result<ContainerCreateBody, String> {
    let start = &order.start;
    let secrets = shared.secrets_of(&start.id);
    let (mut files, variables) = given::secrets(&secrets, &start.spec, container, &order.secrets)?;
    files.extend(given::configs(configs, &start.spec, container)?);
    let naming = Naming::of(shared, &start.id.environment, container);
    if let Some(text) = naming.file(container) {
        files.push(given::resolvers(configs, &text)?);
    }
    let tree = shared.source_of(&start.id.environment, start.release);
    let tree = tree.as_deref().and_then(std::path::Path::to_str);
    let environment = &start.id.environment;
    let mounted = mounts::mounted(environment, &start.spec, container, &files, tree)?;
    let labelled = record(start, Some(image)).labelled;
    body(Parts {
        resolvers: naming.resolvers(container),
        start,
        container,
        labelled: &labelled,
        data_id: &shared.data_id,
        image: &image.id,
        mounted,
        joined,
        secrets: variables,
    })
}

/// Makes the container. One that was never started, left by an interrupted start, makes place.
async fn create(
    shared: &Shared,
    docker: &Docker,
    id: &InstanceId,
    container: &Container,
    request: ContainerCreateBody,
) -> Result<Made, Trouble> {
    match find(shared, docker, id).await? {
        Some(left) if left.ran => return Ok(Made::Ran),
        Some(left) => {
            let options = RemoveContainerOptionsBuilder::default().v(true).build();
            let removed = docker
                .remove_container(&left.container, Some(options))
                .await;
            removed.map_err(|error| shared.client.trouble(&error))?;
        }
        None => {}
    }
    let mut options = CreateContainerOptionsBuilder::default().name(&names::container(id));
    if let Some(platform) = &container.platform {
        options = options.platform(platform);
    }
    let made = docker
        .create_container(Some(options.build()), request)
        .await;
    let made = made.map_err(|error| shared.client.trouble(&error))?;
    for warning in made.warnings {
        tracing::warn!(instance = %id, warning, "Docker warns");
    }
    Ok(Made::New(made.id))
}

/// Starts the container: from here on it is never made again.
async fn begin(shared: &Shared, docker: &Docker, id: &InstanceId) -> Result<(), Trouble> {
    let begun = shared.change(id, |record| record.stage = Stage::Begun);
    let record = begun
        .map_err(|error| Trouble::Refused(format!("cannot write it down: {error}")))?
        .ok_or_else(|| Trouble::Away("it was forgotten meanwhile".to_owned()))?;
    let name = names::container(id);
    let started = docker.start_container(&name, None).await;
    match started.map_err(|error| shared.client.trouble(&error)) {
        Ok(()) => {}
        // It runs already.
        Err(Trouble::Conflict(words)) if words.is_empty() => {}
        Err(trouble) => return Err(trouble),
    }
    for hook in &record.post_start {
        let done = exec::hook(shared, docker, &name, hook).await;
        if let Err(reason) = done {
            return Err(Trouble::Refused(format!(
                "its post_start command failed: {reason}"
            )));
        }
    }
    Ok(())
}
