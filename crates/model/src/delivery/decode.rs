//! The keys of the delivery file and how each is read. The types and their docs are in the parent
//! module; rules that span several keys are in [`super::check`].

mod notify;
mod pipeline;

use std::collections::BTreeMap;
use std::time::Duration;

use towpath_compose::diagnostic::{Diagnostic, nearest};
use towpath_compose::yaml::{Node, Value};

use super::reader::{Decode, Fields, Reader};
use super::text::{self, InvalidText};
use super::{
    AbortWhen, DeliveryFile, Engine, EnvironmentSettings, Health, Policy, ProcessSettings, Rollout,
    ServiceSettings, Step, VolumeSettings,
};
use crate::rollout::Strategy;
use crate::routing::Protocol;
use crate::workload::Command;

impl Decode for DeliveryFile {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(node, reader, "a mapping, such as `app: shop`")?;
        let file = Self {
            app: fields.take("app", reader),
            environments: fields.take_or_default("environments", reader),
            rollout: fields.take_or_default("rollout", reader),
            volumes: fields.take_or_default("volumes", reader),
            services: fields.take_or_default("services", reader),
            pipeline: fields.take_or_default("pipeline", reader),
            groups: fields.take_or_default("groups", reader),
            previews: fields.take_or_default("previews", reader),
            notify: fields.take_or_default("notify", reader),
        };
        fields.later(&[("schedules", "schedules")]);
        fields.finish(reader);
        Some(file)
    }
}

impl Decode for EnvironmentSettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(node, reader, "a mapping, such as `engine: process`")?;
        let domains: BTreeMap<_, OneOrMany> = fields.take_or_default("domains", reader);
        let variables: BTreeMap<_, Plain> = fields.take_or_default("variables", reader);
        let scale: BTreeMap<_, Scale> = fields.take_or_default("scale", reader);
        let settings = Self {
            engine: fields.take_or_default("engine", reader),
            compose: fields.take_or_default("compose", reader),
            env_files: fields.take_or_default("env_files", reader),
            profiles: fields.take_or_default("profiles", reader),
            variables: plain(variables),
            domains: domains
                .into_iter()
                .map(|(key, OneOrMany(hosts))| (key, hosts))
                .collect(),
            http_port: fields.take("http_port", reader),
            rollout: fields.take_or_default("rollout", reader),
            scale: scale
                .into_iter()
                .map(|(key, Scale(count))| (key, count))
                .collect(),
            deploy: fields.take("deploy", reader),
        };
        fields.later(&[("backups", "backups")]);
        fields.finish(reader);
        Some(settings)
    }
}

impl Decode for Engine {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let name = String::decode(node, reader)?;
        match name.as_str() {
            "process" => return Some(Self::Process),
            "docker" => return Some(Self::Docker),
            "kubernetes" | "ecs" => reader.found.push(
                Diagnostic::error(
                    "not-supported-yet",
                    format!("the engine `{name}` is not supported yet"),
                )
                .at(&node.span)
                .help("write `process` or `docker`: other engines come with a later version"),
            ),
            _ => reader.bad_value(
                node,
                format!("`{name}` is not an engine"),
                "write `process` or `docker`",
            ),
        }
        None
    }
}

impl Decode for Rollout {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(node, reader, "a mapping, such as `strategy: canary`")?;
        let rollout = Self {
            strategy: fields.take("strategy", reader),
            steps: fields.take("steps", reader),
            soak: fields.take("soak", reader),
            surge: fields.take("surge", reader),
            unavailable: fields.take("unavailable", reader),
            progress_deadline: fields.take("progress_deadline", reader),
            bake: fields.take("bake", reader),
            drain: fields.take("drain", reader),
            drain_websockets: fields.take("drain_websockets", reader),
            start_failures: fields.take("start_failures", reader),
            automatic_rollback: fields.take("automatic_rollback", reader),
            pause_expiry: fields.take("pause_expiry", reader),
            abort_when: fields.take_or_default("abort_when", reader),
        };
        fields.finish(reader);
        Some(rollout)
    }
}

