//! What Docker is told to make of a specification. Pure: not the making.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, HealthConfig, HostConfig,
    HostConfigCgroupnsModeEnum, HostConfigLogConfig, NetworkingConfig, PortBinding, PortMap,
    ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use towpath_model::container::{Container, Isolation, PublishedPort};
use towpath_model::port::InstanceStart;
use towpath_model::workload::{Limits, WorkloadSpec};

use super::join::Joined;
use super::mounts::Mounted;
use super::names::Labelled;

/// What a container is made of.
pub(super) struct Parts<'a> {
    pub(super) start: &'a InstanceStart,
    pub(super) container: &'a Container,
    pub(super) labelled: &'a Labelled,
    pub(super) data_id: &'a str,
    /// The id of its image.
    pub(super) image: &'a str,
    pub(super) mounted: Mounted,
    pub(super) joined: Joined,
    /// The resolvers that it asks.
    pub(super) resolvers: Vec<String>,
    /// Variables that hold secrets.
    pub(super) secrets: Vec<(String, String)>,
}

/// Returns the request that makes the container.
pub(super) fn body(parts: Parts<'_>) -> Result<ContainerCreateBody, String> {
    let Parts {
        start,
        container,
        labelled,
        data_id,
        image,
        mounted,
        joined,
        resolvers,
        secrets,
    } = parts;
    let spec: &WorkloadSpec = &start.spec;
    let mut labels: HashMap<String, String> = container.labels.clone().into_iter().collect();
    labels.extend(labelled.labels(data_id));
    let mut host = host_config(container, &spec.limits)?;
    host.mounts = some(mounted.mounts);
    host.binds = some(mounted.binds);
    host.tmpfs = (!mounted.tmpfs.is_empty()).then_some(mounted.tmpfs);
    host.network_mode = Some(joined.mode);
    host.dns = some(resolvers);
    let endpoints: HashMap<_, _> = joined.first.into_iter().collect();
    Ok(ContainerCreateBody {
        hostname: container.naming.hostname.clone(),
        domainname: container.naming.domainname.clone(),
        user: spec.user.clone(),
        exposed_ports: some(exposed(&container.published)),
        tty: Some(container.tty),
        open_stdin: Some(container.stdin_open),
        env: Some(variables(start, labelled.port, secrets)),
        cmd: container.command.clone(),
        entrypoint: container.entrypoint.clone(),
        healthcheck: Some(no_check()),
        image: Some(image.to_owned()),
        working_dir: spec.working_directory.clone(),
        labels: Some(labels),
        stop_signal: Some(spec.stop_signal.clone()).filter(|signal| !signal.is_empty()),
        stop_timeout: i64::try_from(spec.stop_grace.as_secs()).ok(),
        host_config: Some(host),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(endpoints),
        }),
        ..ContainerCreateBody::default()
    })
}

/// Switches the image's own health check off: Towpath tries it, far more often while a verdict is
/// waited for.
fn no_check() -> HealthConfig {
    HealthConfig {
        test: Some(vec!["NONE".to_owned()]),
        ..HealthConfig::default()
    }
}

