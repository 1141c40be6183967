//! Projects as `docker compose config` prints them. Not where they are printed.

use serde_json::{Map, Value};

use crate::load::Model;
use crate::model::Project;

/// Turns a project into JSON as it is printed: a `$` doubled so that it can be read again, and of the
/// `x-*` attributes only those at the top.
pub fn to_json(project: &Project) -> Value {
    escaped(plain(project))
}

/// Turns a project into JSON like [`to_json`], with each `$` as it is.
pub(crate) fn plain(project: &Project) -> Value {
    let mut json = serde_json::to_value(project).unwrap_or(Value::Null);
    if let Some(map) = json.as_object_mut() {
        // The reference implementation forgets them in this format, but not in YAML.
        map.shift_remove("models");
        for (key, value) in map {
            if !key.starts_with("x-") {
                drop_extensions(key, value);
            }
            if key == "services" || key == "jobs" {
                let services = value.as_object_mut().into_iter().flatten();
                services.for_each(|(_, service)| drop_zero_limits(service));
            }
        }
    }
    json
}

/// Turns a project into a document as it is printed in YAML: like [`to_json`], but with all `x-*`
/// attributes and models, and without commands and `ipam` that say nothing.
pub fn for_yaml(project: &Project) -> Value {
    let mut document = serde_json::to_value(project).unwrap_or(Value::Null);
    for section in ["services", "jobs"] {
        let section = document.get_mut(section).and_then(Value::as_object_mut);
        for (_, service) in section.into_iter().flatten() {
            drop_missing_commands(service);
            let hooks = service.get_mut("pre_start").and_then(Value::as_array_mut);
            hooks.into_iter().flatten().for_each(drop_missing_commands);
        }
    }
    let networks = document.get_mut("networks").and_then(Value::as_object_mut);
    for (_, network) in networks.into_iter().flatten() {
        if let Some(map) = network.as_object_mut() {
            map.retain(|key, value| {
                key != "ipam" || value.as_object().is_none_or(|ipam| !ipam.is_empty())
            });
        }
    }
    escaped(document)
}

fn drop_missing_commands(service: &mut Value) {
    if let Some(map) = service.as_object_mut() {
        map.retain(|key, value| {
            !(value.is_null() && matches!(key.as_str(), "command" | "entrypoint"))
        });
    }
}

/// Leaves out limits of zero, as the reference implementation does.
fn drop_zero_limits(service: &mut Value) {
    for place in ["/ulimits", "/build/ulimits"] {
        let limits = service.pointer_mut(place).and_then(Value::as_object_mut);
        for (_, limit) in limits.into_iter().flatten() {
            match limit {
                Value::Object(map) => map.retain(|_, limit| *limit != 0),
                single if *single == 0 => *single = Value::Object(Map::new()),
                _ => {}
            }
        }
    }
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

/// The keys beneath which every key is a name that a user gives, whatever it starts with.
const NAMES: &[&str] = &[
    "additional_contexts",
    "annotations",
    "args",
    "aux_addresses",
    "configs",
    "depends_on",
    "driver_opts",
    "environment",
    "jobs",
    "labels",
    "networks",
    "options",
    "secrets",
    "services",
    "storage_opt",
    "sysctls",
    "volumes",
];

/// Drops the `x-*` attributes of all that is beneath `key`.
fn drop_extensions(key: &str, value: &mut Value) {
    match value {
        Value::Object(map) => {
            if !NAMES.contains(&key) {
                map.retain(|key, _| !key.starts_with("x-"));
            }
            for (key, value) in map {
                drop_extensions(key, value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| drop_extensions("", item)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_plan_that_says_nothing_is_not_in_yaml() {
        let project: Project = serde_json::from_value(serde_json::json!({
            "name": "p",
            "networks": {"a": {"name": "p_a"}, "b": {"name": "p_b", "ipam": {"driver": "x"}}},
        }))
        .unwrap();
        let printed = for_yaml(&project);
        assert_eq!(printed.pointer("/networks/a/ipam"), None);
        let driver = printed.pointer("/networks/b/ipam/driver");
        assert_eq!(driver, Some(&Value::from("x")));
        assert!(to_json(&project).pointer("/networks/a/ipam").is_some());
    }

    #[test]
    fn attributes_of_others_are_dropped_and_names_stay() {
        let project: Project = serde_json::from_value(serde_json::json!({
            "name": "p",
            "x-top": {"x-in": 1},
            "services": {
                "x-a": {"image": "i$", "x-own": 1, "environment": {"x-e": "1"}},
            },
        }))
        .unwrap();
        assert_eq!(
            to_json(&project),
            serde_json::json!({
                "name": "p",
                "x-top": {"x-in": 1},
                "services": {
                    "x-a": {
                        "command": null,
                        "entrypoint": null,
                        "image": "i$$",
                        "environment": {"x-e": "1"},
                    },
                },
            })
        );
    }
}
