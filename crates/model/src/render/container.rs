//! One service as a container: the whole of its [`WorkloadSpec`] and its routes. The parts are
//! beside it. Texts are given to a container as Compose has them: names are those of its network,
//! ports and paths are its own. Not how an engine makes one.

mod file;
mod image;
mod isolation;
mod mount;
mod named;
mod network;
mod port;

use std::collections::BTreeMap;

use towpath_compose::model::{self, DeviceRequest};

use super::context::{Context, Subject};
use super::draft::SecretUse;
use super::{health, limits};
use crate::container::{Container, FileOwner, Hook, Logging, NetworkMode, Resources};
use crate::release::RouteSpec;
use crate::workload::{Command, WorkloadSpec};

pub(super) use mount::judge as judge_volumes;
pub(super) use network::judge as judge_networks;
pub(super) use port::{of_service as port_protocol, refuse_conflicts};

/// A service as a container.
pub(super) struct Parts {
    /// What an instance is.
    pub(super) spec: WorkloadSpec,
    /// The secrets that an instance is given.
    pub(super) secrets: Vec<SecretUse>,
    /// How requests from outside reach it.
    pub(super) routes: Vec<RouteSpec>,
}

/// Renders a service.
pub(super) fn render(context: &mut Context<'_>, subject: &Subject<'_>) -> Parts {
    refuse_unknown_port(context, subject);
    let service = subject.service;
    let mut owners: BTreeMap<String, FileOwner> = BTreeMap::new();
    let secrets = file::secrets(context, subject, &mut owners);
    let configs = file::configs(context, subject, &mut owners);
    let mounts = mount::mounts(context, subject);
    let container = Container {
        image: image::image(context, subject),
        platform: image::platform(context, subject),
        entrypoint: service.entrypoint.clone(),
        command: service.command.clone(),
        network: network::mode(context, subject),
        published: Vec::new(),
        mounts: mounts.others,
        volumes: mounts.sources,
        file_owners: owners,
        labels: service.labels.clone(),
        logging: service.logging.as_ref().map(|logging| Logging {
            driver: logging.driver.clone(),
            options: logging.options.clone(),
        }),
        isolation: isolation::isolation(subject),
        naming: isolation::naming(subject),
        resources: resources(subject),
        image_health: health::is_unstated(subject),
        post_start: hooks(&service.post_start),
        pre_stop: hooks(&service.pre_stop),
        init: service.init.unwrap_or_default(),
        tty: service.tty,
        stdin_open: service.stdin_open,
    };
    let mut spec = WorkloadSpec {
        environment: stated(&service.environment),
        working_directory: service.working_dir.clone(),
        user: service.user.clone(),
        configs,
        volumes: mounts.volumes,
        container_port: subject.container_port,
        listens: subject.listens,
        health: health::of_container(context, subject),
        stop_signal: limits::stop_signal_of_container(subject),
        stop_grace: limits::stop_grace(subject),
        limits: limits::limits(context, subject),
        ..WorkloadSpec::new(subject.name.clone(), Command::Exec(Vec::new()))
    };
    spec.container = Some(Box::new(container));
    let ports = port::ports(context, subject, &spec);
    if let Some(container) = &mut spec.container {
        container.published = ports.published;
    }
    Parts {
        spec,
        secrets,
        routes: ports.routes,
    }
}

/// Returns the variables that have a value.
fn stated(variables: &model::Environment) -> BTreeMap<String, String> {
    variables
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
        .collect()
}

/// Refuses what needs a port where nothing says which one.
fn refuse_unknown_port(context: &mut Context<'_>, subject: &Subject<'_>) {
    let (name, settings) = (subject.name.as_str(), &subject.settings);
    if subject.container_port.is_some() || settings.listen == Some(false) {
        return;
    }
    let probe = settings.health.as_ref().and_then(|health| {
        let http = health.http.as_ref().map(|_| "http");
        http.or(health.tcp.map(|_| "tcp"))
    });
    let span = if let Some(kind) = probe {
        context.delivery(&["services", name, "health", kind])
    } else if !subject.domains.is_empty() {
        context.in_environment(&["domains", name])
    } else if settings.listen == Some(true) {
        context.delivery(&["services", name, "listen"])
    } else {
        return;
    };
    let message = format!("nothing says on which port `{name}` listens");
    let help =
        format!("write `services.{name}.port: 8080` in towpath.yaml, or `expose` in Compose");
    context.refuse("no-port", message, span, help);
}

fn resources(subject: &Subject<'_>) -> Resources {
    let service = subject.service;
    let deploy = service.deploy.as_ref();
    let reserved = deploy.and_then(|deploy| deploy.resources.reservations.as_ref());
    let positive = |size: model::ByteSize| u64::try_from(size.0).ok().filter(|bytes| *bytes > 0);
    Resources {
        memory_reservation: reserved
            .and_then(|reserved| reserved.memory)
            .or(service.mem_reservation)
            .and_then(positive),
        memory_swap: service.memswap_limit.map(|size| size.0),
        memory_swappiness: service.mem_swappiness.map(|size| size.0),
        cpu_shares: service.cpu_shares,
        cpu_period: service.cpu_period,
        cpu_quota: service.cpu_quota,
        cpuset: service.cpuset.clone(),
        shm_bytes: service.shm_size.and_then(positive),
        oom_kill_disable: service.oom_kill_disable,
        oom_score_adj: service.oom_score_adj,
        blkio_weight: service.blkio_config.as_ref().and_then(|blkio| blkio.weight),
    }
}

fn hooks(hooks: &[model::Hook]) -> Vec<Hook> {
    hooks
        .iter()
        .map(|hook| Hook {
            command: hook.command.clone().unwrap_or_default(),
            user: hook.user.clone(),
            privileged: hook.privileged,
            working_directory: hook.working_dir.clone(),
            environment: stated(&hook.environment),
        })
        .collect()
}

/// Returns the devices that a service asks for by what they can do.
fn device_requests(subject: &Subject<'_>) -> Vec<crate::container::DeviceRequest> {
    let service = subject.service;
    let deploy = service.deploy.as_ref();
    let reserved = deploy.and_then(|deploy| deploy.resources.reservations.as_ref());
    let reserved = reserved.into_iter().flat_map(|reserved| &reserved.devices);
    let request = |device: &DeviceRequest, implied: Option<&str>| {
        let mut capabilities = device.capabilities.clone();
        if let Some(implied) = implied
            && capabilities.is_empty()
        {
            capabilities.push(implied.to_owned());
        }
        // Without a number and without ids all of them are meant.
        let all = device.device_ids.is_empty().then_some(-1);
        crate::container::DeviceRequest {
            driver: device.driver.clone(),
            count: device.count.or(all),
            ids: device.device_ids.clone(),
            capabilities,
            options: device.options.clone(),
        }
    };
    let reserved = reserved.map(|device| request(device, None));
    let gpus = service.gpus.iter().map(|gpu| request(gpu, Some("gpu")));
    reserved.chain(gpus).collect()
}

/// Tells whether a service has no network at all.
pub(super) fn is_cut_off(service: &model::Service) -> bool {
    service.network_mode.as_deref() == Some("none")
}

/// Tells whether a service has the machine's own network.
fn has_host_network(network: &NetworkMode) -> bool {
    match network {
        NetworkMode::Host => true,
        NetworkMode::None | NetworkMode::Networks(_) => false,
    }
}
