//! Takes away what a later item of a list redefines. Not the joining of lists: that is the merge's.

use std::collections::HashMap;

use crate::canonical::mount;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::tree::{Path, Walk, walk};
use crate::yaml::{Node, Value};

type Key = fn(&Node) -> Result<String, Diagnostics>;

/// The lists whose items have a key.
const KEYS: &[(&str, Key)] = &[
    ("networks.*.labels", name),
    ("networks.*.ipam.options", name),
    ("volumes.*.labels", name),
    ("secrets.*.labels", name),
    ("configs.*.labels", name),
    ("services.*.annotations", name),
    ("services.*.build.args", name),
    ("services.*.build.additional_contexts", name),
    ("services.*.build.platform", name),
    ("services.*.build.tags", name),
    ("services.*.build.labels", name),
    ("services.*.cap_add", name),
    ("services.*.cap_drop", name),
    ("services.*.devices", device),
    ("services.*.configs", config),
    ("services.*.deploy.labels", name),
    ("services.*.dns", name),
    ("services.*.dns_opt", name),
    ("services.*.dns_search", name),
    ("services.*.environment", name),
    ("services.*.env_file", env_file),
    ("services.*.expose", scalar),
    ("services.*.labels", name),
    ("services.*.links", name),
    ("services.*.networks.*.aliases", name),
    ("services.*.networks.*.link_local_ips", name),
    ("services.*.ports", port),
    ("services.*.profiles", name),
    ("services.*.secrets", secret),
    ("services.*.sysctls", name),
    ("services.*.tmpfs", name),
    ("services.*.volumes", volume),
];

/// Leaves of items with the same key the last, in the place of the first.
pub(crate) fn enforce(root: &mut Node) -> Result<(), Diagnostics> {
    walk(root, &mut Path::default(), &mut |path, node| {
        let Value::List(items) = &mut node.value else {
            return Ok(Walk::Into);
        };
        if let Some((_, key)) = KEYS.iter().find(|(pattern, _)| path.matches(pattern)) {
            let all = std::mem::take(items);
            let mut places: HashMap<String, usize> = HashMap::new();
            for item in all {
                let place = *places.entry(key(&item)?).or_insert(items.len());
                match items.get_mut(place) {
                    Some(first) => *first = item,
                    None => items.push(item),
                }
            }
        }
        Ok(Walk::Past)
    })
}

fn refuse(node: &Node, expected: &str) -> Diagnostics {
    let message = format!("expected {expected}, but this is {}", node.kind());
    Diagnostic::error("wrong-type", message)
        .at(&node.span)
        .into()
}

fn missing(node: &Node, message: &str) -> Diagnostics {
    Diagnostic::error("missing-key", message)
        .at(&node.span)
        .into()
}

fn name(node: &Node) -> Result<String, Diagnostics> {
    let text = node
        .as_text()
        .filter(|_| !node.is_timestamp())
        .ok_or_else(|| refuse(node, "a text"))?;
    Ok(text
        .split_once('=')
        .map_or(text, |(name, _)| name)
        .to_owned())
}

fn scalar(node: &Node) -> Result<String, Diagnostics> {
    match &node.value {
        Value::Int(number) => Ok(number.to_string()),
        Value::Text(text) => Ok(text.clone()),
        _ => Err(refuse(node, "a text or a whole number")),
    }
}

/// Returns the text that a map has under `key`.
fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key)?.value.scalar_text()
}

fn device(node: &Node) -> Result<String, Diagnostics> {
    match &node.value {
        Value::Text(text) => {
            let mut parts = text.split(':');
            let source = parts.next().unwrap_or_default();
            Ok(parts.next().unwrap_or(source).to_owned())
        }
        Value::Map(_) => {
            text(node, "target").ok_or_else(|| missing(node, "a device needs `target`"))
        }
        _ => Err(refuse(node, "a text or a map")),
    }
}

fn volume(node: &Node) -> Result<String, Diagnostics> {
    match &node.value {
        Value::Text(text) => Ok(mount::parse(text, node)?.target),
        Value::Map(_) => {
            text(node, "target").ok_or_else(|| missing(node, "a mount needs `target`"))
        }
        _ => Err(refuse(node, "a text or a map")),
    }
}

fn secret(node: &Node) -> Result<String, Diagnostics> {
    file(node, "/run/secrets")
}

fn config(node: &Node) -> Result<String, Diagnostics> {
    file(node, "")
}

fn file(node: &Node, directory: &str) -> Result<String, Diagnostics> {
    match &node.value {
        Value::Text(source) => Ok(format!("{directory}/{source}")),
        Value::Map(_) => Ok(text(node, "target").unwrap_or_else(|| {
            format!("{directory}/{}", text(node, "source").unwrap_or_default())
        })),
        _ => Err(refuse(node, "a text or a map")),
    }
}

fn env_file(node: &Node) -> Result<String, Diagnostics> {
    match &node.value {
        Value::Text(path) => Ok(path.clone()),
        Value::Map(_) => {
            text(node, "path").ok_or_else(|| missing(node, "an env file needs `path`"))
        }
        _ => Err(refuse(node, "a text or a map")),
    }
}

fn port(node: &Node) -> Result<String, Diagnostics> {
    match &node.value {
        Value::Map(_) => {
            let target =
                text(node, "target").ok_or_else(|| missing(node, "a port needs `target`"))?;
            let or = |key, default: &str| text(node, key).unwrap_or_else(|| default.to_owned());
            // To the reference implementation a port in quotes is not the one without.
            let kind = node.get("published").map_or("", |port| port.value.kind());
            Ok(format!(
                "{}:{} {kind}:{target}/{}",
                or("host_ip", "0.0.0.0"),
                or("published", ""),
                or("protocol", "tcp")
            ))
        }
        _ => node
            .value
            .scalar_text()
            .ok_or_else(|| refuse(node, "a text, a number or a map")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::yaml::parse;

    fn unique(service: &str) -> Result<String, Diagnostics> {
        let text = format!("services: {{a: {{{service}}}}}");
        let mut node = parse(&Source::new("c.yaml", text)).unwrap();
        enforce(&mut node)?;
        let service = node.get("services").and_then(|all| all.get("a")).unwrap();
        Ok(service.to_json().to_string())
    }

    #[test]
    fn the_last_of_a_key_stays_in_the_place_of_the_first() {
        for (service, result) in [
            (
                "environment: [A=1, B=2, A=3]",
                r#"{"environment":["A=3","B=2"]}"#,
            ),
            (
                "volumes: ['aa:/x', 'bb:/x:ro']",
                r#"{"volumes":["bb:/x:ro"]}"#,
            ),
            ("expose: [80, '80']", r#"{"expose":["80"]}"#),
            (
                "ports: [{target: 80}, {target: 80, protocol: tcp}, {target: 80, protocol: udp}]",
                r#"{"ports":[{"target":80,"protocol":"tcp"},{"target":80,"protocol":"udp"}]}"#,
            ),
            (
                "secrets: [s, {source: s}]",
                r#"{"secrets":[{"source":"s"}]}"#,
            ),
            ("security_opt: [a, a]", r#"{"security_opt":["a","a"]}"#),
        ] {
            assert_eq!(unique(service).unwrap(), result);
        }
        assert!(unique("ports: [{published: 80}]").is_err());
        assert!(unique("volumes: [{type: volume}]").is_err());
    }
}
