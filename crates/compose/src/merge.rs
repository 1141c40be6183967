//! Puts one tree over another by the rules that Compose has for each attribute. Not the taking away of
//! duplicates: that is unicity's.

use std::collections::HashSet;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::tree::Path;
use crate::yaml::{Entry, Map, Node, Value};

/// The most pools of addresses that a network may have where they are merged.
const POOLS: usize = 256;

type Rule = fn(Node, Node, &mut Path) -> Result<Node, Diagnostics>;

/// The attributes that are not merged as maps, lists and scalars otherwise are.
const RULES: &[(&str, Rule)] = &[
    ("networks.*.ipam.config", pools),
    ("networks.*.labels", sequences),
    ("volumes.*.labels", sequences),
    ("secrets.*.labels", sequences),
    ("configs.*.labels", sequences),
    ("services.*.annotations", sequences),
    ("services.*.build", build),
    ("services.*.build.args", sequences),
    ("services.*.build.additional_contexts", sequences),
    ("services.*.build.extra_hosts", hosts),
    ("services.*.build.labels", sequences),
    ("services.*.command", replace),
    ("services.*.depends_on", dependencies),
    ("services.*.deploy.labels", sequences),
    ("services.*.dns", sequences),
    ("services.*.dns_opt", sequences),
    ("services.*.dns_search", sequences),
    ("services.*.entrypoint", replace),
    ("services.*.env_file", sequences),
    ("services.*.label_file", sequences),
    ("services.*.environment", sequences),
    ("services.*.extra_hosts", hosts),
    ("services.*.healthcheck.test", replace),
    ("services.*.labels", sequences),
    ("services.*.volumes.*.volume.labels", sequences),
    ("services.*.logging", logging),
    ("services.*.models", names),
    ("services.*.networks", names),
    ("services.*.sysctls", sequences),
    ("services.*.tmpfs", sequences),
    ("services.*.ulimits.*", limit),
];

/// Puts a whole file over what the files before it say.
pub(crate) fn merge(base: Node, over: Node) -> Result<Node, Diagnostics> {
    merge_at(base, over, &mut Path::default())
}

/// Puts `over` over `base`, both of which are at `path`.
pub(crate) fn merge_at(base: Node, over: Node, path: &mut Path) -> Result<Node, Diagnostics> {
    if let Some((_, rule)) = RULES.iter().find(|(pattern, _)| path.matches(pattern)) {
        return rule(base, over, path);
    }
    if over.is_null() {
        return Ok(base);
    }
    match (base, over) {
        (
            Node {
                value: Value::Map(map),
                span,
                ..
            },
            Node {
                value: Value::Map(other),
                ..
            },
        ) => Ok(Node::new(Value::Map(maps(map, other, path)?), span)),
        (
            Node {
                value: Value::List(list),
                span,
                ..
            },
            Node {
                value: Value::List(other),
                ..
            },
        ) => Ok(Node::new(Value::List(lists(list, other)), span)),
        (base, over) => match base.value {
            Value::Map(_) | Value::List(_) => Err(cannot(&base, &over, path)),
            _ => Ok(over),
        },
    }
}

fn cannot(base: &Node, over: &Node, path: &Path) -> Diagnostics {
    let message = format!(
        "`{path}` is {} in {}, so {} cannot be put over it",
        base.value.kind(),
        base.span,
        over.value.kind()
    );
    Diagnostic::error("cannot-merge", message)
        .at(&over.span)
        .help("write it in the same form, or tag it `!override` to replace it")
        .into()
}

fn maps(mut base: Map, over: Map, path: &mut Path) -> Result<Map, Diagnostics> {
    for (key, entry) in over {
        let Some(under) = base.get_mut(&key) else {
            base.insert(key, entry);
            continue;
        };
        let null = Node::new(Value::Null, entry.key.clone());
        let node = std::mem::replace(&mut under.node, null);
        under.node = path.within(&key, |path| merge_at(node, entry.node, path))?;
        under.key = entry.key;
    }
    Ok(base)
}

#[expect(clippy::unnecessary_wraps, reason = "it is one of the rules")]
fn replace(_base: Node, over: Node, _path: &mut Path) -> Result<Node, Diagnostics> {
    Ok(over)
}

#[expect(clippy::unnecessary_wraps, reason = "it is one of the rules")]
fn sequences(base: Node, over: Node, _path: &mut Path) -> Result<Node, Diagnostics> {
    let span = over.span.clone();
    let mut list = sequence(base);
    list.extend(sequence(over));
    Ok(Node::new(Value::List(list), span))
}

