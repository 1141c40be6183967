//! What is meant where nothing is said, and what cannot be meant together: both of single elements, in
//! their long form. Not defaults or rules that join several elements.

use std::net::IpAddr;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::tree::{Path, Walk, walk};
use crate::yaml::{Map, Node, Value};

/// Sets what is meant where nothing is said.
pub(crate) fn set(root: &mut Node) -> Result<(), Diagnostics> {
    walk(root, &mut Path::default(), &mut |path, node| {
        let place = node.here(Value::Null);
        let Some(map) = node.as_map_mut() else {
            return Ok(Walk::Into);
        };
        let or = |map: &mut Map, key: &str, value: Value| {
            map.entry(key.to_owned())
                .or_insert_with(|| place.entry_here(value));
        };
        let text = |text: &str| Value::Text(text.to_owned());
        if path.matches("services.*.build") {
            or(map, "context", text("."));
        } else if path.matches("services.*.secrets.*")
            || path.matches("services.*.pre_start.*.secrets.*")
        {
            let source = map
                .get("source")
                .and_then(|source| source.node.value.scalar_text())
                .unwrap_or_default();
            or(map, "target", Value::Text(format!("/run/secrets/{source}")));
        } else if path.matches("services.*.ports.*") {
            or(map, "protocol", text("tcp"));
            or(map, "mode", text("ingress"));
        } else if path.matches("services.*.volumes.*.bind")
            || path.matches("services.*.pre_start.*.volumes.*.bind")
        {
            or(map, "create_host_path", Value::Bool(true));
        } else if (path.matches("services.*.gpus.*")
            || path.matches("services.*.deploy.resources.reservations.devices.*"))
            && !map.contains_key("count")
            && !map.contains_key("device_ids")
        {
            or(map, "count", text("all"));
        }
        Ok(Walk::Into)
    })
}

/// Checks the rules of single elements.
pub(crate) fn check(root: &mut Node) -> Result<(), Diagnostics> {
    let mut found = Vec::new();
    walk(root, &mut Path::default(), &mut |path, node| {
        let refused = if path.matches("volumes.*") {
            external(path, node)
        } else if path.matches("configs.*") {
            file_object(path, node, &["file", "environment", "content"])
        } else if path.matches("secrets.*") {
            file_object(path, node, &["file", "environment"])
        } else if path.matches("services.*.ports.*") {
            address(node)
        } else if path.matches("services.*.develop.watch.*.path") {
            watched(node)
        } else if path.matches("services.*.gpus.*")
            || path.matches("services.*.deploy.resources.reservations.devices.*")
        {
            devices(node)
        } else {
            return Ok(Walk::Into);
        };
        found.extend(refused);
        Ok(Walk::Past)
    })?;
    Diagnostics::check(found)
}

fn is_true(entry: Option<&Node>) -> bool {
    entry.is_some_and(|node| match &node.value {
        Value::Bool(yes) => *yes,
        Value::Text(text) => text == "true",
        _ => false,
    })
}

fn external(path: &Path, node: &Node) -> Option<Diagnostic> {
    let map = node.as_map()?;
    if !is_true(node.get("external")) {
        return None;
    }
    let (key, entry) = map
        .iter()
        .find(|(key, _)| !matches!(key.as_str(), "name" | "external") && !key.starts_with("x-"))?;
    Some(
        Diagnostic::error(
            "external-conflict",
            format!("`{path}` is external, so it cannot have `{key}`"),
        )
        .at(&entry.key),
    )
}

fn file_object(path: &Path, node: &Node, sources: &[&str]) -> Option<Diagnostic> {
    let map = node.as_map()?;
    let mut given = sources.iter().filter_map(|key| map.get(*key));
    let names = sources.join("`, `");
    match (given.next(), given.next()) {
        (Some(_), Some(second)) => Some(
            Diagnostic::error(
                "several-sources",
                format!("`{path}` can have only one of `{names}`"),
            )
            .at(&second.key),
        ),
        (None, _) if !map.contains_key("driver") && !map.contains_key("external") => Some(
            Diagnostic::error("no-source", format!("`{path}` needs one of `{names}`"))
                .at(&node.span),
        ),
        _ => None,
    }
}

fn address(node: &Node) -> Option<Diagnostic> {
    let address = node.get("host_ip")?;
    let text = address.as_text()?;
    if text.parse::<IpAddr>().is_ok() || text.contains('$') {
        return None;
    }
    let message = format!("`{text}` is not an IP address");
    Some(Diagnostic::error("invalid-address", message).at(&address.span))
}

fn watched(node: &Node) -> Option<Diagnostic> {
    (node.as_text() == Some(""))
        .then(|| Diagnostic::error("missing-path", "the path to watch is empty").at(&node.span))
}

fn devices(node: &Node) -> Option<Diagnostic> {
    let ids = node.as_map()?.get("device_ids")?;
    node.get("count")?;
    let message = "`count` and `device_ids` cannot be given together";
    Some(Diagnostic::error("exclusive-keys", message).at(&ids.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::yaml::parse;

    fn refusal(text: &str) -> Option<&'static str> {
        let mut node = parse(&Source::new("c.yaml", text)).unwrap();
        check(&mut node).err().map(|refused| refused.first().code)
    }

    #[test]
    fn elements_get_their_defaults() {
        let text = "services: {a: {build: {}, ports: [{target: 1}], secrets: [{source: s}]}}";
        let mut node = parse(&Source::new("c.yaml", text)).unwrap();
        set(&mut node).unwrap();
        assert_eq!(
            node.to_json().to_string(),
            r#"{"services":{"a":{"build":{"context":"."},"ports":[{"target":1,"protocol":"tcp","mode":"ingress"}],"secrets":[{"source":"s","target":"/run/secrets/s"}]}}}"#
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, code) in [
            (
                "volumes: {v: {external: true, driver: x}}",
                "external-conflict",
            ),
            ("configs: {c: {file: x, content: y}}", "several-sources"),
            ("secrets: {s: {}}", "no-source"),
            ("services: {a: {ports: [{host_ip: x}]}}", "invalid-address"),
            (
                "services: {a: {gpus: [{count: 1, device_ids: [a]}]}}",
                "exclusive-keys",
            ),
            (
                "services: {a: {develop: {watch: [{path: ''}]}}}",
                "missing-path",
            ),
        ] {
            assert_eq!(refusal(text), Some(code), "{text}");
        }
        assert_eq!(refusal("secrets: {s: {external: true}}"), None);
    }
}
