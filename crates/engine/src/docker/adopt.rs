//! Containers that Docker Compose started: found by its labels, taken over as they run, let go
//! again. A label cannot be added to a container that runs, so what became of it is only in the
//! instance's record. Nothing is stopped or changed here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::Docker;
use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum, ImageConfig, PortMap,
};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder,
    TagImageOptionsBuilder,
};
use towpath_model::adoption::AdoptedContainer;
use towpath_model::adoption::found::{
    FoundContainer, FoundImage, FoundMount, FoundPort, FoundProject, FoundSettings, FoundState,
};
use towpath_model::container::NetworkMode;
use towpath_model::id::InstanceId;
use towpath_model::observation::ArtifactState;
use towpath_model::port::{Artifacts, ImageRequest, PortError};

use super::client::{Trouble, label_filter};
use super::names::{self, Labelled};
use super::shared::{Instance, Release, Shared, Work, failed};
use super::state::{PinnedImage, Record, ReleaseFile, Stage};
use super::{image, join};

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const NUMBER: &str = "com.docker.compose.container-number";
const ONE_OFF: &str = "com.docker.compose.oneoff";
const DIRECTORY: &str = "com.docker.compose.project.working_dir";
const FILES: &str = "com.docker.compose.project.config_files";
const VOLUME: &str = "com.docker.compose.volume";
const NETWORK: &str = "com.docker.compose.network";

/// Characters of the name that Docker gives a volume without one.
const ANONYMOUS: usize = 64;

/// Finds the projects that Docker Compose started.
pub(super) async fn projects(shared: &Shared) -> Result<Vec<FoundProject>, Trouble> {
    let docker = shared.client.get().await?;
    let trouble = |error| shared.client.trouble(&error);
    let filter = label_filter(&[PROJECT.to_owned()]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filter)
        .build();
    let listed = docker
        .list_containers(Some(options))
        .await
        .map_err(trouble)?;
    let mut projects: BTreeMap<String, FoundProject> = BTreeMap::new();
    let mut images = Images::default();
    for summary in listed {
        let labels = summary.labels.unwrap_or_default();
        let (Some(name), Some(id)) = (labels.get(PROJECT), summary.id) else {
            continue;
        };
        let inspected = docker.inspect_container(&id, None).await.map_err(trouble);
        let inspected = match inspected {
            Ok(inspected) => inspected,
            // It went away meanwhile.
            Err(Trouble::Missing(_)) => continue,
            Err(trouble) => return Err(trouble),
        };
        let project = projects.entry(name.clone()).or_default();
        project.name.clone_from(name);
        let container = container(shared, &docker, inspected, &labels, &mut images).await?;
        project.containers.push(container);
    }
    for project in projects.values_mut() {
        name_volumes_and_networks(shared, &docker, project).await?;
        project
            .containers
            .sort_by(|a, b| (&a.service, a.number).cmp(&(&b.service, b.number)));
    }
    Ok(projects.into_values().collect())
}

async fn name_volumes_and_networks(
    shared: &Shared,
    docker: &Docker,
    project: &mut FoundProject,
) -> Result<(), Trouble> {
    let trouble = |error| shared.client.trouble(&error);
    let filter = label_filter(&[format!("{PROJECT}={}", project.name)]);
    let options = ListVolumesOptionsBuilder::default()
        .filters(&filter)
        .build();
    let volumes = docker.list_volumes(Some(options)).await.map_err(trouble)?;
    for volume in volumes.volumes.into_iter().flatten() {
        if let Some(name) = volume.labels.get(VOLUME) {
            project.volumes.insert(name.clone(), volume.name);
        }
    }
    let options = ListNetworksOptionsBuilder::default()
        .filters(&filter)
        .build();
    let networks = docker.list_networks(Some(options)).await.map_err(trouble)?;
    for network in networks {
        let labels = network.labels.unwrap_or_default();
        if let (Some(name), Some(on_machine)) = (labels.get(NETWORK), network.name) {
            project.networks.insert(name.clone(), on_machine);
        }
    }
    Ok(())
}

/// An image's id and what it says; `None` when it is not there.
type Known = Option<(String, FoundSettings)>;

/// What images say, each asked for once.
#[derive(Debug, Default)]
struct Images(HashMap<String, Known>);

