//! Short forms to long ones, so that all that follows knows one form. Not defaults.

pub(crate) mod mount;
mod port;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::merge::plain_dependency;
use crate::tree::each;
use crate::yaml::{Map, Node, Value};

/// The most ports that the ranges of a file may come to.
const PORTS: usize = 140_000;

/// Whether a short form that cannot be read is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// It is.
    Strict,
    /// It stays as it is, because its variables are not filled in.
    Lenient,
}

/// Rewrites all short forms beneath `root`.
pub(crate) fn canonicalise(root: &mut Node, strictness: Strictness) -> Result<(), Diagnostics> {
    let mut left = PORTS;
    for section in ["services", "jobs"] {
        for (_, service) in each(root, section) {
            if let Some(map) = service.as_map_mut() {
                workload(map, strictness, &mut left)?;
            }
        }
    }
    for section in ["volumes", "networks", "secrets", "configs"] {
        for (_, resource) in each(root, section) {
            if let Some(map) = resource.as_map_mut() {
                external(map)?;
            }
        }
    }
    Ok(())
}

/// Runs `rewrite` on what is under `key`, if it is there.
fn at(
    map: &mut Map,
    key: &str,
    rewrite: impl FnOnce(&mut Node) -> Result<(), Diagnostics>,
) -> Result<(), Diagnostics> {
    map.get_mut(key)
        .map_or(Ok(()), |entry| rewrite(&mut entry.node))
}

/// Runs `rewrite`, which cannot fail, on what is under `key`, if it is there.
fn change(map: &mut Map, key: &str, rewrite: impl FnOnce(&mut Node)) {
    if let Some(entry) = map.get_mut(key) {
        rewrite(&mut entry.node);
    }
}

/// Runs `rewrite`, which cannot fail, on each item of the list under `key`.
fn change_items(map: &mut Map, key: &str, rewrite: impl Fn(&mut Node)) {
    if let Some(items) = map.get_mut(key).and_then(|entry| entry.node.as_list_mut()) {
        items.iter_mut().for_each(rewrite);
    }
}

/// Runs `rewrite` on each item of the list under `key`.
fn items(
    map: &mut Map,
    key: &str,
    rewrite: impl Fn(&mut Node) -> Result<(), Diagnostics>,
) -> Result<(), Diagnostics> {
    at(map, key, |list| match list.as_list_mut() {
        Some(items) => items.iter_mut().try_for_each(rewrite),
        None => Ok(()),
    })
}

fn workload(map: &mut Map, strictness: Strictness, left: &mut usize) -> Result<(), Diagnostics> {
    container(map, strictness)?;
    at(map, "build", |node| build(node, strictness))?;
    at(map, "depends_on", depends_on)?;
    change(map, "extends", |node| wrap(node, "service"));
    at(map, "ports", |node| port::expand(node, strictness, left))?;
    items(map, "pre_start", |hook| match hook.as_map_mut() {
        Some(map) => container(map, strictness),
        None => Ok(()),
    })?;
    change(map, "triggers", |triggers| {
        if let Some(map) = triggers.as_map_mut() {
            change_items(map, "schedule", |one| wrap(one, "cron"));
        }
    });
    change(map, "develop", |develop| {
        if let Some(map) = develop.as_map_mut() {
            change_items(map, "watch", |rule| {
                if let Some(map) = rule.as_map_mut() {
                    // What it was called before it was a part of the specification.
                    if let Some(entry) = map.shift_remove("x-initialSync") {
                        map.insert("initial_sync".to_owned(), entry);
                    }
                    change(map, "ignore", list);
                    change(map, "include", list);
                }
            });
        }
    });
    Ok(())
}

fn container(map: &mut Map, strictness: Strictness) -> Result<(), Diagnostics> {
    change(map, "env_file", env_files);
    change(map, "label_file", list);
    change(map, "gpus", gpus);
    change(map, "networks", names);
    change(map, "models", names);
    items(map, "volumes", |node| mount::expand(node, strictness))?;
    change(map, "dns", |dns| {
        list(dns);
        // A name server that is empty, mostly from a variable without a value, is none.
        if let Some(items) = dns.as_list_mut() {
            items.retain(|item| !item.is_null() && item.as_text() != Some(""));
        }
    });
    items(map, "devices", |node| device(node, strictness))?;
    change_items(map, "secrets", |node| wrap(node, "source"));
    change_items(map, "configs", |node| wrap(node, "source"));
    at(map, "ulimits", |node| ulimits(node, strictness))
}

/// Turns a text into a list of it.
fn list(node: &mut Node) {
    if node.as_text().is_some() {
        node.value = Value::List(vec![node.clone()]);
    }
}

