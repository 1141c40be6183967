//! What follows from several elements together: the default network, implicit dependencies, names of
//! resources, variables that only have a name. Not what single elements say.

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::merge::merge_at;
use crate::paths::clean;
use crate::tree::{Path, each};
use crate::yaml::{Entry, Map, Node, Value};

/// The most values that the hooks of a service take over from it.
const COPIES: usize = 200_000;

/// Writes out everything that is implied.
pub(crate) fn normalise(
    root: &mut Node,
    name: &str,
    environment: &BTreeMap<String, String>,
) -> Result<(), Diagnostics> {
    networks(root);
    for section in ["services", "jobs"] {
        for (_, service) in each(root, section) {
            let place = service.here(Value::Null);
            if let Some(map) = service.as_map_mut() {
                workload(map, &place, environment)?;
            }
        }
    }
    resource_names(root, name);
    let entry = root.entry_here(Value::Text(name.to_owned()));
    if let Some(map) = root.as_map_mut() {
        map.insert("name".to_owned(), entry);
    }
    Ok(())
}

fn networks(root: &mut Node) {
    let mut used = false;
    for section in ["services", "jobs"] {
        for (_, service) in each(root, section) {
            let entry = service.entry_here(Value::Null);
            let Some(map) = service.as_map_mut() else {
                continue;
            };
            if map.contains_key("provider") || map.contains_key("network_mode") {
                continue;
            }
            let joined = map
                .entry("networks".to_owned())
                .or_insert_with(|| entry.clone());
            match &mut joined.node.value {
                Value::Map(networks) if !networks.is_empty() => {
                    used |= networks.contains_key("default");
                }
                other => {
                    *other = Value::Map([("default".to_owned(), entry)].into_iter().collect());
                    used = true;
                }
            }
        }
    }
    let entry = root.entry_here(Value::Null);
    if used && let Some(map) = root.as_map_mut() {
        let networks = map.entry("networks".to_owned()).or_insert_with(|| Entry {
            node: entry.node.here(Value::Map(Map::new())),
            key: entry.key.clone(),
        });
        if networks.node.is_null() {
            networks.node.value = Value::Map(Map::new());
        }
        if let Some(networks) = networks.node.as_map_mut() {
            networks.entry("default".to_owned()).or_insert(entry);
        }
    }
}

fn workload(
    map: &mut Map,
    place: &Node,
    environment: &BTreeMap<String, String>,
) -> Result<(), Diagnostics> {
    if let Some(policy) = map.get_mut("pull_policy")
        && policy.node.as_text() == Some("if_not_present")
    {
        policy.node.value = Value::Text("missing".to_owned());
    }
    if let Some(build) = map.get_mut("build") {
        normalise_build(&mut build.node, environment);
    }
    if let Some(variables) = map.get_mut("environment") {
        resolve(&mut variables.node, environment, Unset::Keep);
    }
    if let Some(mounts) = map.get_mut("volumes") {
        for mount in mounts.node.as_list_mut().into_iter().flatten() {
            if let Some(target) = mount.as_map_mut().and_then(|map| map.get_mut("target"))
                && let Some(text) = target.node.as_text()
            {
                target.node.value = Value::Text(clean(text));
            }
        }
    }
    implicit_dependencies(map, place);
    inherit(map)
}

fn normalise_build(node: &mut Node, environment: &BTreeMap<String, String>) {
    let context = node.entry_here(Value::Text(".".to_owned()));
    let dockerfile = node.entry_here(Value::Text("Dockerfile".to_owned()));
    let Some(map) = node.as_map_mut() else {
        return;
    };
    let missing = |map: &Map, key: &str| map.get(key).is_none_or(|entry| entry.node.is_null());
    if missing(map, "context") {
        map.insert("context".to_owned(), context);
    }
    if missing(map, "dockerfile") && missing(map, "dockerfile_inline") {
        map.insert("dockerfile".to_owned(), dockerfile);
    }
    if let Some(arguments) = map.get_mut("args") {
        resolve(&mut arguments.node, environment, Unset::Drop);
    }
}

/// What becomes of a variable without a value anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unset {
    Keep,
    Drop,
}

