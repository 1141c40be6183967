//! The tables of `docs/towpath-yaml.md` and `docs/compose-support.md` are those of the code. With
//! `UPDATE_DOCS` set the pages are written anew instead.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use towpath_model::delivery::schema;
use towpath_model::notify::KINDS;
use towpath_model::render::{SUPPORT, Support};

const KEYS: [&str; 2] = ["<!-- keys: begin -->\n", "<!-- keys: end -->"];
const MESSAGES: [&str; 2] = ["<!-- kinds: begin -->\n", "<!-- kinds: end -->"];
const ATTRIBUTES: [&str; 2] = ["<!-- attributes: begin -->\n", "<!-- attributes: end -->"];

/// The sections: the type in the schema, and its heading.
const SECTIONS: &[(&str, &str)] = &[
    ("", "The file"),
    ("EnvironmentSettings", "environments.NAME"),
    ("Rollout", "rollout"),
    ("Step", "rollout.steps"),
    ("AbortWhen", "rollout.abort_when"),
    ("VolumeSettings", "volumes.NAME"),
    ("ServiceSettings", "services.NAME"),
    ("ProcessSettings", "services.NAME.process"),
    ("Health", "services.NAME.health"),
    ("Policy", "services.NAME.policy"),
    ("PreviewSettings", "previews"),
    ("NotifySettings", "notify.NAME"),
    ("IncomingWebhook", "notify.NAME.teams and slack"),
    ("SmtpSettings", "notify.NAME.smtp"),
    ("WebhookSettings", "notify.NAME.webhook"),
    ("JobSettings", "pipeline"),
    ("StepSettings", "pipeline.steps"),
    ("Artifacts", "pipeline.artifacts"),
    ("Cache", "pipeline.cache"),
    ("Condition", "pipeline.if"),
    ("DeploySettings", "environments.NAME.deploy"),
    ("Approvals", "environments.NAME.deploy.approvals"),
    ("HotfixSettings", "environments.NAME.deploy.hotfix"),
];

/// Says in a few words what a value is.
fn kind(value: &Value) -> String {
    if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
        let name = reference.rsplit('/').next().unwrap_or_default();
        let section = SECTIONS.iter().find(|(section, _)| *section == name);
        return match section {
            Some((_, heading)) => {
                let anchor = heading.to_lowercase().replace('.', "").replace(' ', "-");
                format!("[see below](#{anchor})")
            }
            None => "`process`, `docker`".to_owned(),
        };
    }
    if let Some(values) = value.get("enum").and_then(Value::as_array) {
        let values: Vec<String> = values
            .iter()
            .map(|value| match value.as_str() {
                Some(word) => format!("`{word}`"),
                None => format!("`{value}`"),
            })
            .collect();
        return values.join(", ");
    }
    if let Some(example) = value.pointer("/examples/0").and_then(Value::as_str) {
        return format!("such as `{example}`");
    }
    if value.pointer("/properties/secret").is_some() {
        return "`{ secret: NAME }`".to_owned();
    }
    if let Some(values) = value.get("additionalProperties") {
        return format!("by name: {}", kind(values));
    }
    if let Some(items) = value.get("items") {
        return format!("list: {}", kind(items));
    }
    if let Some(choices) = value.get("anyOf").and_then(Value::as_array) {
        let choices: Vec<String> = choices
            .iter()
            .map(|choice| match choice.get("properties") {
                Some(keys) if keys.get("weight").is_some() => "[a step](#rolloutsteps)".to_owned(),
                Some(keys) if keys.get("secret").is_some() => kind(choice),
                Some(keys) => {
                    // Each of these has a key that no other has.
                    let of_key = |(key, _): &&(&str, &str)| keys.get(key).is_some();
                    let anchors = [
                        ("when", "pipelineartifacts"),
                        ("files", "pipelinecache"),
                        ("count", "environmentsnamedeployapprovals"),
                    ];
                    let (_, anchor) = anchors.iter().find(of_key).expect("a section of its own");
                    format!("[a mapping](#{anchor})")
                }
                None => kind(choice),
            })
            .collect();
        return choices.join(", or ");
    }
    match value.get("type") {
        Some(Value::String(name)) if name == "integer" => "whole number".to_owned(),
        Some(Value::String(name)) if name == "boolean" => "`true`, `false`".to_owned(),
        _ => "text".to_owned(),
    }
}