/// Returns the variables: those of the specification, then what says who the instance is.
fn variables(start: &InstanceStart, port: u16, secrets: Vec<(String, String)>) -> Vec<String> {
    let mut all: BTreeMap<String, String> = start.spec.environment.clone();
    let environment = &start.id.environment;
    let own = [
        ("TOWPATH_APP", environment.app.to_string()),
        ("TOWPATH_ENVIRONMENT", environment.name.to_string()),
        ("TOWPATH_INSTANCE", start.id.to_string()),
        ("TOWPATH_RELEASE", start.release.to_string()),
        ("TOWPATH_SERVICE", start.id.service.to_string()),
    ];
    all.extend(own.map(|(name, value)| (name.to_owned(), value)));
    if start.spec.container_port.is_none() && start.spec.listens && port != 0 {
        all.entry("PORT".to_owned()).or_insert(port.to_string());
    }
    all.extend(secrets);
    all.into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn host_config(container: &Container, limits: &Limits) -> Result<HostConfig, String> {
    let Container {
        isolation,
        resources,
        naming,
        ..
    } = container;
    let mut host = HostConfig {
        port_bindings: bindings(&container.published),
        // Towpath keeps the count. Docker's own policies would start what is to be gone.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        init: Some(container.init),
        log_config: container
            .logging
            .as_ref()
            .map(|logging| HostConfigLogConfig {
                typ: Some(logging.driver.clone().unwrap_or_default()),
                config: Some(logging.options.clone().into_iter().collect()),
            }),
        dns_options: some(naming.dns_opt.clone()),
        dns_search: some(naming.dns_search.clone()),
        extra_hosts: some(hosts(&naming.extra_hosts)),
        memory: bytes(limits.memory_bytes)?,
        nano_cpus: limits
            .cpu_millis
            .map(|millis| i64::from(millis) * 1_000_000),
        pids_limit: limits.pids.map(i64::from),
        ulimits: some(ulimits(limits)),
        memory_reservation: bytes(resources.memory_reservation)?,
        memory_swap: resources.memory_swap,
        memory_swappiness: resources.memory_swappiness,
        cpu_shares: resources.cpu_shares,
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        cpuset_cpus: resources.cpuset.clone(),
        shm_size: bytes(resources.shm_bytes)?,
        oom_kill_disable: resources.oom_kill_disable.then_some(true),
        oom_score_adj: resources.oom_score_adj,
        blkio_weight: resources.blkio_weight,
        ..HostConfig::default()
    };
    isolate(&mut host, isolation)?;
    Ok(host)
}

fn isolate(host: &mut HostConfig, isolation: &Isolation) -> Result<(), String> {
    host.privileged = Some(isolation.privileged);
    host.readonly_rootfs = Some(isolation.read_only);
    host.cap_add = some(isolation.cap_add.clone());
    host.cap_drop = some(isolation.cap_drop.clone());
    host.security_opt = some(isolation.security_opt.clone());
    host.group_add = some(isolation.group_add.clone());
    host.pid_mode.clone_from(&isolation.pid);
    host.ipc_mode.clone_from(&isolation.ipc);
    host.uts_mode.clone_from(&isolation.uts);
    host.userns_mode.clone_from(&isolation.userns);
    host.cgroup_parent.clone_from(&isolation.cgroup_parent);
    host.runtime.clone_from(&isolation.runtime);
    host.cgroupns_mode = match isolation.cgroup.as_deref() {
        None => None,
        Some("host") => Some(HostConfigCgroupnsModeEnum::HOST),
        Some("private") => Some(HostConfigCgroupnsModeEnum::PRIVATE),
        Some(other) => return Err(format!("`cgroup: {other}` is neither `host` nor `private`")),
    };
    host.devices = some(isolation.devices.iter().map(|text| device(text)).collect());
    host.device_cgroup_rules = some(isolation.device_cgroup_rules.clone());
    let requests = isolation.device_requests.iter().map(|one| DeviceRequest {
        driver: one.driver.clone(),
        count: one.count,
        device_ids: some(one.ids.clone()),
        capabilities: Some(vec![one.capabilities.clone()]),
        options: Some(one.options.clone().into_iter().collect()),
    });
    host.device_requests = some(requests.collect());
    host.sysctls = map(&isolation.sysctls);
    host.storage_opt = map(&isolation.storage_opt);
    Ok(())
}

/// Reads `source:target:permissions`.
fn device(text: &str) -> DeviceMapping {
    let mut parts = text.split(':');
    let source = parts.next().unwrap_or_default();
    let target = parts.next().unwrap_or(source);
    DeviceMapping {
        path_on_host: Some(source.to_owned()),
        path_in_container: Some(target.to_owned()),
        cgroup_permissions: Some(parts.next().unwrap_or("rwm").to_owned()),
    }
}

fn hosts(extra: &[(String, String)]) -> Vec<String> {
    extra
        .iter()
        .map(|(name, address)| format!("{name}:{address}"))
        .collect()
}

fn ulimits(limits: &Limits) -> Vec<ResourcesUlimits> {
    // No limit is the largest number with us, and -1 with Docker.
    let number = |limit: u64| i64::try_from(limit).unwrap_or(-1);
    limits
        .rlimits
        .iter()
        .map(|(name, (soft, hard))| ResourcesUlimits {
            name: Some(name.clone()),
            soft: Some(number(*soft)),
            hard: Some(number(*hard)),
        })
        .collect()
}

fn port_key(port: &PublishedPort) -> String {
    format!("{}/{}", port.target, port.protocol)
}

fn exposed(published: &[PublishedPort]) -> Vec<String> {
    published.iter().map(port_key).collect()
}

fn bindings(published: &[PublishedPort]) -> Option<PortMap> {
    let mut bindings = PortMap::new();
    for port in published {
        let binding = PortBinding {
            host_ip: port.host.map(|host| host.to_string()),
            host_port: port.port.map(|port| port.to_string()),
        };
        let same = bindings.entry(port_key(port)).or_default();
        same.get_or_insert_default().push(binding);
    }
    (!bindings.is_empty()).then_some(bindings)
}

fn bytes(number: Option<u64>) -> Result<Option<i64>, String> {
    number
        .map(|bytes| i64::try_from(bytes).map_err(|_| format!("{bytes} bytes are too many")))
        .transpose()
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn map(entries: &BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    (!entries.is_empty()).then(|| entries.clone().into_iter().collect())
}
