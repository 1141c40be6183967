//! The keys of `pipeline` and `deploy` and how each is read. The types and their docs are in
//! [`super::super::pipeline`].

use std::collections::BTreeMap;

use towpath_compose::yaml::{Node, Value};

use super::super::pipeline::{
    APPROVAL_EXPIRY, Approvals, ArtifactSettings, CacheSettings, Condition, DeploySettings,
    HotfixSettings, JobSettings, StepSettings, Trigger,
};
use super::super::reader::{Decode, Fields, Reader};
use super::{OneOrMany, Plain, plain, small_language, word};
use crate::pipeline::window::{Freeze, Window};
use crate::workload::Command;

impl Decode for JobSettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let wanted = "a mapping, such as `{ name: unit, run: cargo test }`";
        let mut fields = Fields::of(node, reader, wanted)?;
        let name = fields.take("name", reader);
        let run = fields.take("run", reader);
        let environment: BTreeMap<_, Plain> = fields.take_or_default("environment", reader);
        let matrix: BTreeMap<_, Vec<Plain>> = fields.take_or_default("matrix", reader);
        let steps = fields.take("steps", reader);
        if !fields.has("name") {
            let help = "write `name: unit` and what to `run`";
            reader.bad_value(node, "the job has no `name`".to_owned(), help);
        }
        if !fields.has("run") && !fields.has("steps") {
            let help = "write `name: unit` and what to `run`, or `steps`";
            reader.bad_value(node, "the job has no `run`".to_owned(), help);
        }
        let services = fields.take_or_default("services", reader);
        let service = fields.take("service", reader);
        let image = fields.take("image", reader);
        let like = fields.take("like", reader);
        let secrets = fields.take_or_default("secrets", reader);
        let needs = fields.take_or_default("needs", reader);
        let condition = fields.take_or_default("if", reader);
        let after = fields.take("after", reader);
        let timeout = fields.take("timeout", reader);
        let retries = fields.take("retries", reader);
        let concurrency = fields.take("concurrency", reader);
        let reports = list(&mut fields, "reports", reader);
        let artifacts = fields.take("artifacts", reader);
        let cache = fields.take("cache", reader);
        let reuse = fields.take("reuse", reader);
        fields.finish(reader);
        Some(Self {
            name: name?,
            run: run.map(stops_at_failure),
            steps: steps.unwrap_or_default(),
            services,
            service,
            image,
            like,
            environment: plain(environment),
            secrets,
            needs,
            matrix: matrix
                .into_iter()
                .map(|(key, values)| (key, texts(values)))
                .collect(),
            condition,
            after,
            timeout,
            retries,
            concurrency,
            reports,
            artifacts,
            cache,
            reuse,
        })
    }
}

impl Decode for StepSettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let wanted = "a mapping, such as `{ name: lint, run: make lint }`";
        let mut fields = Fields::of(node, reader, wanted)?;
        let name = fields.demand("name", node, reader);
        let run = fields.demand("run", node, reader);
        fields.finish(reader);
        Some(Self {
            name: name?,
            run: run?,
        })
    }
}

impl Decode for ArtifactSettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        if node.as_map().is_none() {
            let OneOrMany(paths) = OneOrMany::decode(node, reader)?;
            return Some(Self {
                paths,
                always: false,
            });
        }
        let mut fields = Fields::of(node, reader, "paths, such as `[dist/**]`")?;
        if !fields.has("paths") {
            let help = "write `paths: [dist/**]`";
            reader.bad_value(node, "`paths` is missing".to_owned(), help);
        }
        let paths = list(&mut fields, "paths", reader);
        let when: Option<When> = fields.take("when", reader);
        fields.finish(reader);
        Some(Self {
            paths,
            always: when.is_some_and(|When(always)| always),
        })
    }
}

