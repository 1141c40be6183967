//! What an instance needs besides its [`WorkloadSpec`](crate::workload::WorkloadSpec) when it is a
//! container: the image, and what only containers have. Not how an engine makes one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::id::{Digest, EnvironmentId, SecretName, SecretVersion};

/// The container of a workload. What a process has as well (variables, user, working directory,
/// secrets, configs, named volumes, limits, health, stop) is in the workload's specification.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, as in Compose"
)]
pub struct Container {
    /// Where the image comes from.
    pub image: Image,
    /// The platform to pull or build for (`linux/arm64`); the machine's own when absent.
    pub platform: Option<String>,
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// How it is on the network.
    pub network: NetworkMode,
    /// Ports that the engine itself publishes on the machine: those that the router does not serve.
    pub published: Vec<PublishedPort>,
    /// Mounts that are not named volumes.
    pub mounts: Vec<ContainerMount>,
    /// The named volumes that the workload mounts, by their names in the Compose file.
    pub volumes: BTreeMap<String, VolumeSource>,
    /// Owner and mode of secret and config files, by the path in the container, where Compose says.
    pub file_owners: BTreeMap<String, FileOwner>,
    /// Labels beside those that the engine sets.
    pub labels: BTreeMap<String, String>,
    /// The log driver and its options; the engine's default when absent.
    pub logging: Option<Logging>,
    /// What the program may do and see of the machine.
    pub isolation: Isolation,
    /// Names and resolvers.
    pub naming: Naming,
    /// Limits that only containers have.
    pub resources: Resources,
    /// Nobody said how to tell that an instance is well: where the image has a health check of its
    /// own, that one is used in place of the specification's `health.probe`.
    pub image_health: bool,
    /// Commands run in the container after its start; a failure ends the instance.
    pub post_start: Vec<Hook>,
    /// Commands run in the container before it is asked to stop.
    pub pre_stop: Vec<Hook>,
    /// A process that reaps orphans runs as number 1.
    pub init: bool,
    /// The container has a terminal.
    pub tty: bool,
    /// Standard input is kept open.
    pub stdin_open: bool,
}

/// The network that services are in that name none.
const DEFAULT_NETWORK: &str = "default";

impl Container {
    /// Returns the networks that it is in, by their names in the Compose file.
    pub fn joins(&self) -> BTreeMap<String, NetworkJoin> {
        match &self.network {
            NetworkMode::Host | NetworkMode::None => BTreeMap::new(),
            NetworkMode::Networks(networks) if networks.is_empty() => {
                [(DEFAULT_NETWORK.to_owned(), NetworkJoin::default())].into()
            }
            NetworkMode::Networks(networks) => networks.clone(),
        }
    }
}

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Image {
    /// It is pulled, unless it is there already and the policy allows.
    Pulled {
        /// The reference as Compose has it: `postgres:16`, `host/name@sha256:...`.
        reference: String,
        /// When it is asked for again.
        policy: PullPolicy,
    },
    /// It is built from the release's source tree, once for each release.
    Built(Box<ImageBuild>),
}

impl Default for Image {
    fn default() -> Self {
        Self::Pulled {
            reference: String::new(),
            policy: PullPolicy::default(),
        }
    }
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// For every release.
    Always,
    /// When it is not on the machine (Compose's default).
    #[default]
    Missing,
    /// Never: it has to be there.
    Never,
}

/// How an image is built.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageBuild {
    /// The digest of what is built: the context, and the Dockerfile. The release's source tree has
    /// more, which is not part of it.
    pub content: Option<Digest>,
    /// The build context, relative to the source tree; `.` is the whole tree.
    pub context: String,
    /// The Dockerfile, relative to the context. It may lead out of the context (`../web.Dockerfile`),
    /// never out of the source tree.
    pub dockerfile: Option<String>,
    /// The Dockerfile's text, in place of a file.
    pub dockerfile_inline: Option<String>,
    /// The stage to build.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Images whose layers may be reused.
    pub cache_from: Vec<String>,
    /// Reuse nothing.
    pub no_cache: bool,
    /// Ask for newer base images.
    pub pull: bool,
    /// The network of `RUN` steps.
    pub network: Option<String>,
    /// Lines for `/etc/hosts` of `RUN` steps: host name to address.
    pub extra_hosts: BTreeMap<String, String>,
    /// Bytes of `/dev/shm` of `RUN` steps.
    pub shm_bytes: Option<u64>,
    /// Further references to give the image when it is built.
    pub tags: Vec<String>,
    /// What `RUN --mount=type=secret` may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<BuildSecret>,
    /// The names by which `RUN --mount=type=ssh` asks for the SSH agent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// Resource limits of `RUN` steps: soft and hard.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, (u64, u64)>,
    /// What the Dockerfile may copy from or build on beside its own stages, by the names that it has
    /// for it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, NamedContext>,
}