impl Images {
    /// Returns what is known of an image.
    async fn get(
        &mut self,
        shared: &Shared,
        docker: &Docker,
        reference: &str,
    ) -> Result<Known, Trouble> {
        if let Some(known) = self.0.get(reference) {
            return Ok(known.clone());
        }
        let found = docker.inspect_image(reference).await;
        let found = match found.map_err(|error| shared.client.trouble(&error)) {
            Ok(found) => {
                let config = found.config.unwrap_or_default();
                Some((found.id.unwrap_or_default(), defaults(config)))
            }
            Err(Trouble::Missing(_)) => None,
            Err(trouble) => return Err(trouble),
        };
        self.0.insert(reference.to_owned(), found.clone());
        Ok(found)
    }
}

fn defaults(config: ImageConfig) -> FoundSettings {
    FoundSettings {
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        environment: variables(config.env),
        user: config.user.unwrap_or_default(),
        working_directory: config.working_dir.unwrap_or_default(),
    }
}

fn variables(list: Option<Vec<String>>) -> BTreeMap<String, String> {
    let pairs = list.unwrap_or_default();
    let pairs = pairs.iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (pair.clone(), String::new()),
    });
    pairs.collect()
}

async fn container(
    shared: &Shared,
    docker: &Docker,
    inspected: ContainerInspectResponse,
    labels: &HashMap<String, String>,
    images: &mut Images,
) -> Result<FoundContainer, Trouble> {
    let state = state(&inspected);
    let config = inspected.config.unwrap_or_default();
    let reference = config.image.clone().unwrap_or_default();
    let image_id = inspected.image.unwrap_or_default();
    let own = images.get(shared, docker, &image_id).await?;
    let now = images.get(shared, docker, &reference).await?;
    let host = inspected.host_config.unwrap_or_default();
    let settings = inspected.network_settings.unwrap_or_default();
    let label = |name: &str| labels.get(name).filter(|text| !text.is_empty()).cloned();
    let files = label(FILES).unwrap_or_default();
    Ok(FoundContainer {
        id: inspected.id.unwrap_or_default(),
        name: inspected
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned(),
        service: label(SERVICE).unwrap_or_default(),
        number: label(NUMBER)
            .and_then(|number| number.parse().ok())
            .unwrap_or_default(),
        one_off: label(ONE_OFF).is_some_and(|word| word.eq_ignore_ascii_case("true")),
        working_directory: label(DIRECTORY),
        config_files: files
            .split(',')
            .filter(|file| !file.is_empty())
            .map(str::to_owned)
            .collect(),
        state,
        image: FoundImage {
            reference,
            id: image_id,
            now: now.map(|(id, _)| id),
        },
        settings: FoundSettings {
            entrypoint: config.entrypoint.unwrap_or_default(),
            command: config.cmd.unwrap_or_default(),
            environment: variables(config.env),
            user: config.user.unwrap_or_default(),
            working_directory: config.working_dir.unwrap_or_default(),
        },
        defaults: own.map(|(_, defaults)| defaults).unwrap_or_default(),
        mounts: mounts(inspected.mounts.unwrap_or_default()),
        on_host_network: host.network_mode.as_deref() == Some("host"),
        networks: networks(settings.networks.unwrap_or_default()),
        ports: ports(host.port_bindings.unwrap_or_default(), settings.ports),
        memory: host
            .memory
            .and_then(|bytes| u64::try_from(bytes).ok())
            .unwrap_or_default(),
    })
}

fn state(inspected: &ContainerInspectResponse) -> FoundState {
    let state = inspected.state.clone().unwrap_or_default();
    let health = state.health.and_then(|health| health.status);
    match state.status {
        Some(ContainerStateStatusEnum::RUNNING) if health == Some(HealthStatusEnum::UNHEALTHY) => {
            FoundState::Other("unhealthy".to_owned())
        }
        Some(ContainerStateStatusEnum::RUNNING) => FoundState::Running,
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => {
            FoundState::Exited {
                code: state.exit_code.unwrap_or_default(),
            }
        }
        // Made and never started: it is as if it was not there.
        Some(ContainerStateStatusEnum::CREATED) => FoundState::Exited { code: 1 },
        Some(other) => FoundState::Other(other.to_string()),
        None => FoundState::Other("in no state that is known".to_owned()),
    }
}

