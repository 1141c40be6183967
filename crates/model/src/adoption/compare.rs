//! A container that runs beside what the files say of its service. Compose's own digest of a service
//! (`com.docker.compose.config-hash`) is not asked: it changes with the version of Compose, and it
//! does not say what differs.

use std::collections::BTreeSet;

use super::found::{FoundContainer, FoundSettings};
use crate::container::{Container, Image, MountSource, NetworkMode, PullPolicy};
use crate::release::RenderedService;
use crate::workload::WorkloadSpec;

/// The label that makes a workload of what runs another than that of the files.
const DIFFERS: &str = "towpath.adopted.differs";

/// Returns what of a container is not as the files say, in Compose's words. Values are not named:
/// they may be secrets.
pub fn differences(service: &RenderedService, found: &FoundContainer) -> Vec<String> {
    let spec = &service.spec;
    let Some(container) = spec.container.as_deref() else {
        return vec!["engine".to_owned()];
    };
    let mut differs = Vec::new();
    differs.extend(image(container, found));
    differs.extend(program(spec, container, found));
    differs.extend(variables(spec, found));
    differs.extend(mounts(spec, container, found));
    differs.extend(networks(container, found));
    differs.extend(ports(service, container, found));
    let memory = spec.limits.memory_bytes.unwrap_or_default();
    differs.extend((memory != found.memory).then(|| "mem_limit".to_owned()));
    differs
}

fn image(container: &Container, found: &FoundContainer) -> Option<String> {
    let named_otherwise = match &container.image {
        Image::Pulled { reference, .. } => *reference != found.image.reference,
        // A built image has the name that Compose gave it.
        Image::Built(_) => false,
    };
    let is_another = found
        .image
        .now
        .as_ref()
        .is_some_and(|now| *now != found.image.id);
    (named_otherwise || is_another).then(|| "image".to_owned())
}

/// Returns what the program would be started with by the files.
fn expected(spec: &WorkloadSpec, container: &Container, defaults: &FoundSettings) -> FoundSettings {
    let entrypoint = container.entrypoint.clone();
    // An entry point of its own takes the image's command away.
    let command = match (&container.command, &entrypoint) {
        (Some(command), _) => command.clone(),
        (None, Some(_)) => Vec::new(),
        (None, None) => defaults.command.clone(),
    };
    FoundSettings {
        entrypoint: entrypoint.unwrap_or_else(|| defaults.entrypoint.clone()),
        command,
        environment: spec.environment.clone(),
        user: spec.user.clone().unwrap_or_else(|| defaults.user.clone()),
        working_directory: spec
            .working_directory
            .clone()
            .unwrap_or_else(|| defaults.working_directory.clone()),
    }
}

fn program(spec: &WorkloadSpec, container: &Container, found: &FoundContainer) -> Vec<String> {
    let expected = expected(spec, container, &found.defaults);
    let runs = &found.settings;
    let fields = [
        ("entrypoint", expected.entrypoint == runs.entrypoint),
        ("command", expected.command == runs.command),
        ("user", expected.user == runs.user),
        (
            "working_dir",
            expected.working_directory == runs.working_directory,
        ),
    ];
    let differs = fields.into_iter().filter(|(_, same)| !same);
    differs.map(|(name, _)| name.to_owned()).collect()
}

fn variables(spec: &WorkloadSpec, found: &FoundContainer) -> Vec<String> {
    let runs = &found.settings.environment;
    let stated = spec
        .environment
        .iter()
        .filter(|(name, value)| runs.get(*name) != Some(value));
    let unstated = runs.iter().filter(|(name, value)| {
        !spec.environment.contains_key(*name)
            && found.defaults.environment.get(*name) != Some(value)
    });
    let names: BTreeSet<&String> = stated.chain(unstated).map(|(name, _)| name).collect();
    names
        .into_iter()
        .map(|name| format!("environment.{name}"))
        .collect()
}