/// Something that a Dockerfile has a name for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedContext {
    /// A directory, relative to the source tree.
    Directory(String),
    /// An image.
    Image(String),
}

/// A secret that a build may read. Its value is in no layer, and in no recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSecret {
    /// The name that the Dockerfile has for it.
    pub id: String,
    /// Which secret.
    pub secret: SecretName,
    /// Which version of it; absent until the release is pinned.
    pub version: Option<SecretVersion>,
}

/// How a container is on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// In these networks of the environment, by their names in the Compose file.
    Networks(BTreeMap<String, NetworkJoin>),
    /// In the machine's own.
    Host,
    /// In none.
    None,
}

impl Default for NetworkMode {
    fn default() -> Self {
        Self::Networks(BTreeMap::new())
    }
}

/// How a container is in one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkJoin {
    /// What the network is.
    pub network: NetworkSource,
    /// Names beside the service's.
    pub aliases: Vec<String>,
    /// A fixed address: there can be only one such instance at a time.
    pub address: Option<IpAddr>,
    /// A fixed IPv6 address beside an IPv4 one.
    pub address_v6: Option<Ipv6Addr>,
}

impl NetworkJoin {
    /// Returns what the network is called on the machine: every environment has its own, but for
    /// those that it shares.
    pub fn on_machine(&self, environment: &EnvironmentId, name: &str) -> String {
        let EnvironmentId { app, name: own } = environment;
        let external = self.network.external.clone();
        external.unwrap_or_else(|| format!("{app}-{own}_{name}"))
    }
}

/// What a network is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSource {
    /// It is not the environment's own but exists under this name on the machine; it is never
    /// changed or removed.
    pub external: Option<String>,
    /// The driver; `bridge` when absent.
    pub driver: Option<String>,
    /// Options of the driver.
    pub driver_opts: BTreeMap<String, String>,
    /// No way out of it.
    pub internal: bool,
    /// Subnets with their gateways, where they are fixed.
    pub subnets: Vec<Subnet>,
    /// IPv6 as well.
    pub ipv6: bool,
    /// Labels beside those that the engine sets.
    pub labels: BTreeMap<String, String>,
}

/// A fixed address range of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subnet {
    /// The whole range, in CIDR notation.
    pub cidr: Option<String>,
    /// The gateway's address.
    pub gateway: Option<String>,
    /// The range that addresses are taken from, in CIDR notation.
    pub range: Option<String>,
}

/// A port that the engine publishes on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The address on the machine; all when absent.
    pub host: Option<IpAddr>,
    /// The port on the machine; any free one when absent.
    pub port: Option<u16>,
    /// The port in the container.
    pub target: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// A mount that is not a named volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerMount {
    /// The path in the container.
    pub target: String,
    /// What is there.
    pub source: MountSource,
    /// Whether it may only be read.
    pub read_only: bool,
    /// Whether several instances, and both sides of a release, may write there at once.
    pub shared: bool,
    /// How `SELinux` labels it: `z` for shared, `Z` for private.
    pub relabel: Option<String>,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A path of the machine, absolute.
    Path {
        /// The path.
        path: String,
        /// How mounts below it propagate (`rslave`).
        propagation: Option<String>,
        /// Make a directory when it is not there.
        create: bool,
    },
    /// A path of the release's own copy of the source tree, relative to it. Read-only.
    Source {
        /// The path; `.` is the whole tree.
        path: String,
        /// The digest of what is there, so that a change of it makes another workload.
        content: Option<Digest>,
    },
    /// Memory.
    Tmpfs {
        /// The limit in bytes.
        size: Option<u64>,
        /// Permissions.
        mode: Option<u32>,
        /// Further mount options (`noexec`, `uid=1000`).
        options: Vec<String>,
    },
    /// A volume without a name: it is made with the instance and goes with it.
    Anonymous,
}