fn mounts(points: Vec<bollard::models::MountPoint>) -> Vec<FoundMount> {
    let points = points.into_iter().map(|point| {
        let is_volume = point.typ.as_deref() == Some("volume");
        let is_bind = point.typ.as_deref() == Some("bind");
        let name = point.name.filter(|_| is_volume);
        FoundMount {
            target: point.destination.unwrap_or_default(),
            anonymous: name.as_deref().is_some_and(is_anonymous),
            volume: name,
            path: point.source.filter(|_| is_bind),
        }
    });
    points.collect()
}

fn is_anonymous(name: &str) -> bool {
    name.len() == ANONYMOUS && name.bytes().all(|c| c.is_ascii_hexdigit())
}

fn networks(endpoints: HashMap<String, bollard::models::EndpointSettings>) -> BTreeSet<String> {
    endpoints
        .into_keys()
        .filter(|name| name != "none" && name != "host")
        .collect()
}

/// Returns the published ports: those that run where something runs, which also have the ports that
/// Docker chose.
fn ports(asked: PortMap, running: Option<PortMap>) -> BTreeSet<FoundPort> {
    let all = running.filter(|ports| !ports.is_empty()).unwrap_or(asked);
    let mut found = BTreeSet::new();
    for (target, bindings) in all {
        let (target, protocol) = target.split_once('/').unwrap_or((&target, "tcp"));
        let Ok(target) = target.parse() else {
            continue;
        };
        for binding in bindings.into_iter().flatten() {
            let port = binding.host_port.and_then(|port| port.parse().ok());
            let host = binding.host_ip.and_then(|ip| ip.parse().ok());
            let host = host.filter(|ip: &std::net::IpAddr| !ip.is_unspecified());
            found.extend(port.map(|port| FoundPort {
                host,
                port,
                target,
                protocol: protocol.to_owned(),
            }));
        }
    }
    found
}

/// Writes down that a container is an instance, and keeps its image for the release.
pub(super) async fn adopt(shared: &Shared, adopted: &AdoptedContainer) -> Result<(), PortError> {
    let attempted = || format!("take {} over", adopted.id);
    if shared.instance(&adopted.id).is_some() {
        return Ok(());
    }
    let docker = shared.client.get().await;
    let docker = docker.map_err(|trouble| trouble.failed(attempted()))?;
    let inspected = docker.inspect_container(&adopted.container, None).await;
    let inspected = match inspected.map_err(|error| shared.client.trouble(&error)) {
        Ok(inspected) => Some(inspected),
        // Gone since it was found: that is how the instance ended.
        Err(Trouble::Missing(_)) => None,
        Err(trouble) => return Err(trouble.failed(attempted())),
    };
    let image = inspected.and_then(|found| found.image);
    let pinned = match image {
        Some(image) => Some(
            pin(shared, &docker, adopted, image)
                .await
                .map_err(|trouble| trouble.failed(attempted()))?,
        ),
        None => None,
    };
    keep_release(shared, adopted, pinned.clone()).map_err(|error| failed(attempted(), &error))?;
    let record = record(adopted, pinned.as_ref());
    let mut known = shared.lock();
    shared
        .write(&record)
        .map_err(|error| failed(attempted(), &error))?;
    let environment = known.entry(adopted.id.environment.clone()).or_default();
    let instance = Instance {
        record,
        work: Work::None,
        seen: None,
        paused: false,
        hand: None,
        limits: None,
    };
    environment.instances.insert(adopted.id.clone(), instance);
    drop(known);
    shared.tell(&adopted.id.environment);
    Ok(())
}

/// Gives the image of a container the release's own tag, so that nothing prunes it.
async fn pin(
    shared: &Shared,
    docker: &Docker,
    adopted: &AdoptedContainer,
    image: String,
) -> Result<PinnedImage, Trouble> {
    let id = &adopted.id;
    let (repository, tag) = names::image(&id.environment, &id.service, adopted.release);
    let options = TagImageOptionsBuilder::default()
        .repo(&repository)
        .tag(&tag)
        .build();
    let tagged = docker.tag_image(&image, Some(options)).await;
    match tagged.map_err(|error| shared.client.trouble(&error)) {
        Ok(()) => {}
        // Somebody removed the image by force: what runs goes on without it.
        Err(Trouble::Missing(reason)) => {
            tracing::warn!(instance = %id, reason, "the image of what was taken over is gone");
        }
        Err(trouble) => return Err(trouble),
    }
    let found = docker.inspect_image(&image).await.ok();
    let known = found.and_then(|found| image::pinned(found, None));
    Ok(known.unwrap_or(PinnedImage {
        id: image,
        digest: None,
        brought: None,
        port: None,
        check: None,
    }))
}