impl Decode for CacheSettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        if node.as_map().is_none() {
            let OneOrMany(paths) = OneOrMany::decode(node, reader)?;
            return Some(Self {
                paths,
                ..Self::default()
            });
        }
        let mut fields = Fields::of(node, reader, "paths, such as `[node_modules]`")?;
        if !fields.has("paths") {
            let help = "write `paths: [node_modules]`";
            reader.bad_value(node, "`paths` is missing".to_owned(), help);
        }
        let paths = list(&mut fields, "paths", reader);
        let files = list(&mut fields, "files", reader);
        let name = fields.take("name", reader);
        fields.finish(reader);
        Some(Self { paths, files, name })
    }
}

/// Whether something is done also when a job did not pass.
struct When(bool);

impl Decode for When {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let words = [("passed", false), ("always", true)];
        word(node, reader, "time to keep artifacts", &words).map(Self)
    }
}

/// Has several lines for the shell stop at the first that fails: who writes a list of checks means
/// all of them.
fn stops_at_failure(command: Command) -> Command {
    match command {
        Command::Shell(lines) if lines.trim_end().contains('\n') => {
            Command::Shell(format!("set -e\n{lines}"))
        }
        command => command,
    }
}

fn texts(values: Vec<Plain>) -> Vec<String> {
    values.into_iter().map(|Plain(text)| text).collect()
}

fn list(fields: &mut Fields<'_>, key: &'static str, reader: &mut Reader) -> Vec<String> {
    let found: Option<OneOrMany> = fields.take(key, reader);
    found.map(|OneOrMany(texts)| texts).unwrap_or_default()
}

impl Decode for Condition {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(node, reader, "a mapping, such as `{ branch: main }`")?;
        let condition = Self {
            branch: list(&mut fields, "branch", reader),
            tag: list(&mut fields, "tag", reader),
            paths: list(&mut fields, "paths", reader),
        };
        fields.finish(reader);
        Some(condition)
    }
}

impl Decode for DeploySettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let mut fields = Fields::of(node, reader, "a mapping, such as `{ branch: main }`")?;
        let settings = Self {
            on: fields.take("on", reader),
            branch: list(&mut fields, "branch", reader),
            tag: list(&mut fields, "tag", reader),
            paths: list(&mut fields, "paths", reader),
            after: fields.take("after", reader),
            soak: fields.take("soak", reader),
            approvals: fields.take("approvals", reader),
            windows: fields.take_or_default("windows", reader),
            freezes: fields.take_or_default("freezes", reader),
            hotfix: fields.take("hotfix", reader),
        };
        fields.finish(reader);
        Some(settings)
    }
}

impl Decode for HotfixSettings {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let what = "a mapping, such as `{ branch: \"hotfix/**\" }`";
        let mut fields = Fields::of(node, reader, what)?;
        let settings = Self {
            branch: list(&mut fields, "branch", reader),
            tag: list(&mut fields, "tag", reader),
            approvals: fields.take("approvals", reader),
        };
        fields.finish(reader);
        Some(settings)
    }
}

impl Decode for Approvals {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        if let Value::Int(_) = node.value {
            let count = u32::decode(node, reader)?;
            return Some(Self {
                count,
                ..Self::default()
            });
        }
        let mut fields = Fields::of(node, reader, "how many, or a mapping with `count`")?;
        let approvals = Self {
            count: fields.take("count", reader).unwrap_or(1),
            groups: list(&mut fields, "groups", reader),
            expiry: fields.take("expiry", reader).unwrap_or(APPROVAL_EXPIRY),
            not_author: fields.take_or_default("not_author", reader),
            ..Self::default()
        };
        fields.finish(reader);
        Some(approvals)
    }
}

impl Decode for Trigger {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        // In YAML 1.1 `on` and its like are no texts; the words here are.
        let word = String::decode(node, reader)?;
        match word.as_str() {
            "push" => return Some(Self::Push),
            "tag" => return Some(Self::Tag),
            "manual" => return Some(Self::Manual),
            _ => {}
        }
        let message = format!("`{word}` begins no deployment");
        reader.bad_value(node, message, "write `push`, `tag` or `manual`");
        None
    }
}

impl Decode for Window {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        small_language(node, reader, super::super::text::window)
    }
}

impl Decode for Freeze {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        small_language(node, reader, super::super::text::freeze)
    }
}
