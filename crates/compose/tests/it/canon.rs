//! When two outputs say the same. Not how either was made.
//!
//! Releases of Docker Compose print some defaults and empty values and others do not; what the shared
//! cases leave out of the comparison is left out here too.

use serde_json::{Map, Value};

/// The keys beneath which a name without a value means something.
const NAMES: &[&str] = &[
    "networks",
    "depends_on",
    "volumes",
    "secrets",
    "configs",
    "services",
    "models",
    "environment",
];

/// Brings an output to the form in which it is compared.
pub(crate) fn canon(value: &Value) -> Value {
    canon_beneath(value, None)
}

fn is_default(key: &str, value: &Value) -> bool {
    matches!(
        (key, value),
        ("create_host_path" | "required", Value::Bool(true))
    ) || (key == "mode" && value == "ingress")
        || (key == "protocol" && value == "tcp")
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn canon_beneath(value: &Value, parent: Option<&str>) -> Value {
    match value {
        Value::Object(map) => {
            let mut kept: Vec<(String, Value)> = Vec::new();
            for (key, value) in map {
                if is_default(key, value) {
                    continue;
                }
                let value = canon_beneath(value, Some(key));
                if !is_empty(&value) {
                    kept.push((key.clone(), number(value)));
                } else if parent.is_some_and(|parent| NAMES.contains(&parent)) {
                    let nothing = value.is_null() && parent == Some("environment");
                    let empty = if nothing {
                        Value::Null
                    } else {
                        Value::Object(Map::new())
                    };
                    kept.push((key.clone(), empty));
                }
            }
            kept.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(kept.into_iter().collect())
        }
        Value::Array(items) => items
            .iter()
            .map(|item| number(canon_beneath(item, Some("[]"))))
            .collect(),
        other => other.clone(),
    }
}

/// 1 and 1.0 are the same number.
fn number(value: Value) -> Value {
    match value.as_f64() {
        Some(number) => Value::from(number),
        None => value,
    }
}

/// Says in which places two values differ, if they do.
pub(crate) fn difference(printed: &Value, expected: &Value) -> Option<String> {
    let mut lines = Vec::new();
    differences(printed, expected, "", &mut lines);
    (!lines.is_empty()).then(|| lines.join("\n    "))
}

fn differences(printed: &Value, expected: &Value, path: &str, lines: &mut Vec<String>) {
    match (printed, expected) {
        (Value::Object(printed), Value::Object(expected)) => {
            for key in printed.keys().chain(expected.keys()) {
                let path = format!("{path}.{key}");
                match (printed.get(key), expected.get(key)) {
                    (Some(one), Some(other)) => differences(one, other, &path, lines),
                    (one, other) => lines.push(format!("{path}: {one:?}, expected {other:?}")),
                }
            }
        }
        (one, other) if one != other => lines.push(format!("{path}: {one}, expected {other}")),
        _ => {}
    }
}