impl Decode for Step {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        if node.as_map().is_none() {
            let Weight(weight) = Weight::decode(node, reader)?;
            let (soak, pause) = (None, false);
            return Some(Self {
                weight,
                soak,
                pause,
            });
        }
        let mut fields = Fields::of(node, reader, "a percent, such as `5%`")?;
        let weight = fields.take("weight", reader);
        if !fields.has("weight") {
            let message = "the step has no `weight`".to_owned();
            reader.bad_value(node, message, "write `weight: 25%`");
        }
        let soak = fields.take("soak", reader);
        let pause = fields.take_or_default("pause", reader);
        fields.finish(reader);
        let Weight(weight) = weight?;
        Some(Self {
            weight,
            soak,
            pause,
        })
    }
}

impl Decode for AbortWhen {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(node, reader, "a mapping, such as `error_rate: \"> 1%\"`")?;
        let limits = Self {
            error_rate: fields
                .take("error_rate", reader)
                .map(|ShareLimit(limit)| limit),
            p99: fields.take("p99", reader).map(|LatencyLimit(limit)| limit),
            p99_ratio: fields
                .take("p99_ratio", reader)
                .map(|RatioLimit(limit)| limit),
            min_requests: fields.take("min_requests", reader),
        };
        fields.finish(reader);
        Some(limits)
    }
}

impl Decode for VolumeSettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(node, reader, "a mapping, such as `shared: true`")?;
        let shared = fields.take_or_default("shared", reader);
        fields.finish(reader);
        Some(Self { shared })
    }
}

impl Decode for ServiceSettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(node, reader, "a mapping, such as `health: { http: / }`")?;
        let settings = Self {
            process: fields.take_or_default("process", reader),
            health: fields.take("health", reader),
            protocol: fields.take("protocol", reader),
            listen: fields.take("listen", reader),
            port: fields.take("port", reader),
            irreversible: fields.take_or_default("irreversible", reader),
            secrets: fields.take_or_default("secrets", reader),
            policy: fields.take_or_default("policy", reader),
        };
        fields.finish(reader);
        Some(settings)
    }
}

impl Decode for ProcessSettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(node, reader, "a mapping, such as `command: ./serve`")?;
        let environment: BTreeMap<_, Plain> = fields.take_or_default("environment", reader);
        let settings = Self {
            build: fields.take("build", reader),
            command: fields.take("command", reader),
            environment: plain(environment),
            working_directory: fields.take("working_directory", reader),
            user: fields.take("user", reader).map(|Plain(user)| user),
            source: fields.take("source", reader),
        };
        fields.finish(reader);
        Some(settings)
    }
}

impl Decode for Health {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(node, reader, "a mapping, such as `{ http: /healthz }`")?;
        let health = Self {
            http: fields.take("http", reader),
            tcp: fields.take("tcp", reader).map(|On| true),
            command: fields.take("command", reader),
            none: fields.take("none", reader).map(|On| true),
            interval: fields.take("interval", reader),
            start_interval: fields.take("start_interval", reader),
            timeout: fields.take("timeout", reader),
            retries: fields.take("retries", reader),
            start_period: fields.take("start_period", reader),
        };
        fields.finish(reader);
        Some(health)
    }
}

impl Decode for Policy {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(node, reader, "a mapping, such as `response_timeout: 60s`")?;
        let policy = Self {
            connect_timeout: fields.take("connect_timeout", reader),
            response_timeout: fields.take("response_timeout", reader),
            idle_timeout: fields.take("idle_timeout", reader),
            max_body: fields.take("max_body", reader).map(|Size(bytes)| bytes),
            rate_limit: fields.take("rate_limit", reader),
            sticky: fields.take("sticky", reader),
        };
        fields.finish(reader);
        Some(policy)
    }
}

impl Decode for Command {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let command = match &node.value {
            Value::Text(line) => Self::Shell(line.clone()),
            Value::List(_) => Self::Exec(Vec::decode(node, reader)?),
            _ => {
                let wanted =
                    "a line for the shell, such as `./serve --port $PORT`, or a list of words";
                reader.wrong_type(node, wanted);
                return None;
            }
        };
        let empty = match &command {
            Self::Shell(line) => line.trim().is_empty(),
            Self::Exec(words) => words.first().is_none_or(String::is_empty),
        };
        if empty {
            let message = "the command is empty".to_owned();
            reader.bad_value(node, message, "write what to run, or remove the key");
            return None;
        }
        Some(command)
    }
}