/// Turns a text into a map that has it under `key`.
fn wrap(node: &mut Node, key: &str) {
    if node.as_text().is_some() {
        let entry = node.entry_here(node.value.clone());
        node.value = Value::Map([(key.to_owned(), entry)].into_iter().collect());
    }
}

/// Turns a list of names into a map of them.
fn names(node: &mut Node) {
    if let Some(list) = node.as_list() {
        let map = list
            .iter()
            .filter_map(|name| Some((name.as_text()?.to_owned(), name.entry_here(Value::Null))))
            .collect();
        node.value = Value::Map(map);
    }
}

fn depends_on(node: &mut Node) -> Result<(), Diagnostics> {
    if let Some(list) = node.as_list() {
        let map = list
            .iter()
            .filter_map(|name| {
                let entry = name.entry_here(plain_dependency(name));
                Some((name.as_text()?.to_owned(), entry))
            })
            .collect();
        node.value = Value::Map(map);
        return Ok(());
    }
    let Some(map) = node.as_map_mut() else {
        return Ok(());
    };
    for (name, entry) in map {
        let place = entry.node.clone();
        let Some(dependency) = entry.node.as_map_mut() else {
            let message = format!("the dependency on `{name}` has to be a map");
            return Err(Diagnostic::error("wrong-type", message)
                .at(&place.span)
                .into());
        };
        let started = Value::Text("service_started".to_owned());
        for (key, value) in [("condition", started), ("required", Value::Bool(true))] {
            dependency
                .entry(key.to_owned())
                .or_insert_with(|| place.entry_here(value));
        }
    }
    Ok(())
}

fn env_files(node: &mut Node) {
    list(node);
    for file in node.as_list_mut().into_iter().flatten() {
        wrap(file, "path");
        let required = file.entry_here(Value::Bool(true));
        if let Some(map) = file.as_map_mut() {
            map.entry("required".to_owned()).or_insert(required);
        }
    }
}

fn gpus(node: &mut Node) {
    if node.as_text().is_some() {
        let count = node.entry_here(Value::Text("all".to_owned()));
        let one = node.here(Value::Map(
            [("count".to_owned(), count)].into_iter().collect(),
        ));
        node.value = Value::List(vec![one]);
    }
}

fn device(node: &mut Node, strictness: Strictness) -> Result<(), Diagnostics> {
    let Some(text) = node.as_text() else {
        return Ok(());
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] => (*source, *target, *permissions),
        _ if strictness == Strictness::Lenient => return Ok(()),
        _ => {
            return Err(
                Diagnostic::error("invalid-device", format!("`{text}` is not a device"))
                    .at(&node.span)
                    .help("write source:target:permissions, like /dev/sda:/dev/sda:r")
                    .into(),
            );
        }
    };
    let target = if target.is_empty() { source } else { target };
    let fields = [
        ("source", source),
        ("target", target),
        ("permissions", permissions),
    ];
    let map = fields
        .into_iter()
        .map(|(key, value)| {
            (
                key.to_owned(),
                node.entry_here(Value::Text(value.to_owned())),
            )
        })
        .collect();
    node.value = Value::Map(map);
    Ok(())
}

fn ulimits(node: &mut Node, strictness: Strictness) -> Result<(), Diagnostics> {
    for (name, entry) in node.as_map().into_iter().flatten() {
        if strictness == Strictness::Lenient {
            continue;
        }
        let values = match &entry.node.value {
            Value::Map(map) => ["soft", "hard"]
                .iter()
                .filter_map(|key| Some(&map.get(*key)?.node))
                .collect(),
            _ => vec![&entry.node],
        };
        for value in values {
            if !matches!(value.value, Value::Int(_)) {
                let message = format!(
                    "limit `{name}` has to be a whole number, but this is {}",
                    value.kind()
                );
                return Err(Diagnostic::error("wrong-type", message)
                    .at(&value.span)
                    .into());
            }
        }
    }
    Ok(())
}

fn build(node: &mut Node, strictness: Strictness) -> Result<(), Diagnostics> {
    wrap(node, "context");
    let Some(map) = node.as_map_mut() else {
        return Ok(());
    };
    change_items(map, "secrets", |node| wrap(node, "source"));
    change(map, "provenance", text);
    change(map, "sbom", text);
    at(map, "additional_contexts", |node| {
        contexts(node, strictness)
    })?;
    at(map, "ssh", ssh)?;
    at(map, "ulimits", |node| ulimits(node, strictness))
}

fn text(node: &mut Node) {
    if let Some(text) = node.value.scalar_text() {
        node.value = Value::Text(text);
    }
}

