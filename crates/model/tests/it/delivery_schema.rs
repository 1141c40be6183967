//! The generated JSON Schema and the parser know the same keys.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use towpath_model::delivery::schema;

use crate::fixture::delivery;

/// Walks the schema and collects, for every object with fixed keys, a text that reaches it with an
/// unknown key in it, and the keys that the schema has.
fn objects(root: &Value, node: &Value, path: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        return objects(root, target, path, found);
    }
    for choice in node
        .get("anyOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        objects(root, choice, path, found);
    }
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        assert_eq!(node["additionalProperties"], false, "{path}");
        found.insert(path.to_owned(), properties.keys().cloned().collect());
        for (key, value) in properties {
            objects(root, value, &format!("{path}/{key}"), found);
        }
    } else if let Some(value) = node.get("additionalProperties") {
        objects(root, value, &format!("{path}/name"), found);
    } else if let Some(items) = node.get("items") {
        objects(root, items, &format!("{path}/[]"), found);
    }
}

/// Returns the keys that the parser names when it meets one that it does not know.
fn known_keys(path: &str) -> BTreeSet<String> {
    let text = path.split('/').filter(|key| !key.is_empty()).rev().fold(
        "{ qqqqqqqqqqqqqqqq: 1 }".to_owned(),
        |inner, key| match key {
            "[]" => format!("[{inner}]"),
            key => format!("{{ {key}: {inner} }}"),
        },
    );
    let refused = delivery(&text).unwrap_err();
    let help = refused
        .iter()
        .find(|one| one.code == "unknown-key")
        .and_then(|one| one.help.clone())
        .unwrap_or_else(|| panic!("{text}: {refused}"));
    let keys = help.strip_prefix("the keys here are: ").unwrap();
    keys.split(", ").map(str::to_owned).collect()
}

#[test]
fn parser_and_schema_know_the_same_keys() {
    let schema = schema();
    let mut found = BTreeMap::new();
    objects(&schema, &schema, "", &mut found);
    assert!(found.len() >= 10, "{found:?}");
    for (path, keys) in found {
        assert_eq!(known_keys(&path), keys, "at `{path}`");
    }
}

#[test]
fn every_key_is_documented() {
    fn check(node: &Value, path: &str) {
        for (key, value) in node
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            assert!(value.get("description").is_some(), "{path}/{key}");
        }
        match node {
            Value::Object(map) => map
                .iter()
                .for_each(|(key, value)| check(value, &format!("{path}/{key}"))),
            Value::Array(items) => items.iter().for_each(|value| check(value, path)),
            _ => {}
        }
    }
    let schema = schema();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    check(&schema, "");
}

#[test]
fn the_schema_is_the_one_that_was_reviewed() {
    insta::assert_json_snapshot!(schema());
}
