//! The table itself, one line for each attribute. What it means is the parent's.

use super::Support::{Honoured, Ignored, Needless, Refused, Translated};
use super::{Attribute, Support};

const fn row(name: &'static str, process: Support, docker: Support) -> Attribute {
    Attribute {
        name,
        process,
        docker,
    }
}

/// An attribute of which the same becomes on each engine.
const fn both(name: &'static str, support: Support) -> Attribute {
    row(name, support, support)
}

/// All attributes of a service (and of its `deploy` and `build`), in the order of their names.
pub const SUPPORT: &[Attribute] = &[
    row(
        "annotations",
        Needless("there is no container"),
        Ignored("annotations of the OCI runtime are not set"),
    ),
    both("attach", Needless("all output is kept")),
    row(
        "blkio_config",
        Ignored("block I/O is not limited"),
        Translated("`weight` alone; limits for single devices have no effect"),
    ),
    row(
        "build",
        Translated("the delivery file's `process.build` makes what the command needs"),
        Translated("built once for each release, from the release's own copy of the source tree"),
    ),
    row(
        "build.additional_contexts",
        Needless("an image is not built"),
        Translated(
            "directories of the source tree, and `docker-image://`; each becomes a stage before the Dockerfile's own",
        ),
    ),
    row("build.args", Needless("an image is not built"), Honoured),
    row(
        "build.cache_from",
        Needless("an image is not built"),
        Translated("images of registries; a cache of another kind is passed over, with a warning"),
    ),
    row(
        "build.cache_to",
        Needless("an image is not built"),
        Ignored("the cache is the engine's own, and no image is pushed"),
    ),
    row(
        "build.context",
        Needless("an image is not built"),
        Translated("a directory of the source tree; what is outside of it is refused"),
    ),
    row(
        "build.dockerfile",
        Needless("an image is not built"),
        Honoured,
    ),
    row(
        "build.dockerfile_inline",
        Needless("an image is not built"),
        Honoured,
    ),
    row(
        "build.entitlements",
        Needless("an image is not built"),
        Refused("a build has no privileges; write `network: host` for the machine's network"),
    ),
    row(
        "build.extra_hosts",
        Needless("an image is not built"),
        Honoured,
    ),
    row(
        "build.isolation",
        Needless("an image is not built"),
        Ignored("it is for Windows"),
    ),
    row("build.labels", Needless("an image is not built"), Honoured),
    row(
        "build.network",
        Needless("an image is not built"),
        Translated("`default`, `host` or `none`: a build is in no other network"),
    ),
    row(
        "build.no_cache",
        Needless("an image is not built"),
        Honoured,
    ),
    row(
        "build.no_cache_filter",
        Needless("an image is not built"),
        Ignored("write `no_cache` to use none of it"),
    ),
    row(
        "build.platforms",
        Needless("an image is not built"),
        Translated("one; of several, the `platform` of the service or the machine's own"),
    ),
    row(
        "build.privileged",
        Needless("an image is not built"),
        Refused("a build has no privileges; do at the container's start what needs them"),
    ),
    row(
        "build.provenance",
        Needless("an image is not built"),
        Ignored("attestations are not made"),
    ),
    row("build.pull", Needless("an image is not built"), Honoured),
    row(
        "build.sbom",
        Needless("an image is not built"),
        Ignored("attestations are not made"),
    ),
    row(
        "build.secrets",
        Needless("an image is not built"),
        Translated("secrets of the environment, by their versions; the Dockerfile mounts them"),
    ),
    row(
        "build.shm_size",
        Needless("an image is not built"),
        Translated("from Docker Engine 23 on: BuildKit before that does not know it"),
    ),
    row(
        "build.ssh",
        Needless("an image is not built"),
        Translated("`default`: the SSH agent that `towpath serve` has; key files are refused"),
    ),
    row("build.tags", Needless("an image is not built"), Honoured),
    row("build.target", Needless("an image is not built"), Honoured),
    row(
        "build.ulimits",
        Needless("an image is not built"),
        Translated("from Docker Engine 23 on: BuildKit before that does not know it"),
    ),
    row(
        "cap_add",
        Refused("a process has the capabilities of its user"),
        Honoured,
    ),
    row(
        "cap_drop",
        Ignored("a process has the capabilities of its user"),
        Honoured,
    ),
    row(
        "cgroup",
        Ignored("a process has no namespaces of its own"),
        Honoured,
    ),
    row(
        "cgroup_parent",
        Ignored("the engine makes its own control groups"),
        Honoured,
    ),
    row(
        "command",
        Translated("addresses, paths and the port in it become variables"),
        Honoured,
    ),
    row(
        "configs",
        Translated("files under `CONFIGS_DIR`, which their paths become"),
        Honoured,
    ),
    row(
        "container_name",
        Ignored("instances are named by Towpath"),
        Translated(
            "instances are named by Towpath; the name is an alias in the networks of the service",
        ),
    ),
    row(
        "cpu_count",
        Ignored("write `cpus`"),
        Ignored("it is for Windows"),
    ),
    row(
        "cpu_percent",
        Ignored("write `cpus`"),
        Ignored("it is for Windows"),
    ),
    row("cpu_period", Ignored("write `cpus`"), Honoured),
    row("cpu_quota", Ignored("write `cpus`"), Honoured),
    both("cpu_rt_period", Ignored("real-time scheduling is not set")),
    both("cpu_rt_runtime", Ignored("real-time scheduling is not set")),
    row("cpu_shares", Ignored("write `cpus`"), Honoured),
    row("cpus", Honoured, Honoured),
    row("cpuset", Ignored("an instance may use any CPU"), Honoured),
    both("credential_spec", Refused("it is for Windows")),
    row("depends_on", Honoured, Honoured),
    row(
        "deploy.endpoint_mode",
        Needless("the router balances"),
        Needless("the router and the names of the environment balance"),
    ),
    both("deploy.labels", Needless("there is no Swarm service")),
    both("deploy.mode", Translated("`global` is one instance")),
    both("deploy.placement", Ignored("there is one machine")),
    row("deploy.replicas", Honoured, Honoured),
    row("deploy.resources", Honoured, Honoured),
    both(
        "deploy.restart_policy",
        Translated("restarts back off by themselves"),
    ),
    both(
        "deploy.rollback_config",
        Ignored("a rollback goes back to the release that is kept warm"),
    ),
    both(
        "deploy.update_config",
        Translated("the settings of the environment's rollout"),
    ),
    row(
        "develop",
        Needless("it is for development with containers"),
        Needless("it is for development"),
    ),
    row(
        "device_cgroup_rules",
        Refused("devices are not mapped"),
        Honoured,
    ),
    row("devices", Refused("devices are not mapped"), Honoured),
    row(
        "dns",
        Ignored("processes use the machine's resolver"),
        Honoured,
    ),
    row(
        "dns_opt",
        Ignored("processes use the machine's resolver"),
        Honoured,
    ),
    row(
        "dns_search",
        Ignored("processes use the machine's resolver"),
        Honoured,
    ),
    row(
        "domainname",
        Ignored("processes have the machine's name"),
        Honoured,
    ),
    row("entrypoint", Honoured, Honoured),
    row("env_file", Honoured, Honoured),
    row(
        "environment",
        Translated("addresses of services and paths in it become variables"),
        Honoured,
    ),
    row(
        "expose",
        Translated("the program listens on `PORT`"),
        Translated(
            "services of a network reach all ports of one another; it says where a health check and the host names go",
        ),
    ),
    row(
        "external_links",
        Refused("there are no containers to link"),
        Refused("join the network of the other container, as an `external` one"),
    ),
    row(
        "extra_hosts",
        Ignored("processes use the machine's names"),
        Honoured,
    ),
    row(
        "gpus",
        Ignored("processes see all GPUs of the machine"),
        Honoured,
    ),
    row("group_add", Refused("write the group in `user`"), Honoured),
    row("healthcheck", Honoured, Honoured),
    row(
        "hostname",
        Ignored("processes have the machine's name"),
        Honoured,
    ),
    row(
        "image",
        Translated("the command runs with the programs of this machine"),
        Honoured,
    ),
    row(
        "init",
        Needless("the engine reaps what an instance leaves"),
        Honoured,
    ),
    row(
        "ipc",
        Ignored("a process has no namespaces of its own"),
        Honoured,
    ),
    both("isolation", Ignored("it is for Windows")),
    row("label_file", Needless("there is no container"), Honoured),
    row(
        "labels",
        Ignored("there is no container that other tools could find by them"),
        Honoured,
    ),
    row(
        "links",
        Translated("services reach one another by `<SERVICE>_ADDR`"),
        Translated("the alias is one for all services of the network"),
    ),
    row(
        "logging",
        Ignored("output goes to the engine's own rotated files"),
        Honoured,
    ),
    row(
        "mac_address",
        Ignored("processes have the machine's addresses"),
        Honoured,
    ),
    row("mem_limit", Honoured, Honoured),
    row(
        "mem_reservation",
        Ignored("memory is not reserved"),
        Honoured,
    ),
    row("mem_swappiness", Ignored("the machine decides"), Honoured),
    row("memswap_limit", Ignored("only memory is limited"), Honoured),
    both("models", Refused("models are not run")),
    row(
        "network_mode",
        Needless("processes share the machine's network"),
        Translated(
            "`host`, `none`, `bridge` (the environment's network) and names of networks; never that of another service or container",
        ),
    ),
    row(
        "networks",
        Ignored("all services of an environment share the machine's network"),
        Honoured,
    ),
    row("oom_kill_disable", Ignored("the machine decides"), Honoured),
    row("oom_score_adj", Ignored("the machine decides"), Honoured),
    row(
        "pid",
        Ignored("a process has no namespaces of its own"),
        Honoured,
    ),
    row("pids_limit", Honoured, Honoured),
    row(
        "platform",
        Ignored("processes are of this machine's platform"),
        Honoured,
    ),
    row(
        "ports",
        Translated("routes of Towpath's router"),
        Translated(
            "routes of Towpath's router, where it can serve the port; else published by Docker",
        ),
    ),
    row(
        "post_start",
        Refused("write what it does into `process.command`"),
        Honoured,
    ),
    both(
        "pre_start",
        Refused("write a service of its own and wait for it with `service_completed_successfully`"),
    ),
    row(
        "pre_stop",
        Refused("let the program do it on its stop signal"),
        Honoured,
    ),
    row(
        "privileged",
        Refused("a process has the rights of its user"),
        Honoured,
    ),
    row("profiles", Honoured, Honoured),
    both("provider", Refused("providers are not run")),
    row(
        "pull_policy",
        Needless("no image is pulled"),
        Translated("what is to be asked for by the clock is asked for with every release"),
    ),
    row(
        "pull_refresh_after",
        Needless("no image is pulled"),
        Ignored("write `pull_policy: always` to ask with every release"),
    ),
    row(
        "read_only",
        Ignored("a process may write what its user may"),
        Honoured,
    ),
    row("restart", Honoured, Honoured),
    row("runtime", Ignored("there is no container"), Honoured),
    row("scale", Honoured, Honoured),
    row(
        "secrets",
        Translated("versioned by `towpath secret`; files under `SECRETS_DIR`"),
        Translated(
            "versioned by `towpath secret`; files in memory at the paths that Compose names",
        ),
    ),
    row("security_opt", Ignored("there is no container"), Honoured),
    row("shm_size", Ignored("`/dev/shm` is the machine's"), Honoured),
    row("stdin_open", Ignored("standard input is empty"), Honoured),
    row("stop_grace_period", Honoured, Honoured),
    row("stop_signal", Honoured, Honoured),
    row("storage_opt", Ignored("there is no container"), Honoured),
    row(
        "sysctls",
        Refused("they would change the whole machine"),
        Honoured,
    ),
    row(
        "tmpfs",
        Ignored("processes see the machine's file system"),
        Honoured,
    ),
    row("tty", Ignored("output goes to files"), Honoured),
    row("ulimits", Honoured, Honoured),
    row(
        "use_api_socket",
        Refused("there is no container engine"),
        Refused("mount `/var/run/docker.sock`, if the program is to control the machine"),
    ),
    row("user", Honoured, Honoured),
    row(
        "userns_mode",
        Ignored("a process has no namespaces of its own"),
        Honoured,
    ),
    row(
        "uts",
        Ignored("a process has no namespaces of its own"),
        Honoured,
    ),
    row(
        "volumes",
        Translated("named volumes are directories, which their paths become (`VOLUME_<NAME>`)"),
        Translated(
            "named volumes are the environment's own; read-only paths of the project are the release's own copy",
        ),
    ),
    row(
        "volumes_from",
        Refused("name the volume in both services"),
        Translated("the mounts of the other service"),
    ),
    row(
        "working_dir",
        Translated("relative to the source tree; see `process.working_directory`"),
        Honoured,
    ),
];
