//! docs/json.md has every field of every type of the API, as the API documents it.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

const INTRODUCTION: &str = "# JSON

Every command that prints data takes `--json` and then prints these types, the same that the HTTP API answers with
(`GET /openapi.json`). Field names are stable: fields are added, never renamed, so ignore those that you do not know.
A field that is optional may be absent or `null`. Times are RFC 3339. This page is made of the types themselves; a
test says when it is not up to date.

| command | prints |
|---|---|
| `demo` | `acts`: a list of `name`, `outcome`, `as_it_should`, `seconds`, `requests`, `failed`, `cut` (what ended with a killed instance), `own_errors` (5xx of a bad release's own), `silence_seconds` (the longest time without a good answer), `failures` (the last ones, in words); `measures`: a list of `name`, `value`, `unit`, `goal`; `side_by_side`: a list of `way`, `seconds`, `requests`, `failed`, `silence_seconds`; `left_behind`: a list of what was not cleaned up |
| `up`, `deploy`, `rollback` | a line with a `Progress` for each change, or with a `Run` where the environment has gates; with `--wait none` one `Requested` |
| `abort`, `pause`, `resume` | a `Deployment` |
| `plan` | a `Plan` |
| `adopt` | an `AdoptionState` when it is done; with `--dry-run` an `AdoptionPlan` |
| `adopt --undo` | `id` (which environment), `left` (true) |
| `runs` | a list of `Run` |
| `runs start`, `promote`, `hotfix` | a line with a `Run` for each change; with `--wait none` one `RunStarted` |
| `runs watch` | a line with a `Run` for each change |
| `runs show`, `runs cancel`, `runs retry`, `approve`, `reject` | a `Run` |
| `approvals` | a list of `AwaitedApproval` |
| `runs logs` | a line with a `RunLogLine` each |
| `runs artifacts` | a list of `job`, `path`, `bytes` |
| `cache ls` | a list of `Cache` |
| `cache rm` | a list of `Cache`: those that are gone |
| `status` | an `Environment` |
| `releases` | a list of `Release` |
| `deployments` | a list of `Deployment` |
| `events` | a list of `Event`; with `--follow` a line with an `Event` each |
| `events verify` | a `Verification` |
| `logs` | a line with a `LogLine` each |
| `stats` | a line with a `Usage` each; with `--no-stream` one |
| `env ls` | a list of `EnvironmentSummary` |
| `env create` | a `Created`; with `--from` a line with a `PreviewCreated`, then one with a `Progress` for each change, unless `--wait none` |
| `env extend` | a `Preview` |
| `env rm` | `id` (which environment), `removed` (true) |
| `hold` | `id` (which environment), `on_hold` (true), `reason` |
| `release-hold` | `id` (which environment), `on_hold` (false) |
| `traffic` | `id` (which environment), `traffic`: a `Traffic` |
| `stop` | `pid` (of the control plane that ended), `router` (whether it ended too), `down` (which environments were taken down) |
| `down` | `id` (which environment), `running` (0: nothing is left) |
| `scale` | `id` (which environment), `wanted` (numbers of instances by service) |
| `secret set` | a `SecretSet` |
| `secret ls` | a list of `Secret` |
| `secret rm` | `name` (which secret), `removed` (true) |
| `repo show`, `repo set` | a `Repository` |
| `repo secret` | `app`, `name` (which secret), `set` (true) |
| `repo fetch` | `app`, `fetched` (true) |
| `repo rm` | `app`, `follows` (null: nothing) |
| `token create` | a `NewToken` |
| `token ls` | a list of `Token` |
| `token rm` | `id` (which token), `revoked` (true) |
| `check` | `good` (whether there is no error), `findings`: a list of `severity` (`error` or `warning`), `code`, `message`, `file`, `line`, `column`, `help` |
";

#[test]
fn every_field_of_the_api_is_documented() {
    let document = serde_json::to_value(towpath_server::openapi()).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut names: Vec<&String> = schemas.keys().collect();
    names.sort();
    let mut text = INTRODUCTION.to_owned();
    for name in names {
        describe(&mut text, name, &schemas[name]);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/json.md");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    if written != text {
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("json.md");
        std::fs::write(&made, &text).unwrap();
        panic!(
            "docs/json.md is not up to date: replace it with {}",
            made.display()
        );
    }
}

#[test]
fn every_type_and_field_of_the_api_says_what_it_is() {
    let document = serde_json::to_value(towpath_server::openapi()).unwrap();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
        let fields = schema["properties"].as_object().into_iter().flatten();
        for (field, schema) in fields {
            assert!(!sentence(schema).is_empty(), "{name}.{field}");
        }
    }
}

fn describe(text: &mut String, name: &str, schema: &Value) {
    write!(text, "\n## {name}\n\n{}\n", sentence(schema)).unwrap();
    let fields: Vec<_> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .collect();
    if !fields.is_empty() {
        text.push_str("\n| field | type | what it is |\n|---|---|---|\n");
        for (field, schema) in fields {
            let words = sentence(schema).replace('|', "\\|");
            writeln!(text, "| `{field}` | {} | {words} |", kind(schema)).unwrap();
        }
    }
    let words: Vec<_> = schema["enum"].as_array().into_iter().flatten().collect();
    if !words.is_empty() {
        let words: Vec<_> = words.iter().filter_map(|word| word.as_str()).collect();
        writeln!(text, "\nOne of `{}`.", words.join("`, `")).unwrap();
    }
    for case in schema["oneOf"].as_array().into_iter().flatten() {
        let fields: Vec<_> = case["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .collect();
        for (field, schema) in fields {
            let words = sentence(schema);
            let value = schema["enum"][0].as_str().map(|word| format!(": `{word}`"));
            let value = value.unwrap_or_else(|| format!(" ({})", kind(schema)));
            writeln!(text, "- `{field}`{value} {words} {}", sentence(case)).unwrap();
        }
        if let Some(word) = case["enum"][0].as_str() {
            writeln!(text, "- `{word}`: {}", sentence(case)).unwrap();
        }
    }
}

fn sentence(schema: &Value) -> String {
    // The words of an optional field of a named type are beside the type's name.
    let mut cases = schema["oneOf"].as_array().into_iter().flatten();
    let own = schema["description"].as_str();
    let own = own.or_else(|| cases.find_map(|case| case["description"].as_str()));
    let words = own.unwrap_or_default().split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap_or(reference).to_owned();
    }
    if let Some(cases) = schema["oneOf"].as_array() {
        let kinds = cases.iter().filter(|case| case["type"] != "null").map(kind);
        let kinds: Vec<_> = kinds.collect();
        return format!("{}, optional", kinds.join(" or "));
    }
    match &schema["type"] {
        Value::String(word) if word == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(word) => word.clone(),
        Value::Array(words) => {
            let word = words.iter().find(|word| *word != "null");
            let base = word.and_then(Value::as_str).unwrap_or("anything");
            if base == "array" {
                return format!("list of {}, optional", kind(&schema["items"]));
            }
            format!("{base}, optional")
        }
        _ => "anything".to_owned(),
    }
}