/// Writes down that the release that stands for what runs is ready, with this image too.
fn keep_release(
    shared: &Shared,
    adopted: &AdoptedContainer,
    pinned: Option<PinnedImage>,
) -> std::io::Result<()> {
    let (id, release) = (&adopted.id, adopted.release);
    let mut known = shared.lock();
    let environment = known.entry(id.environment.clone()).or_default();
    let there = environment.releases.get(&release);
    let mut file = there.map_or_else(
        || ReleaseFile {
            artifacts: Artifacts {
                environment: id.environment.clone(),
                release,
                source: None,
                builds: Vec::new(),
                images: BTreeMap::new(),
            },
            state: ArtifactState::Ready,
            images: BTreeMap::new(),
        },
        |release| release.file.clone(),
    );
    if let Some(container) = adopted.spec.container.as_deref() {
        let request = ImageRequest {
            image: container.image.clone(),
            platform: container.platform.clone(),
        };
        file.artifacts.images.insert(id.service.clone(), request);
    }
    if let Some(pinned) = pinned {
        file.images.insert(id.service.clone(), pinned);
    }
    image::write(shared, &file)?;
    let written = Release { file, making: None };
    environment.releases.insert(release, written);
    Ok(())
}

fn record(adopted: &AdoptedContainer, image: Option<&PinnedImage>) -> Record {
    let spec = &adopted.spec;
    let container = spec.container.as_deref().cloned().unwrap_or_default();
    let joined = join::Joined::new(&adopted.id.environment, &adopted.id.service, &container);
    let exposed = image.and_then(|image| image.port);
    Record {
        labelled: Labelled {
            id: adopted.id.clone(),
            workload: adopted.workload.clone(),
            release: adopted.release,
            port: spec.container_port.or(exposed).unwrap_or(0),
            network: match &container.network {
                NetworkMode::Networks(_) => Some(joined.mode),
                NetworkMode::Host | NetworkMode::None => None,
            },
        },
        container: Some(adopted.container.clone()),
        stage: Stage::Begun,
        stop: None,
        check: image
            .and_then(|image| image.check.clone())
            .filter(|_| container.image_health),
        networks: join::joins(&container),
        // Compose gave it its names.
        exclusive: true,
        // What Compose ran after its start is done.
        limits: None,
        post_start: Vec::new(),
        pre_stop: container.pre_stop,
    }
}

/// Forgets an instance that was taken over.
pub(super) fn let_go(shared: &Shared, id: &InstanceId) -> Result<(), PortError> {
    let Some(known) = shared.instance(id) else {
        return Ok(());
    };
    if known.record.container.is_none() {
        return Err(PortError::Refused(format!(
            "{id} was started here: it is not let go but stopped"
        )));
    }
    shared
        .forget(id)
        .map_err(|error| failed(format!("let {id} go"), &error))
}

#[cfg(test)]
mod tests {
    use bollard::models::PortBinding;

    use super::*;

    #[test]
    fn a_published_port_is_one_whatever_the_addresses_that_docker_lists() {
        let binding = |ip: &str| PortBinding {
            host_ip: Some(ip.to_owned()),
            host_port: Some("8080".to_owned()),
        };
        let map: PortMap = HashMap::from([
            (
                "80/tcp".to_owned(),
                Some(vec![binding("0.0.0.0"), binding("::")]),
            ),
            ("443/tcp".to_owned(), None),
        ]);
        let found = ports(PortMap::default(), Some(map));
        let wanted = FoundPort {
            host: None,
            port: 8080,
            target: 80,
            protocol: "tcp".to_owned(),
        };
        assert_eq!(found, BTreeSet::from([wanted]));
    }

    #[test]
    fn a_volume_that_docker_named_is_told_from_one_that_has_a_name() {
        assert!(is_anonymous(&"0a".repeat(32)));
        assert!(!is_anonymous("shop_data"));
    }
}