#[expect(clippy::unnecessary_wraps, reason = "it is one of the rules")]
fn hosts(base: Node, over: Node, _path: &mut Path) -> Result<Node, Diagnostics> {
    let span = over.span.clone();
    let mut list = sequence(base);
    let text = |item: &Node| item.to_json().to_string();
    let mut known: HashSet<String> = list.iter().map(text).collect();
    let new = sequence(over).into_iter();
    list.extend(new.filter(|host| known.insert(text(host))));
    Ok(Node::new(Value::List(list), span))
}

/// An item that is there already is not added again.
fn lists(mut base: Vec<Node>, over: Vec<Node>) -> Vec<Node> {
    let text = |item: &Node| item.to_json().to_string();
    let known: HashSet<String> = base.iter().map(text).collect();
    base.extend(over.into_iter().filter(|item| !known.contains(&text(item))));
    base
}

/// A limit that is two is merged with two others, and is replaced otherwise.
fn limit(base: Node, over: Node, path: &mut Path) -> Result<Node, Diagnostics> {
    match (base.value, over.value) {
        (Value::Map(base), Value::Map(map)) => {
            Ok(Node::new(Value::Map(maps(base, map, path)?), over.span))
        }
        (_, value) => Ok(Node::new(value, over.span)),
    }
}

/// Turns a map into a list of `key=value` in order of the keys, and a text into a list of one.
fn sequence(node: Node) -> Vec<Node> {
    match node.value {
        Value::List(list) => list,
        Value::Text(_) => vec![node],
        Value::Map(map) => {
            let mut list: Vec<Node> = map
                .into_iter()
                .flat_map(|(key, entry)| pairs(&key, entry))
                .collect();
            list.sort_by(|a, b| a.as_text().cmp(&b.as_text()));
            list
        }
        _ => Vec::new(),
    }
}

fn pairs(key: &str, entry: Entry) -> Vec<Node> {
    match entry.node.value {
        Value::Null => vec![Node::new(Value::Text(key.to_owned()), entry.key)],
        Value::List(values) => values.iter().map(|value| pair(key, value)).collect(),
        _ => vec![pair(key, &entry.node)],
    }
}

fn pair(key: &str, node: &Node) -> Node {
    let value = node.scalar_text().unwrap_or_default();
    node.text_here(format!("{key}={value}"))
}

/// Turns names into a map, each with what `value` gives.
fn mapping(node: Node, path: &Path, value: impl Fn(&Node) -> Value) -> Result<Map, Diagnostics> {
    let names = match node.value {
        Value::Map(map) => return Ok(map),
        Value::List(list) => list,
        Value::Text(_) => vec![node],
        Value::Null => Vec::new(),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            let message = format!(
                "`{path}` has to be a list or a map, but this is {}",
                node.kind()
            );
            return Err(Diagnostic::error("wrong-type", message)
                .at(&node.span)
                .into());
        }
    };
    let entry = |name: &Node| Some((name.as_text()?.to_owned(), name.entry_here(value(name))));
    Ok(names.iter().filter_map(entry).collect())
}

fn names(base: Node, over: Node, path: &mut Path) -> Result<Node, Diagnostics> {
    let span = over.span.clone();
    let base = mapping(base, path, |_| Value::Null)?;
    let over = mapping(over, path, |_| Value::Null)?;
    let merged = maps(base, over, path)?;
    Ok(Node::new(Value::Map(merged), span))
}

/// What a dependency that is only named means.
pub(crate) fn plain_dependency(name: &Node) -> Value {
    let entries = [
        ("condition", Value::Text("service_started".to_owned())),
        ("required", Value::Bool(true)),
    ];
    Value::Map(
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), name.entry_here(value)))
            .collect(),
    )
}

fn dependencies(base: Node, over: Node, path: &mut Path) -> Result<Node, Diagnostics> {
    let span = over.span.clone();
    let base = mapping(base, path, plain_dependency)?;
    let over = mapping(over, path, plain_dependency)?;
    let merged = maps(base, over, path)?;
    Ok(Node::new(Value::Map(merged), span))
}

fn build(base: Node, over: Node, path: &mut Path) -> Result<Node, Diagnostics> {
    let span = over.span.clone();
    let long = |node: Node| match node.value {
        Value::Map(map) => map,
        Value::Text(_) => [("context".to_owned(), Entry::new(node.span.clone(), node))]
            .into_iter()
            .collect(),
        _ => Map::new(),
    };
    let merged = maps(long(base), long(over), path)?;
    Ok(Node::new(Value::Map(merged), span))
}

/// Options of a driver are merged only while the driver stays the same.
fn logging(base: Node, over: Node, path: &mut Path) -> Result<Node, Diagnostics> {
    let driver = |node: &Node| node.get("driver").map(|driver| driver.value.clone());
    let other_driver = match (driver(&base), driver(&over)) {
        (Some(base), Some(over)) => base != over,
        _ => false,
    };
    match (base.value, over.value) {
        (Value::Map(base), Value::Map(map)) if !other_driver => {
            Ok(Node::new(Value::Map(maps(base, map, path)?), over.span))
        }
        (_, value) => Ok(Node::new(value, over.span)),
    }
}

