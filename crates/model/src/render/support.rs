//! Which Compose attributes of a service each engine honours, and what becomes of the rest. One
//! table, for the plan, for the documentation and for people who ask why.

mod table;

use serde_json::Value;

use crate::delivery::Engine;

pub use table::SUPPORT;

/// What becomes of an attribute on an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It means what Compose says.
    Honoured,
    /// It has its effect in another way.
    Translated(&'static str),
    /// It has no effect, and a program on that engine does not miss it.
    Needless(&'static str),
    /// It has no effect, which is warned of.
    Ignored(&'static str),
    /// A service that has it is refused.
    Refused(&'static str),
}

/// An attribute of a service, and what becomes of it on each engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute {
    /// The name, dotted below `deploy` and `build`.
    pub name: &'static str,
    /// On the process engine.
    pub process: Support,
    /// On the Docker engine.
    pub docker: Support,
}

use Support::{Honoured, Needless, Refused};

/// Returns what becomes of an attribute (`tty`, `deploy.mode`) with this value on an engine. One that
/// the table does not have is refused: it came into Compose after the table was made.
pub(super) fn support(engine: Engine, attribute: &str, value: &Value) -> Support {
    if is_without_effect(value) {
        return Honoured;
    }
    let special = match engine {
        Engine::Process => of_process(attribute, value),
        Engine::Docker => of_docker(attribute, value),
    };
    let row = || {
        let index = SUPPORT
            .binary_search_by_key(&attribute, |row| row.name)
            .ok()?;
        let row = SUPPORT.get(index)?;
        Some(match engine {
            Engine::Process => row.process,
            Engine::Docker => row.docker,
        })
    };
    special
        .or_else(row)
        .unwrap_or(Refused("this version does not know it"))
}

/// Returns what becomes of a value on the process engine where it is not what the table says.
fn of_process(attribute: &str, value: &Value) -> Option<Support> {
    match (attribute, value.as_str()) {
        ("network_mode", Some("none")) => Some(Refused("a process cannot be cut off the network")),
        ("network_mode" | "pid" | "ipc", Some(mode)) if is_of_another(mode) => {
            Some(Refused("there are no namespaces that could be shared"))
        }
        ("pid" | "ipc" | "uts" | "userns_mode", Some("host")) => {
            Some(Needless("processes share the machine's"))
        }
        ("networks", None) if is_default_network(value) => Some(Honoured),
        _ => None,
    }
}

/// Returns what becomes of a value on the Docker engine where it is not what the table says.
fn of_docker(attribute: &str, value: &Value) -> Option<Support> {
    match (attribute, value.as_str()) {
        ("network_mode", Some(mode)) if is_of_another(mode) => Some(Refused(
            "the instances of two services are replaced apart: none lives in the network of another; join the same `networks`, and reach it by its name",
        )),
        ("pid" | "ipc", Some(mode)) if is_of_another(mode) => Some(Refused(
            "the instances of two services are replaced apart: none lives in a namespace of another",
        )),
        ("build.network", Some(mode)) if !BUILD_NETWORKS.contains(&mode) => Some(Refused(
            "BuildKit puts a build into `default`, `host` or `none`, and into no other network",
        )),
        _ => None,
    }
}

/// The networks that a build may be in.
const BUILD_NETWORKS: [&str; 3] = ["default", "host", "none"];

fn is_of_another(mode: &str) -> bool {
    mode.starts_with("service:") || mode.starts_with("container:")
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
        assert!(SUPPORT.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn what_is_absent_or_off_is_never_complained_of() {
        for off in [json!(null), json!(false), json!([]), json!({})] {
            assert_eq!(support(Engine::Process, "privileged", &off), Honoured);
        }
        assert!(matches!(
            support(Engine::Process, "privileged", &json!(true)),
            Refused(_)
        ));
    }

    #[test]
    fn an_attribute_that_is_not_in_the_table_is_refused() {
        assert!(matches!(
            support(Engine::Process, "teleport", &json!("yes")),
            Refused(_)
        ));
    }

    #[test]
    fn the_network_of_the_host_is_what_a_process_has() {
        assert!(matches!(
            support(Engine::Process, "network_mode", &json!("host")),
            Needless(_)
        ));
        assert!(matches!(
            support(Engine::Process, "network_mode", &json!("none")),
            Refused(_)
        ));
        assert!(matches!(
            support(Engine::Process, "pid", &json!("service:db")),
            Refused(_)
        ));
        assert_eq!(
            support(Engine::Process, "networks", &json!({ "default": null })),
            Honoured
        );
    }
}