fn contexts(node: &mut Node, strictness: Strictness) -> Result<(), Diagnostics> {
    for (name, entry) in node.as_map().into_iter().flatten() {
        if entry.node.as_text().is_none() {
            let kind = entry.node.kind();
            let message = format!("context `{name}` has to be a text, but this is {kind}");
            return Err(Diagnostic::error("wrong-type", message)
                .at(&entry.node.span)
                .into());
        }
    }
    let Some(list) = node.as_list() else {
        return Ok(());
    };
    let mut map = Map::new();
    for item in list {
        match item.as_text().and_then(|text| text.split_once('=')) {
            Some((key, value)) => {
                map.insert(
                    key.to_owned(),
                    item.entry_here(Value::Text(value.to_owned())),
                );
            }
            None if strictness == Strictness::Lenient => return Ok(()),
            None => {
                return Err(
                    Diagnostic::error("invalid-value", "this has to be name=context")
                        .at(&item.span)
                        .into(),
                );
            }
        }
    }
    node.value = Value::Map(map);
    Ok(())
}

fn ssh(node: &mut Node) -> Result<(), Diagnostics> {
    let Some(list) = node.as_list() else {
        return Ok(());
    };
    let mut map = Map::new();
    for item in list {
        let text = item.as_text().unwrap_or_default();
        let (id, path) = match text.split_once('=') {
            Some((id, path)) => (id, Value::Text(path.to_owned())),
            None if text == "default" => (text, Value::Null),
            None => {
                return Err(Diagnostic::error(
                    "invalid-ssh-key",
                    format!("`{text}` is not an SSH key"),
                )
                .at(&item.span)
                .help("write `default` for the agent, or id=path")
                .into());
            }
        };
        map.insert(id.to_owned(), item.entry_here(path));
    }
    node.value = Value::Map(map);
    Ok(())
}

/// Reads the older `external: {name: x}` as `external: true` and `name: x`.
fn external(map: &mut Map) -> Result<(), Diagnostics> {
    let Some(entry) = map.get_mut("external") else {
        return Ok(());
    };
    let Some(long) = entry.node.as_map() else {
        return Ok(());
    };
    let inner = long.get("name").cloned();
    entry.node.value = Value::Bool(true);
    let Some(inner) = inner else {
        return Ok(());
    };
    match map.get("name") {
        Some(outer) if outer.node.value != inner.node.value => Err(Diagnostic::error(
            "name-conflict",
            "`name` and `external.name` differ",
        )
        .at(&inner.node.span)
        .help("use `name` and `external: true`")
        .into()),
        Some(_) => Ok(()),
        None => {
            map.insert("name".to_owned(), inner);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::yaml::parse;

    fn long(service: &str) -> Result<String, Diagnostics> {
        let text = format!("services: {{a: {{{service}}}}}");
        let mut node = parse(&Source::new("c.yaml", text)).unwrap();
        canonicalise(&mut node, Strictness::Strict)?;
        let service = node.get("services").and_then(|all| all.get("a")).unwrap();
        Ok(service.to_json().to_string())
    }

    #[test]
    fn short_forms_become_long() {
        for (short, result) in [
            ("build: .", r#"{"build":{"context":"."}}"#),
            (
                "depends_on: [b]",
                r#"{"depends_on":{"b":{"condition":"service_started","required":true}}}"#,
            ),
            (
                "env_file: a",
                r#"{"env_file":[{"path":"a","required":true}]}"#,
            ),
            ("gpus: all", r#"{"gpus":[{"count":"all"}]}"#),
            ("networks: [n]", r#"{"networks":{"n":null}}"#),
            ("dns: ''", r#"{"dns":[]}"#),
            (
                "devices: ['/dev/a:/dev/b']",
                r#"{"devices":[{"source":"/dev/a","target":"/dev/b","permissions":"rwm"}]}"#,
            ),
            ("secrets: [s]", r#"{"secrets":[{"source":"s"}]}"#),
            (
                "build: {ssh: [default, k=p], sbom: true}",
                r#"{"build":{"ssh":{"default":null,"k":"p"},"sbom":"true"}}"#,
            ),
        ] {
            assert_eq!(long(short).unwrap(), result);
        }
        for bad in [
            "devices: ['a:b:c:d']",
            "build: {ssh: [k]}",
            "ulimits: {n: x}",
        ] {
            assert!(long(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_old_form_of_external_is_read() {
        let mut node = parse(&Source::new(
            "c.yaml",
            "volumes: {v: {external: {name: x}}}",
        ))
        .unwrap();
        canonicalise(&mut node, Strictness::Strict).unwrap();
        assert_eq!(
            node.to_json().to_string(),
            r#"{"volumes":{"v":{"external":true,"name":"x"}}}"#
        );
    }
}