/// Pools of addresses are the same pool when they have the same subnet.
#[expect(clippy::needless_pass_by_value, reason = "it is one of the rules")]
fn pools(base: Node, over: Node, path: &mut Path) -> Result<Node, Diagnostics> {
    let (Some(base_pools), Some(over_pools)) = (base.as_list(), over.as_list()) else {
        return Err(cannot(&base, &over, path));
    };
    if base_pools.len().max(over_pools.len()) > POOLS {
        let message = format!("a network has more than {POOLS} pools of addresses");
        return Err(Diagnostic::error("too-large", message)
            .at(&over.span)
            .into());
    }
    let subnet = |node: &Node| node.get("subnet").map(|subnet| subnet.value.clone());
    let mut merged: Vec<Node> = Vec::new();
    for pool in base_pools {
        for other in over_pools {
            let known = merged.iter().any(|one| subnet(one) == subnet(other));
            if subnet(other) != subnet(pool) && !known {
                merged.push(other.clone());
                continue;
            }
            let (Value::Map(map), Value::Map(over_map)) = (&pool.value, &other.value) else {
                continue;
            };
            let both = other.here(Value::Map(maps(map.clone(), over_map.clone(), path)?));
            match merged.iter_mut().find(|one| subnet(one) == subnet(&both)) {
                Some(one) => *one = both,
                None => merged.push(both),
            }
        }
    }
    if over_pools.is_empty() && !base_pools.is_empty() {
        return Ok(Node::new(Value::Null, over.span));
    }
    Ok(Node::new(Value::List(merged), over.span))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::yaml::parse;

    fn merged(base: &str, over: &str) -> Result<String, Diagnostics> {
        let read = |service: &str| {
            let text = format!("services: {{a: {{{service}}}}}");
            parse(&Source::new("c.yaml", text)).unwrap()
        };
        let node = merge(read(base), read(over))?;
        let service = node.get("services").and_then(|all| all.get("a")).unwrap();
        Ok(service.to_json().to_string())
    }

    #[test]
    fn every_attribute_has_its_rule() {
        for (base, over, result) in [
            ("image: x", "image: y", r#"{"image":"y"}"#),
            ("image: x", "image: ", r#"{"image":"x"}"#),
            ("command: [a]", "command: [b]", r#"{"command":["b"]}"#),
            ("cap_add: [A]", "cap_add: [B]", r#"{"cap_add":["A","B"]}"#),
            (
                "environment: {B: 1, A: }",
                "environment: [C=3]",
                r#"{"environment":["A","B=1","C=3"]}"#,
            ),
            ("dns: x", "dns: [y]", r#"{"dns":["x","y"]}"#),
            (
                "networks: [n]",
                "networks: {m: {priority: 1}}",
                r#"{"networks":{"n":null,"m":{"priority":1}}}"#,
            ),
            (
                "depends_on: [b]",
                "depends_on: {b: {condition: service_healthy}}",
                r#"{"depends_on":{"b":{"condition":"service_healthy","required":true}}}"#,
            ),
            (
                "build: .",
                "build: {target: t}",
                r#"{"build":{"context":".","target":"t"}}"#,
            ),
            (
                "logging: {driver: a, options: {x: 1}}",
                "logging: {options: {y: 2}}",
                r#"{"logging":{"driver":"a","options":{"x":1,"y":2}}}"#,
            ),
            (
                "logging: {driver: a, options: {x: 1}}",
                "logging: {driver: b}",
                r#"{"logging":{"driver":"b"}}"#,
            ),
            (
                "extra_hosts: [a=1]",
                "extra_hosts: [a=1, b=2]",
                r#"{"extra_hosts":["a=1","b=2"]}"#,
            ),
            (
                "pre_start: [{command: [a]}]",
                "pre_start: [{command: [a]}, {command: [b]}]",
                r#"{"pre_start":[{"command":["a"]},{"command":["b"]}]}"#,
            ),
            (
                "ulimits: {n: {soft: 1, hard: 2}}",
                "ulimits: {n: 3}",
                r#"{"ulimits":{"n":3}}"#,
            ),
        ] {
            assert_eq!(merged(base, over).unwrap(), result, "{base} + {over}");
        }
    }

    #[test]
    fn forms_that_do_not_fit_are_refused() {
        let refused = merged("cap_add: [A]", "cap_add: B").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "c.yaml:1:25: error: `services.a.cap_add` is a list in c.yaml:1:25, so a text cannot be put over it"
        );
    }
}
