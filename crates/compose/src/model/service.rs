//! Services, jobs and `pre_start` hooks. Not the parts that they are made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    BlkioConfig, Build, ByteSize, CredentialSpec, Decimal, Dependency, Deploy, Develop,
    DeviceMapping, DeviceRequest, Duration, EnvFile, Environment, Extensions, FileMount,
    Healthcheck, Hook, Logging, Mount, Port, Provider, ServiceModel, ServiceNetwork, TextMap,
    Triggers, Ulimit, is_false,
};

/// Defines a struct with the attributes of a container and those given.
///
/// Services, jobs and `pre_start` hooks have these attributes in common; a macro keeps them plain
/// fields (`service.image`) where a nested struct would make every reader write one step more.
macro_rules! container {
    ($(#[$doc:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
        pub struct $name {
            $($own)*
            /// Annotations of the container.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub annotations: TextMap,
            /// Limits of block I/O.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub blkio_config: Option<BlkioConfig>,
            /// Capabilities that are added.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub cap_add: Vec<String>,
            /// Capabilities that are dropped.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub cap_drop: Vec<String>,
            /// The cgroup namespace: `host` or `private`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cgroup: Option<String>,
            /// The parent cgroup.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cgroup_parent: Option<String>,
            /// The command; `None` leaves that of the image, an empty one clears it.
            #[serde(default)]
            pub command: Option<Vec<String>>,
            /// The configs that are mounted.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub configs: Vec<FileMount>,
            /// The number of CPUs (Windows).
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cpu_count: Option<i64>,
            /// The share of all CPUs in per cent (Windows).
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cpu_percent: Option<Decimal>,
            /// The period of the CPU scheduler in microseconds.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cpu_period: Option<i64>,
            /// The quota of the CPU scheduler in microseconds.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cpu_quota: Option<i64>,
            /// The real-time period in microseconds.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cpu_rt_period: Option<i64>,
            /// The real-time runtime in microseconds.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cpu_rt_runtime: Option<i64>,
            /// The relative weight among containers.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cpu_shares: Option<i64>,
            /// The number of CPUs that may be used.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cpus: Option<Decimal>,
            /// The CPUs that may be used, like `0-3` or `0,1`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub cpuset: Option<String>,
            /// The credential spec (Windows).
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub credential_spec: Option<CredentialSpec>,
            /// Rules of the device cgroup.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub device_cgroup_rules: Vec<String>,
            /// Devices that are mapped in.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub devices: Vec<DeviceMapping>,
            /// Name servers.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub dns: Vec<String>,
            /// Options of the resolver.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub dns_opt: Vec<String>,
            /// Search domains.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub dns_search: Vec<String>,
            /// The domain name.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub domainname: Option<String>,
            /// The entry point; `None` leaves that of the image, an empty one clears it.
            #[serde(default)]
            pub entrypoint: Option<Vec<String>>,
            /// Files with variables; empty once they are resolved into `environment`.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub env_file: Vec<EnvFile>,
            /// The variables, files and interpolation resolved.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub environment: Environment,
            /// More hosts, each `name=address`.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub extra_hosts: Vec<String>,
            /// GPUs that are reserved.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub gpus: Vec<DeviceRequest>,
            /// More groups of the user.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub group_add: Vec<String>,
            /// The host name.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub hostname: Option<String>,
            /// The image.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub image: Option<String>,
            /// Whether an init process runs first.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub init: Option<bool>,
            /// The IPC namespace.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub ipc: Option<String>,
            /// The isolation technology.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub isolation: Option<String>,
            /// Files with labels; empty once they are resolved into `labels`.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub label_file: Vec<String>,
            /// Labels of the container.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub labels: TextMap,
            /// Where the output goes.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub logging: Option<Logging>,
            /// The MAC address.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub mac_address: Option<String>,
            /// The limit of memory.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub mem_limit: Option<ByteSize>,
            /// The memory that is reserved.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub mem_reservation: Option<ByteSize>,
            /// How willing the kernel is to swap, 0 to 100.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub mem_swappiness: Option<ByteSize>,
            /// The limit of memory and swap together.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub memswap_limit: Option<ByteSize>,
            /// Models that the service uses.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub models: BTreeMap<String, Option<ServiceModel>>,
            /// The network namespace, like `host` or `service:db`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub network_mode: Option<String>,
            /// The networks by key; `None` is all defaults.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub networks: BTreeMap<String, Option<ServiceNetwork>>,
            /// Whether the kernel spares the container when memory is short.
            #[serde(default, skip_serializing_if = "is_false")]
            pub oom_kill_disable: bool,
            /// The preference of the kernel when memory is short, -1000 to 1000.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub oom_score_adj: Option<i64>,
            /// The PID namespace.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub pid: Option<String>,
            /// The limit of processes.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub pids_limit: Option<i64>,
            /// The platform, like `linux/amd64`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub platform: Option<String>,
            /// Whether the container has all privileges.
            #[serde(default, skip_serializing_if = "is_false")]
            pub privileged: bool,
            /// When the image is pulled.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub pull_policy: Option<String>,
            /// How old an image may be before it is pulled again.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub pull_refresh_after: Option<String>,
            /// Whether the root file system is read-only.
            #[serde(default, skip_serializing_if = "is_false")]
            pub read_only: bool,
            /// The container runtime.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub runtime: Option<String>,
            /// The secrets that are mounted.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub secrets: Vec<FileMount>,
            /// Security options.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub security_opt: Vec<String>,
            /// The size of `/dev/shm`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub shm_size: Option<ByteSize>,
            /// How long a container may take to stop.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub stop_grace_period: Option<Duration>,
            /// The signal that asks it to stop.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub stop_signal: Option<String>,
            /// Options of the storage driver.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub storage_opt: TextMap,
            /// Kernel parameters.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub sysctls: TextMap,
            /// Temporary file systems, each a path and options.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub tmpfs: Vec<String>,
            /// Resource limits by name.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub ulimits: BTreeMap<String, Ulimit>,
            /// Whether the API socket of the engine is available inside.
            #[serde(default, skip_serializing_if = "is_false")]
            pub use_api_socket: bool,
            /// The user, like `1000:1000`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub user: Option<String>,
            /// The user namespace.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub userns_mode: Option<String>,
            /// The UTS namespace.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub uts: Option<String>,
            /// Mounts.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub volumes: Vec<Mount>,
            /// Services or containers whose mounts are shared.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub volumes_from: Vec<String>,
            /// The working directory.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub working_dir: Option<String>,
            /// The `x-*` attributes.
            #[serde(flatten)]
            pub extensions: Extensions,
        }
    };
}

container! {
    /// A service.
    pub struct Service {
        /// Whether the output is collected.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub attach: Option<bool>,
        /// The name of the container.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub container_name: Option<String>,
        /// How and how many instances run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub deploy: Option<Deploy>,
        /// What is watched while developing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub develop: Option<Develop>,
        /// Containers outside the project that are linked.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub external_links: Vec<String>,
        /// Services that are linked, each a name and an alias.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub links: Vec<String>,
        /// Commands that run inside after a start.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub post_start: Vec<Hook>,
        /// Containers that run before a start.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub pre_start: Vec<PreStart>,
        /// Commands that run inside before a stop.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub pre_stop: Vec<Hook>,
        /// The profiles that enable the service; none is always.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub profiles: Vec<String>,
        /// A program that provides the service instead of a container.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub provider: Option<Provider>,
        /// When a container is started again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub restart: Option<String>,
        /// The number of instances.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub scale: Option<u32>,
        /// How the image is built.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub build: Option<Build>,
        /// The services that are waited for, by name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub depends_on: BTreeMap<String, Dependency>,
        /// Ports that are open to other services.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub expose: Vec<String>,
        /// How health is found out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<Healthcheck>,
        /// Ports that are published.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub ports: Vec<Port>,
        /// Whether standard input stays open.
        #[serde(default, skip_serializing_if = "is_false")]
        pub stdin_open: bool,
        /// Whether a terminal is allocated.
        #[serde(default, skip_serializing_if = "is_false")]
        pub tty: bool,
    }
}

container! {
    /// A job: a container that runs when it is asked to, or by the clock, and ends.
    pub struct Job {
        /// The profiles that enable the job; none is always.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub profiles: Vec<String>,
        /// What starts it.
        #[serde(default)]
        pub triggers: Triggers,
        /// How the image is built.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub build: Option<Build>,
        /// The services that are waited for, by name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub depends_on: BTreeMap<String, Dependency>,
        /// Ports that are open to other services.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub expose: Vec<String>,
        /// How health is found out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<Healthcheck>,
        /// Ports that are published.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub ports: Vec<Port>,
        /// Whether standard input stays open.
        #[serde(default, skip_serializing_if = "is_false")]
        pub stdin_open: bool,
        /// Whether a terminal is allocated.
        #[serde(default, skip_serializing_if = "is_false")]
        pub tty: bool,
    }
}

container! {
    /// A container that runs, and has to succeed, before the service starts.
    pub struct PreStart {
        /// Whether it runs for each instance, and not once.
        #[serde(default, skip_serializing_if = "is_false")]
        pub per_replica: bool,
    }
}

impl Service {
    /// Returns how many instances are wanted: `scale`, else `deploy.replicas`, else one.
    pub fn replicas(&self) -> u32 {
        self.scale
            .or_else(|| self.deploy.as_ref().and_then(|deploy| deploy.replicas))
            .unwrap_or(1)
    }
}