/// Gives variables that only have a name the value that the environment has for them.
fn resolve(node: &mut Node, environment: &BTreeMap<String, String>, unset: Unset) {
    match &mut node.value {
        Value::List(items) => {
            items.retain_mut(|item| {
                let Some(name) = item.as_text().filter(|text| !text.contains('=')) else {
                    return true;
                };
                match environment.get(name) {
                    Some(value) => {
                        item.value = Value::Text(format!("{name}={value}"));
                        true
                    }
                    None => unset == Unset::Keep,
                }
            });
        }
        Value::Map(map) => map.retain(|name, entry| {
            if !entry.node.is_null() {
                return true;
            }
            match environment.get(name) {
                Some(value) => {
                    entry.node.value = Value::Text(value.clone());
                    true
                }
                None => unset == Unset::Keep,
            }
        }),
        _ => {}
    }
}

/// Gives variables in lists that only have a name their value, and secrets and configs from the
/// environment their place in it; for one set of files, before it is included in another.
pub(crate) fn resolve_listed(root: &mut Node, environment: &BTreeMap<String, String>) {
    for section in ["services", "jobs"] {
        for (_, service) in each(root, section) {
            let variables = service
                .as_map_mut()
                .and_then(|map| map.get_mut("environment"));
            if let Some(variables) = variables
                && variables.node.as_list().is_some()
            {
                resolve(&mut variables.node, environment, Unset::Keep);
            }
        }
    }
}

/// A service that is depended on because something of it is shared.
struct Implied {
    name: String,
    /// Whether a restart of it is one of this service too.
    restart: bool,
    /// What shares it.
    node: Node,
}

fn implicit_dependencies(map: &mut Map, place: &Node) {
    let mut implied: Vec<Implied> = Vec::new();
    let mut imply = |name: &str, restart: bool, node: Node| {
        implied.push(Implied {
            name: name.to_owned(),
            restart,
            node,
        });
    };
    let texts = |key: &str| -> Vec<Node> {
        map.get(key)
            .and_then(|entry| entry.node.as_list())
            .unwrap_or_default()
            .to_vec()
    };
    for link in texts("links") {
        let text = link.as_text().unwrap_or_default();
        let name = match text.split(':').collect::<Vec<_>>().as_slice() {
            [name, _] => (*name).to_owned(),
            _ => text.to_owned(),
        };
        imply(&name, true, link);
    }
    for namespace in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        let Some(entry) = map.get(namespace) else {
            continue;
        };
        let shared = entry
            .node
            .as_text()
            .and_then(|text| text.strip_prefix("service:"));
        if let Some(name) = shared {
            imply(name, true, entry.node.clone());
        }
    }
    for from in texts("volumes_from") {
        let text = from.as_text().unwrap_or_default();
        if !text.starts_with("container:") {
            let name = text.split(':').next().unwrap_or_default().to_owned();
            imply(&name, false, from);
        }
    }
    if implied.is_empty() {
        return;
    }
    let dependencies = map
        .entry("depends_on".to_owned())
        .or_insert_with(|| place.entry_here(Value::Map(Map::new())));
    let Some(dependencies) = dependencies.node.as_map_mut() else {
        return;
    };
    for Implied {
        name,
        restart,
        node,
    } in implied
    {
        dependencies
            .entry(name)
            .or_insert_with(|| dependency(&node, restart));
    }
}

fn dependency(node: &Node, restart: bool) -> Entry {
    let fields = [
        ("condition", Value::Text("service_started".to_owned())),
        ("required", Value::Bool(true)),
        ("restart", Value::Bool(restart)),
    ];
    let map = fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), node.entry_here(value)))
        .collect();
    node.entry_here(Value::Map(map))
}

/// The attributes of a service that its `pre_start` hooks do not take over.
const OWN: &[&str] = &[
    "attach",
    "build",
    "container_name",
    "depends_on",
    "deploy",
    "develop",
    "expose",
    "extends",
    "external_links",
    "healthcheck",
    "links",
    "ports",
    "post_start",
    "pre_start",
    "pre_stop",
    "profiles",
    "provider",
    "restart",
    "scale",
    "stdin_open",
    "tty",
    "volumes",
];