/// Finds the properties of a type.
fn properties<'s>(schema: &'s Value, name: &str) -> &'s Value {
    let path = match name {
        "" => "/properties".to_owned(),
        "Step" => "/$defs/Rollout/properties/steps/items/anyOf/1/properties".to_owned(),
        "Approvals" => "/$defs/DeploySettings/properties/approvals/anyOf/1/properties".to_owned(),
        "Artifacts" => "/$defs/JobSettings/properties/artifacts/anyOf/2/properties".to_owned(),
        "Cache" => "/$defs/JobSettings/properties/cache/anyOf/2/properties".to_owned(),
        name => format!("/$defs/{name}/properties"),
    };
    schema
        .pointer(&path)
        .unwrap_or_else(|| panic!("no {path} in the schema"))
}

fn keys() -> String {
    let schema = schema();
    let mut text = String::new();
    for (name, heading) in SECTIONS {
        write!(
            text,
            "\n### {heading}\n\n| key | value | meaning |\n|---|---|---|\n"
        )
        .unwrap();
        for (key, value) in properties(&schema, name).as_object().unwrap() {
            let meaning = value["description"].as_str().unwrap();
            writeln!(text, "| `{key}` | {} | {meaning} |", kind(value)).unwrap();
        }
    }
    text.push('\n');
    text
}

fn attributes() -> String {
    let mut text = "\n| attribute | process | docker |\n|---|---|---|\n".to_owned();
    for row in SUPPORT {
        let cells = [row.process, row.docker].map(cell).join(" | ");
        writeln!(text, "| `{}` | {cells} |", row.name).unwrap();
    }
    text.push('\n');
    text
}

fn cell(support: Support) -> String {
    match support {
        Support::Honoured => "honoured".to_owned(),
        Support::Translated(how) => format!("translated: {how}"),
        Support::Needless(why) => format!("needless: {why}"),
        Support::Ignored(why) => format!("**ignored**, with a warning: {why}"),
        Support::Refused(why) => format!("**refused**: {why}"),
    }
}

fn messages() -> String {
    let mut text = "\n| kind | severity | what it says |\n|---|---|---|\n".to_owned();
    let mut rows: Vec<String> = Vec::new();
    for kind in KINDS {
        let severity = kind.severity.as_str();
        let row = format!("| `{}` | {severity} | {} |\n", kind.word, kind.says);
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    text.push_str(&rows.concat());
    text.push('\n');
    text
}

/// Puts `text` between two marks of a page.
fn between(page: &str, [begin, end]: [&str; 2], text: &str) -> String {
    let (head, rest) = page.split_once(begin).unwrap();
    let (_, tail) = rest.split_once(end).unwrap();
    format!("{head}{begin}{text}{end}{tail}")
}

#[test]
fn the_page_of_the_delivery_file_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/towpath-yaml.md");
    let page = std::fs::read_to_string(&path).unwrap();
    keep(&path, &page, &between(&page, KEYS, &keys()));
}

#[test]
fn the_page_of_notifications_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/notifications.md");
    let page = std::fs::read_to_string(&path).unwrap();
    keep(&path, &page, &between(&page, MESSAGES, &messages()));
}

#[test]
fn the_page_of_what_engines_can_do_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compose-support.md");
    let page = std::fs::read_to_string(&path).unwrap();
    keep(&path, &page, &between(&page, ATTRIBUTES, &attributes()));
}

/// Demands that a page is what it should be, or makes it so.
fn keep(path: &Path, page: &str, wanted: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, wanted).unwrap();
        return;
    }
    let name = path.display();
    assert!(
        page == wanted,
        "{name} is out of date: run this test with UPDATE_DOCS=1"
    );
}

#[test]
fn the_examples_of_the_page_are_good_delivery_files() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let page = |name: &str| std::fs::read_to_string(docs.join(name)).unwrap();
    let pages = [page("towpath-yaml.md"), page("notifications.md")].concat();
    let examples: Vec<&str> = pages
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        let read = crate::fixture::delivery(example).map(|_| ());
        assert_eq!(read, Ok(()), "{example}");
    }
}