/// Reads a word out of a fixed set.
pub(super) fn word<T: Copy>(
    node: &Node,
    reader: &mut Reader,
    name: &str,
    words: &[(&str, T)],
) -> Option<T> {
    let text = String::decode(node, reader)?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let help = match nearest(&text, all.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write one of `{}`", all.join("`, `")),
    };
    reader.bad_value(node, format!("`{text}` is not a {name}"), &help);
    None
}

impl Decode for Strategy {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let words = [
            ("rolling", Self::Rolling),
            ("blue-green", Self::BlueGreen),
            ("canary", Self::Canary),
            ("recreate", Self::Recreate),
        ];
        word(node, reader, "strategy", &words)
    }
}

impl Decode for Protocol {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        word(
            node,
            reader,
            "protocol",
            &[("http", Self::Http), ("tcp", Self::Tcp)],
        )
    }
}

/// Reads a text that has its own small language.
fn small_language<T>(
    node: &Node,
    reader: &mut Reader,
    parse: impl Fn(&str) -> Result<T, InvalidText>,
) -> Option<T> {
    // What is no text at all gets the complaint of an empty one: it names the right notation.
    let text = match &node.value {
        Value::Text(text) => text,
        Value::Int(_) | Value::Float(_) => node.span.text(),
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => "",
    };
    match parse(text) {
        Ok(value) => return Some(value),
        Err(invalid) if text.is_empty() => reader.wrong_type(node, invalid.example),
        Err(invalid) => {
            reader.bad_value(node, invalid.what(), &format!("write {}", invalid.example));
        }
    }
    None
}

impl Decode for Duration {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        small_language(node, reader, text::duration)
    }
}

/// Newtypes of values that are written in a small language.
macro_rules! languages {
    ($($name:ident($kind:ty) $parse:path;)*) => {$(
        struct $name($kind);

        impl Decode for $name {
            fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
                small_language(node, reader, $parse).map(Self)
            }
        }
    )*};
}

languages! {
    Weight(u32) text::percent;
    Size(u64) text::size;
    ShareLimit(f64) text::share_limit;
    LatencyLimit(Duration) text::latency_limit;
    RatioLimit(f64) text::ratio_limit;
}

/// A text for which a number, `true` or `false` may stand as it is written.
pub(super) struct Plain(pub(super) String);

impl Decode for Plain {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(Self(text.clone())),
            Value::Int(_) | Value::Float(_) => Some(Self(node.span.text().to_owned())),
            Value::Bool(value) => Some(Self(value.to_string())),
            Value::Null | Value::List(_) | Value::Map(_) => {
                reader.wrong_type(node, "a text; write `\"\"` for an empty one");
                None
            }
        }
    }
}

fn plain(values: BTreeMap<String, Plain>) -> BTreeMap<String, String> {
    values
        .into_iter()
        .map(|(key, Plain(text))| (key, text))
        .collect()
}

/// One text or a list of texts.
pub(super) struct OneOrMany(pub(super) Vec<String>);

impl Decode for OneOrMany {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(Self(vec![text.clone()])),
            Value::List(_) => Vec::decode(node, reader).map(Self),
            _ => {
                reader.wrong_type(node, "a text, or a list of texts");
                None
            }
        }
    }
}

/// A switch that can only be on.
struct On;

impl Decode for On {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        if node.value == Value::Bool(true) {
            return Some(Self);
        }
        reader.wrong_type(node, "`true`, or remove the key");
        None
    }
}

/// A fixed number of instances.
pub(super) struct Scale(pub(super) u32);

impl Decode for Scale {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        if node.as_map().is_some() {
            reader.found.push(
                Diagnostic::error(
                    "not-supported-yet",
                    "automatic scaling is not supported yet",
                )
                .at(&node.span)
                .help("write the number of instances, such as `web: 3`"),
            );
            return None;
        }
        u32::decode(node, reader).map(Self)
    }
}