/// Gives `pre_start` hooks the attributes of their service, under their own.
fn inherit(map: &mut Map) -> Result<(), Diagnostics> {
    if !map.contains_key("pre_start") {
        return Ok(());
    }
    let base: Map = map
        .iter()
        .filter(|(key, _)| !OWN.contains(&key.as_str()) && !key.starts_with("x-"))
        .map(|(key, entry)| (key.clone(), entry.clone()))
        .collect();
    let size: usize = base.values().map(|entry| entry.node.size()).sum();
    let hooks = map
        .get_mut("pre_start")
        .and_then(|entry| entry.node.as_list_mut());
    for (at, hook) in hooks.into_iter().flatten().enumerate() {
        if size.saturating_mul(at) > COPIES {
            let message = "the hooks are too large with the attributes of their service";
            return Err(Diagnostic::error("too-large", message)
                .at(&hook.span)
                .into());
        }
        let service = hook.here(Value::Map(base.clone()));
        let own = std::mem::replace(hook, service.here(Value::Null));
        *hook = merge_at(service, own, &mut Path::of(&["services", "x"]))?;
    }
    Ok(())
}

fn resource_names(root: &mut Node, project: &str) {
    for section in ["networks", "volumes", "configs", "secrets"] {
        for (key, resource) in each(root, section) {
            if resource.is_null() {
                resource.value = Value::Map(Map::new());
            }
            let is_external = resource.get("external").is_some_and(|external| {
                matches!(
                    external.value.scalar_text().as_deref(),
                    Some("true" | "True" | "TRUE" | "1" | "t" | "T")
                )
            });
            let name = if is_external {
                key.clone()
            } else {
                format!("{project}_{key}")
            };
            let entry = resource.entry_here(Value::Text(name));
            if let Some(map) = resource.as_map_mut()
                && map.get("name").is_none_or(|name| name.node.is_null())
            {
                map.insert("name".to_owned(), entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::yaml::parse;

    fn normal(text: &str) -> Node {
        let mut node = parse(&Source::new("c.yaml", text)).unwrap();
        let environment = [("E".to_owned(), "e".to_owned())].into();
        normalise(&mut node, "p", &environment).unwrap();
        node
    }

    fn json(node: Option<&Node>) -> String {
        node.unwrap().to_json().to_string()
    }

    #[test]
    fn the_default_network_is_there_when_it_is_used() {
        let node = normal("services: {a: {image: x}, b: {network_mode: host}}");
        assert_eq!(
            json(node.get("networks")),
            r#"{"default":{"name":"p_default"}}"#
        );
        let service = node.get("services").and_then(|all| all.get("a"));
        assert_eq!(
            json(service),
            r#"{"image":"x","networks":{"default":null}}"#
        );
        assert!(
            normal("services: {b: {network_mode: host}}")
                .get("networks")
                .is_none()
        );
    }

    #[test]
    fn what_is_shared_is_depended_on() {
        let node = normal(
            "services: {a: {network_mode: 'service:b', links: ['c:d'], volumes_from: [e:ro]}}",
        );
        let service = node.get("services").and_then(|all| all.get("a")).unwrap();
        assert_eq!(
            json(service.get("depends_on")),
            r#"{"c":{"condition":"service_started","required":true,"restart":true},"b":{"condition":"service_started","required":true,"restart":true},"e":{"condition":"service_started","required":true,"restart":false}}"#
        );
    }

    #[test]
    fn variables_with_only_a_name_take_the_value_of_the_environment() {
        let node = normal(
            "services: {a: {environment: {E: , F: , G: g}, build: {args: [E, F]}, network_mode: none}}",
        );
        let service = node.get("services").and_then(|all| all.get("a")).unwrap();
        assert_eq!(
            json(service.get("environment")),
            r#"{"E":"e","F":null,"G":"g"}"#
        );
        assert_eq!(
            json(service.get("build")),
            r#"{"args":["E=e"],"context":".","dockerfile":"Dockerfile"}"#
        );
    }

    #[test]
    fn hooks_take_over_the_attributes_of_their_service() {
        let node = normal(
            "services: {a: {image: x, user: u, volumes: [], restart: always, network_mode: none, pre_start: [{command: c, user: v}]}}",
        );
        let service = node.get("services").and_then(|all| all.get("a")).unwrap();
        assert_eq!(
            json(service.get("pre_start")),
            r#"[{"image":"x","user":"v","network_mode":"none","command":"c"}]"#
        );
    }

    #[test]
    fn resources_are_named_after_the_project() {
        let node = normal("volumes: {a: , b: {external: true}, c: {name: d}}");
        assert_eq!(
            json(node.get("volumes")),
            r#"{"a":{"name":"p_a"},"b":{"external":true,"name":"b"},"c":{"name":"d"}}"#
        );
    }
}
