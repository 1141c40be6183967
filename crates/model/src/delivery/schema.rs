//! The JSON Schema (draft 2020-12) of the delivery file, generated from its documented types. Not
//! its parser, which says more about what is wrong than a schema can.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::DeliveryFile;

/// Returns the JSON Schema of `towpath.yaml`, draft 2020-12, for editors.
pub fn schema() -> serde_json::Value {
    let generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let mut value = generator.into_root_schema_for::<DeliveryFile>().to_value();
    tidy(&mut value);
    value
}

/// Takes `null` out of what an absent setting may be (an editor must not offer it), and the line
/// ends of the source out of the descriptions.
fn tidy(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(map) => {
            map.values_mut().for_each(tidy);
            map.remove("default");
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
                if let [single] = types.as_slice() {
                    let single = single.clone();
                    map.insert("type".to_owned(), single);
                }
            }
            if let Some(Value::Array(values)) = map.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            let null = serde_json::json!({ "type": "null" });
            if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| choice != &null);
                if let [Value::Object(single)] = choices.as_slice() {
                    let single = single.clone();
                    map.remove("anyOf");
                    for (key, value) in single {
                        map.entry(key).or_insert(value);
                    }
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Names a type that exists only for the schema: its text form.
macro_rules! text_schema {
    ($($(#[$doc:meta])* $name:ident: $schema:tt)*) => {$(
        $(#[$doc])*
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

text_schema! {
    /// A DNS label.
    AppNameText: { "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" }
    /// See [`super::text::duration`].
    DurationText: {
        "type": ["string"],
        "pattern": "^(0|([0-9]*\\.?[0-9]+(ns|us|µs|ms|s|m|h|d))+)$",
        "examples": ["30s", "500ms", "5m", "1h30m"]
    }
    /// See [`super::text::size`].
    SizeText: {
        "type": ["string", "integer"],
        "pattern": "^[0-9]*\\.?[0-9]+ ?([kKmMgGtT]?(i?[bB])?)$",
        "examples": ["512k", "10MiB", "1g"]
    }
    /// See [`super::text::share_limit`].
    ShareLimitText: { "type": "string", "pattern": "^ *> *[0-9]*\\.?[0-9]+ *%$", "examples": ["> 1%"] }
    /// See [`super::text::latency_limit`].
    LatencyLimitText: { "type": "string", "pattern": "^ *> *[0-9]", "examples": ["> 800ms"] }
    /// See [`super::text::ratio_limit`].
    RatioLimitText: { "type": "string", "pattern": "^ *> *[0-9]*\\.?[0-9]+$", "examples": ["> 2"] }
    /// A text for which a number or a boolean may stand.
    PlainText: { "type": ["string", "number", "boolean"] }
    /// A switch that can only be on.
    True: { "const": true }
    /// See [`crate::rollout::Strategy`].
    StrategyText: { "enum": ["rolling", "blue-green", "canary", "recreate"] }
    /// See [`crate::routing::Protocol`].
    ProtocolText: { "enum": ["http", "tcp"] }
    /// See [`super::pipeline::Trigger`].
    TriggerText: { "enum": ["push", "tag", "manual"] }
    /// See [`crate::pipeline::window::Window`].
    WindowText: { "type": "string", "examples": ["Mon-Fri 09:00-16:00 Europe/Warsaw"] }
    /// See [`crate::pipeline::window::Freeze`].
    FreezeText: { "type": "string", "examples": ["2026-12-20..2027-01-02 Europe/Warsaw"] }
    /// How many, or a mapping. See [`super::pipeline::Approvals`].
    ApprovalsText: {
        "anyOf": [
            { "type": "integer" },
            {
                "type": "object",
                "properties": {
                    "count": {
                        "description": "How many have to approve. Default: 1.",
                        "type": "integer"
                    },
                    "groups": {
                        "description": "The groups that they have to be of. Default: anybody may approve.",
                        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
                    },
                    "expiry": {
                        "description": "How long it is waited for; then the release does not come. Default: 24h.",
                        "type": "string", "examples": ["24h"]
                    },
                    "not_author": {
                        "description": "Whether whoever wrote or pushed the commit may not be one of them. Default: false.",
                        "type": "boolean"
                    }
                },
                "additionalProperties": false
            }
        ]
    }
    /// A text, or the name of the secret that has it.
    SettingText: {
        "anyOf": [
            { "type": "string" },
            {
                "type": "object",
                "properties": { "secret": { "description": "The secret's name.", "type": "string" } },
                "required": ["secret"],
                "additionalProperties": false
            }
        ]
    }
    /// The name of a secret that has the value.
    SecretText: {
        "type": "object",
        "properties": { "secret": { "description": "The secret's name.", "type": "string" } },
        "required": ["secret"],
        "additionalProperties": false,
        "examples": [{ "secret": "smtp-password" }]
    }
    /// See [`crate::notify::Severity`].
    SeverityText: { "enum": ["info", "warning", "critical"] }
    /// See [`crate::notify::Tls`].
    TlsText: { "enum": ["starttls", "implicit", "none"] }
    /// One text, or a list of texts.
    OneOrMany: {
        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }]
    }
    /// Paths, or paths and when they are kept.
    ArtifactsText: {
        "anyOf": [
            { "type": "string", "examples": ["dist/**"] },
            { "type": "array", "items": { "type": "string" } },
            {
                "type": "object",
                "properties": {
                    "paths": {
                        "description": "The paths. `*` stands for anything but `/`, `**` for anything.",
                        "anyOf": [
                            { "type": "string" }, { "type": "array", "items": { "type": "string" } }
                        ]
                    },
                    "when": {
                        "description": "When they are kept. Default: `passed`.",
                        "type": "string", "enum": ["passed", "always"]
                    }
                },
                "required": ["paths"],
                "additionalProperties": false
            }
        ]
    }
    /// Paths, or paths and what decides whether they are as good as new.
    CacheText: {
        "anyOf": [
            { "type": "string", "examples": ["node_modules"] },
            { "type": "array", "items": { "type": "string" } },
            {
                "type": "object",
                "properties": {
                    "paths": {
                        "description": "The paths in the job's directory. `*` stands for anything but `/`, `**` for anything.",
                        "anyOf": [
                            { "type": "string" }, { "type": "array", "items": { "type": "string" } }
                        ]
                    },
                    "files": {
                        "description": "The files of the source tree whose content decides whether what was left is as good as new, such as `package-lock.json`. Default: none; what the last run left is given, and replaced.",
                        "anyOf": [
                            { "type": "string" }, { "type": "array", "items": { "type": "string" } }
                        ]
                    },
                    "name": {
                        "description": "The name, by which jobs share it. Default: that of the job, with the values of its matrix.",
                        "type": "string"
                    }
                },
                "required": ["paths"],
                "additionalProperties": false
            }
        ]
    }
    /// A share, or a step with its settings.
    StepText: {
        "anyOf": [
            { "type": "string", "pattern": "^[0-9]*\\.?[0-9]+ *%$", "examples": ["5%"] },
            {
                "type": "object",
                "properties": {
                    "weight": {
                        "description": "The new release's share of the traffic.",
                        "type": "string", "pattern": "^[0-9]*\\.?[0-9]+ *%$", "examples": ["25%"]
                    },
                    "soak": {
                        "description": "How long the step lasts. Default: the rollout's `soak`.",
                        "type": "string", "examples": ["2m"]
                    },
                    "pause": {
                        "description": "Whether a person must resume before the next step. Default: false.",
                        "type": "boolean"
                    }
                },
                "required": ["weight"],
                "additionalProperties": false
            }
        ]
    }
}
