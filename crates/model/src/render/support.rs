//! Which Compose attributes of a service the process engine honours, and what becomes of the rest.
//! One table, for the plan, for the documentation and for people who ask why.

use serde_json::Value;

/// What becomes of an attribute on the process engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It means what Compose says.
    Honoured,
    /// It has its effect in another way.
    Translated(&'static str),
    /// It has no effect, and a program that runs as a process does not miss it.
    Needless(&'static str),
    /// It has no effect, which is warned of.
    Ignored(&'static str),
    /// A service that has it is refused.
    Refused(&'static str),
}

use Support::{Honoured, Ignored, Needless, Refused, Translated};

/// All attributes of a service (and of its `deploy`), in the order of their names.
pub const SUPPORT: &[(&str, Support)] = &[
    ("annotations", Needless("there is no container")),
    ("attach", Needless("all output is kept")),
    ("blkio_config", Ignored("block I/O is not limited")),
    (
        "build",
        Translated("the delivery file's `process.build` makes what the command needs"),
    ),
    (
        "cap_add",
        Refused("a process has the capabilities of its user"),
    ),
    (
        "cap_drop",
        Ignored("a process has the capabilities of its user"),
    ),
    ("cgroup", Ignored("a process has no namespaces of its own")),
    (
        "cgroup_parent",
        Ignored("the engine makes its own control groups"),
    ),
    (
        "command",
        Translated("addresses, paths and the port in it become variables"),
    ),
    (
        "configs",
        Translated("files under `CONFIGS_DIR`, which their paths become"),
    ),
    ("container_name", Ignored("instances are named by Towpath")),
    ("cpu_count", Ignored("write `cpus`")),
    ("cpu_percent", Ignored("write `cpus`")),
    ("cpu_period", Ignored("write `cpus`")),
    ("cpu_quota", Ignored("write `cpus`")),
    ("cpu_rt_period", Ignored("real-time scheduling is not set")),
    ("cpu_rt_runtime", Ignored("real-time scheduling is not set")),
    ("cpu_shares", Ignored("write `cpus`")),
    ("cpus", Honoured),
    ("cpuset", Ignored("an instance may use any CPU")),
    ("credential_spec", Refused("it is for Windows")),
    ("depends_on", Honoured),
    ("deploy.endpoint_mode", Needless("the router balances")),
    ("deploy.labels", Needless("there is no Swarm service")),
    ("deploy.mode", Translated("`global` is one instance")),
    ("deploy.placement", Ignored("there is one machine")),
    ("deploy.replicas", Honoured),
    ("deploy.resources", Honoured),
    (
        "deploy.restart_policy",
        Translated("restarts back off by themselves"),
    ),
    (
        "deploy.rollback_config",
        Ignored("a rollback goes back to the release that is kept warm"),
    ),
    (
        "deploy.update_config",
        Translated("the settings of the environment's rollout"),
    ),
    ("develop", Needless("it is for development with containers")),
    ("device_cgroup_rules", Refused("devices are not mapped")),
    ("devices", Refused("devices are not mapped")),
    ("dns", Ignored("processes use the machine's resolver")),
    ("dns_opt", Ignored("processes use the machine's resolver")),
    (
        "dns_search",
        Ignored("processes use the machine's resolver"),
    ),
    ("domainname", Ignored("processes have the machine's name")),
    ("entrypoint", Honoured),
    ("env_file", Honoured),
    (
        "environment",
        Translated("addresses of services and paths in it become variables"),
    ),
    ("expose", Translated("the program listens on `PORT`")),
    ("external_links", Refused("there are no containers to link")),
    ("extra_hosts", Ignored("processes use the machine's names")),
    ("gpus", Ignored("processes see all GPUs of the machine")),
    ("group_add", Refused("write the group in `user`")),
    ("healthcheck", Honoured),
    ("hostname", Ignored("processes have the machine's name")),
    (
        "image",
        Translated("the command runs with the programs of this machine"),
    ),
    ("init", Needless("the engine reaps what an instance leaves")),
    ("ipc", Ignored("a process has no namespaces of its own")),
    ("isolation", Ignored("it is for Windows")),
    ("label_file", Needless("there is no container")),
    (
        "labels",
        Ignored("there is no container that other tools could find by them"),
    ),
    (
        "links",
        Translated("services reach one another by `<SERVICE>_ADDR`"),
    ),
    (
        "logging",
        Ignored("output goes to the engine's own rotated files"),
    ),
    (
        "mac_address",
        Ignored("processes have the machine's addresses"),
    ),
    ("mem_limit", Honoured),
    ("mem_reservation", Ignored("memory is not reserved")),
    ("mem_swappiness", Ignored("the machine decides")),
    ("memswap_limit", Ignored("only memory is limited")),
    ("models", Refused("models are not run")),
    (
        "network_mode",
        Needless("processes share the machine's network"),
    ),
    (
        "networks",
        Ignored("all services of an environment share the machine's network"),
    ),
    ("oom_kill_disable", Ignored("the machine decides")),
    ("oom_score_adj", Ignored("the machine decides")),
    ("pid", Ignored("a process has no namespaces of its own")),
    ("pids_limit", Honoured),
    (
        "platform",
        Ignored("processes are of this machine's platform"),
    ),
    ("ports", Translated("routes of Towpath's router")),
    (
        "post_start",
        Refused("write what it does into `process.command`"),
    ),
    (
        "pre_start",
        Refused("write a service of its own and wait for it with `service_completed_successfully`"),
    ),
    (
        "pre_stop",
        Refused("let the program do it on its stop signal"),
    ),
    (
        "privileged",
        Refused("a process has the rights of its user"),
    ),
    ("profiles", Honoured),
    ("provider", Refused("providers are not run")),
    ("pull_policy", Needless("no image is pulled")),
    ("pull_refresh_after", Needless("no image is pulled")),
    (
        "read_only",
        Ignored("a process may write what its user may"),
    ),
    ("restart", Honoured),
    ("runtime", Ignored("there is no container")),
    ("scale", Honoured),
    (
        "secrets",
        Translated("versioned by `towpath secret`; files under `SECRETS_DIR`"),
    ),
    ("security_opt", Ignored("there is no container")),
    ("shm_size", Ignored("`/dev/shm` is the machine's")),
    ("stdin_open", Ignored("standard input is empty")),
    ("stop_grace_period", Honoured),
    ("stop_signal", Honoured),
    ("storage_opt", Ignored("there is no container")),
    ("sysctls", Refused("they would change the whole machine")),
    ("tmpfs", Ignored("processes see the machine's file system")),
    ("tty", Ignored("output goes to files")),
    ("ulimits", Honoured),
    ("use_api_socket", Refused("there is no container engine")),
    ("user", Honoured),
    (
        "userns_mode",
        Ignored("a process has no namespaces of its own"),
    ),
    ("uts", Ignored("a process has no namespaces of its own")),
    (
        "volumes",
        Translated("named volumes are directories, which their paths become (`VOLUME_<NAME>`)"),
    ),
    ("volumes_from", Refused("name the volume in both services")),
    (
        "working_dir",
        Translated("relative to the source tree; see `process.working_directory`"),
    ),
];

/// Returns what becomes of an attribute (`tty`, `deploy.mode`) with this value. One that the table
/// does not have is refused: it came into Compose after the table was made.
pub(super) fn support(attribute: &str, value: &Value) -> Support {
    if is_without_effect(value) {
        return Honoured;
    }
    match (attribute, value.as_str()) {
        ("network_mode", Some("none")) => {
            return Refused("a process cannot be cut off the network");
        }
        ("network_mode" | "pid" | "ipc", Some(mode))
            if mode.starts_with("service:") || mode.starts_with("container:") =>
        {
            return Refused("there are no namespaces that could be shared");
        }
        ("pid" | "ipc" | "uts" | "userns_mode", Some("host")) => {
            return Needless("processes share the machine's");
        }
        ("networks", None) if is_default_network(value) => return Honoured,
        _ => {}
    }
    let refused = Refused("this version does not know it");
    SUPPORT
        .binary_search_by_key(&attribute, |(name, _)| name)
        .ok()
        .and_then(|index| SUPPORT.get(index))
        .map_or(refused, |(_, support)| *support)
}

/// Tells whether the value is what it would be if the attribute were absent.
fn is_without_effect(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}

fn is_default_network(networks: &Value) -> bool {
    networks
        .as_object()
        .is_some_and(|map| map.len() == 1 && map.get("default").is_some_and(Value::is_null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_is_sorted_for_the_search() {
        assert!(SUPPORT.is_sorted_by(|(a, _), (b, _)| a < b));
    }

    #[test]
    fn what_is_absent_or_off_is_never_complained_of() {
        for off in [json!(null), json!(false), json!([]), json!({})] {
            assert_eq!(support("privileged", &off), Honoured);
        }
        assert!(matches!(support("privileged", &json!(true)), Refused(_)));
    }

    #[test]
    fn an_attribute_that_is_not_in_the_table_is_refused() {
        assert!(matches!(support("teleport", &json!("yes")), Refused(_)));
    }

    #[test]
    fn the_network_of_the_host_is_what_a_process_has() {
        assert!(matches!(
            support("network_mode", &json!("host")),
            Needless(_)
        ));
        assert!(matches!(
            support("network_mode", &json!("none")),
            Refused(_)
        ));
        assert!(matches!(support("pid", &json!("service:db")), Refused(_)));
        assert_eq!(support("networks", &json!({ "default": null })), Honoured);
    }
}