/// What a named volume is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeSource {
    /// It is not the environment's own but exists under this name on the machine; it is never
    /// removed.
    pub external: Option<String>,
    /// The driver; `local` when absent.
    pub driver: Option<String>,
    /// Options of the driver.
    pub driver_opts: BTreeMap<String, String>,
    /// Labels beside those that the engine sets.
    pub labels: BTreeMap<String, String>,
    /// The path within the volume that is mounted; the whole when absent.
    pub subpath: Option<String>,
    /// Do not fill an empty volume with what the image has at the path.
    pub no_copy: bool,
}

/// Who owns a file given to a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileOwner {
    /// The user's number.
    pub uid: Option<u32>,
    /// The group's number.
    pub gid: Option<u32>,
    /// Permissions.
    pub mode: Option<u32>,
}

/// A log driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logging {
    /// Its name; the engine's default when absent.
    pub driver: Option<String>,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// What a program may do and see of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Isolation {
    /// Everything is allowed.
    pub privileged: bool,
    /// The root file system may only be read.
    pub read_only: bool,
    /// Capabilities beside the default ones.
    pub cap_add: Vec<String>,
    /// Default capabilities that it does not get.
    pub cap_drop: Vec<String>,
    /// Security options (`no-new-privileges:true`).
    pub security_opt: Vec<String>,
    /// Further groups.
    pub group_add: Vec<String>,
    /// The process namespace (`host`).
    pub pid: Option<String>,
    /// The IPC namespace.
    pub ipc: Option<String>,
    /// The UTS namespace (`host`).
    pub uts: Option<String>,
    /// The user namespace (`host`).
    pub userns: Option<String>,
    /// The control group namespace (`host`, `private`).
    pub cgroup: Option<String>,
    /// The control group to be under.
    pub cgroup_parent: Option<String>,
    /// The OCI runtime.
    pub runtime: Option<String>,
    /// Devices, as `source:target:permissions`.
    pub devices: Vec<String>,
    /// Rules for devices made later.
    pub device_cgroup_rules: Vec<String>,
    /// Devices asked for by driver and capability: GPUs.
    pub device_requests: Vec<DeviceRequest>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Options of the storage driver.
    pub storage_opt: BTreeMap<String, String>,
}

/// Devices asked for by what they can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// The driver (`nvidia`).
    pub driver: Option<String>,
    /// How many; -1 is all.
    pub count: Option<i64>,
    /// Which.
    pub ids: Vec<String>,
    /// What they have to be able to do: all of these (`gpu`).
    pub capabilities: Vec<String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// Names and resolvers of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Naming {
    /// Its host name.
    pub hostname: Option<String>,
    /// Its domain.
    pub domainname: Option<String>,
    /// Lines for `/etc/hosts`: host name, address.
    pub extra_hosts: Vec<(String, String)>,
    /// Resolvers for names that are not the environment's.
    pub dns: Vec<String>,
    /// Resolver options.
    pub dns_opt: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// A fixed hardware address.
    pub mac_address: Option<String>,
}

/// Limits that only containers have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes of memory that are kept for it.
    pub memory_reservation: Option<u64>,
    /// Bytes of memory and swap together; -1 is no limit.
    pub memory_swap: Option<i64>,
    /// How eagerly its memory is swapped, 0 to 100.
    pub memory_swappiness: Option<i64>,
    /// Its share of the CPU beside others.
    pub cpu_shares: Option<i64>,
    /// Microseconds of a period.
    pub cpu_period: Option<i64>,
    /// Microseconds of CPU in a period.
    pub cpu_quota: Option<i64>,
    /// Which CPUs (`0-2`).
    pub cpuset: Option<String>,
    /// Bytes of `/dev/shm`.
    pub shm_bytes: Option<u64>,
    /// Never killed for want of memory.
    pub oom_kill_disable: bool,
    /// How likely it is killed for want of memory, -1000 to 1000.
    pub oom_score_adj: Option<i64>,
    /// Its weight in block I/O, 10 to 1000.
    pub blkio_weight: Option<u16>,
}

/// A command run in a container at a moment of its life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// The words.
    pub command: Vec<String>,
    /// Who runs it; the container's user when absent.
    pub user: Option<String>,
    /// With all privileges.
    pub privileged: bool,
    /// Where.
    pub working_directory: Option<String>,
    /// Variables beside the container's.
    pub environment: BTreeMap<String, String>,
}