fn mounts(spec: &WorkloadSpec, container: &Container, found: &FoundContainer) -> Vec<String> {
    let at = |target: &str| found.mounts.iter().find(|mount| mount.target == target);
    let mut differs = Vec::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for mount in &spec.volumes {
        known.insert(&mount.target);
        let source = container.volumes.get(&mount.volume);
        let wanted = source.and_then(|source| source.external.as_deref());
        let runs = at(&mount.target).and_then(|mount| mount.volume.as_deref());
        if runs.is_none() || runs != wanted {
            differs.push(format!("volumes.{}", mount.target));
        }
    }
    for mount in &container.mounts {
        known.insert(&mount.target);
        let runs = at(&mount.target);
        let same = match &mount.source {
            MountSource::Path { path, .. } => {
                runs.and_then(|mount| mount.path.as_ref()) == Some(path)
            }
            MountSource::Source { .. } => runs.is_some_and(|mount| mount.path.is_some()),
            MountSource::Anonymous => runs.is_some_and(|mount| mount.anonymous),
            // Docker does not list it among the mounts.
            MountSource::Tmpfs { .. } => true,
        };
        if !same {
            differs.push(format!("volumes.{}", mount.target));
        }
    }
    let given = |target: &str| {
        target.starts_with("/run/secrets/")
            || spec
                .configs
                .iter()
                .any(|config| config.target == target || format!("/{}", config.target) == target)
    };
    let further = found.mounts.iter().filter(|mount| {
        !mount.anonymous && !known.contains(mount.target.as_str()) && !given(&mount.target)
    });
    differs.extend(further.map(|mount| format!("volumes.{}", mount.target)));
    differs
}

fn networks(container: &Container, found: &FoundContainer) -> Option<String> {
    let same = match &container.network {
        NetworkMode::Networks(joins) => {
            let wanted: BTreeSet<&String> = joins
                .values()
                .filter_map(|join| join.network.external.as_ref())
                .collect();
            !found.on_host_network && wanted == found.networks.iter().collect()
        }
        NetworkMode::Host => found.on_host_network,
        NetworkMode::None => true,
    };
    (!same).then(|| "networks".to_owned())
}

fn ports(
    service: &RenderedService,
    container: &Container,
    found: &FoundContainer,
) -> Option<String> {
    let routed = service
        .routes
        .iter()
        .filter(|route| route.hosts.is_empty())
        .map(|route| (route.port, "tcp"));
    let published = container
        .published
        .iter()
        .filter_map(|port| Some((port.port?, port.protocol.as_str())));
    let wanted: BTreeSet<(u16, &str)> = routed.chain(published).collect();
    let any = container.published.iter().any(|port| port.port.is_none());
    let runs: BTreeSet<(u16, &str)> = found
        .ports
        .iter()
        .map(|port| (port.port, port.protocol.as_str()))
        .collect();
    let same = if any {
        wanted.is_subset(&runs)
    } else {
        wanted == runs
    };
    (!same).then(|| "ports".to_owned())
}

/// Returns the specification of what runs where it is not what the files say: another workload, which
/// the next release replaces, and which comes back as it was should it end before.
pub fn as_it_runs(spec: &WorkloadSpec, found: &FoundContainer, differs: &[String]) -> WorkloadSpec {
    let mut runs = spec.clone();
    let Some(container) = runs.container.as_deref_mut() else {
        return runs;
    };
    container
        .labels
        .insert(DIFFERS.to_owned(), differs.join(","));
    container.image = Image::Pulled {
        reference: found.image.id.clone(),
        policy: PullPolicy::Never,
    };
    let settings = &found.settings;
    container.entrypoint = stated(&settings.entrypoint);
    container.command = stated(&settings.command);
    let own = settings
        .environment
        .iter()
        .filter(|(name, value)| found.defaults.environment.get(*name) != Some(value));
    runs.environment = own
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    runs.user = Some(settings.user.clone()).filter(|user| !user.is_empty());
    runs.working_directory =
        Some(settings.working_directory.clone()).filter(|path| !path.is_empty());
    runs
}

fn stated(words: &[String]) -> Option<Vec<String>> {
    (!words.is_empty()).then(|| words.to_vec())
}
