//! Input that nobody meant well: whatever it is, a load ends with a project or with diagnostics.

use std::path::PathBuf;

use proptest::prelude::*;
use towpath_compose::{Diagnostics, LoadOptions, Loaded, MemoryFiles, Style, advise, load};

fn run(files: &MemoryFiles) -> Result<Loaded, Diagnostics> {
    let options = LoadOptions {
        files: vec![PathBuf::from("compose.yaml")],
        working_directory: PathBuf::from("/w"),
        ..LoadOptions::default()
    };
    load(&options, files)
}

fn one(text: impl Into<Vec<u8>>) -> Result<Loaded, Diagnostics> {
    run(&MemoryFiles::default().with("/w/compose.yaml", text))
}

fn code(files: &MemoryFiles) -> &'static str {
    run(files).unwrap_err().first().code
}

const VALID: &str = r#"name: shop
services:
  web: &web
    image: ${IMAGE:-nginx:${TAG-1}}
    ports: ["127.0.0.1:8080-8081:80-81/tcp", {target: 90}]
    environment: {A: 1, B: null}
    depends_on: {db: {condition: service_healthy}}
    volumes: ["./a:/a:ro", "data:/data"]
    healthcheck: {test: "true", interval: 1m30s}
    deploy: {replicas: 2, resources: {limits: {cpus: "0.5", memory: 10m}}}
  db: {<<: *web, ports: [], depends_on: {}, extends: {service: base}}
  base: {image: x, command: sh -c "a b"}
volumes: {data: {}}
"#;

proptest! {
    #[test]
    fn any_bytes_end_with_a_project_or_diagnostics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _outcome = one(bytes).is_ok();
    }

    #[test]
    fn a_valid_file_with_any_changes_does_too(
        changes in prop::collection::vec((0..VALID.len(), any::<u8>()), 1..8),
        cut in 0..VALID.len(),
    ) {
        let mut bytes = VALID.as_bytes().to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let _whole = one(bytes.clone()).is_ok();
        bytes.truncate(cut);
        let _part = one(bytes).is_ok();
    }

    #[test]
    fn any_text_as_a_value_does_too(text in "[ -~]{0,40}") {
        let quoted = serde_json::to_string(&text).unwrap();
        let file = format!(
            "services: {{a: {{image: {quoted}, command: {quoted}, ports: [{quoted}], volumes: [{quoted}], stop_grace_period: {quoted}, mem_limit: {quoted}}}}}"
        );
        let _outcome = one(file).is_ok();
    }
}

#[test]
fn files_that_include_themselves_are_refused() {
    let files = MemoryFiles::default()
        .with("/w/compose.yaml", "include: [b.yaml]")
        .with("/w/b.yaml", "include: [compose.yaml]");
    assert_eq!(code(&files), "include-cycle");
}

#[test]
fn includes_that_multiply_are_refused() {
    let mut files = MemoryFiles::default().with("/w/compose.yaml", "include: [f0.yaml, f0.yaml]");
    for level in 0..30 {
        let next = level + 1;
        let text = format!("include: [f{next}.yaml, f{next}.yaml]");
        files = files.with(format!("/w/f{level}.yaml"), text);
    }
    files = files.with("/w/f30.yaml", "services: {a: {image: x}}");
    assert_eq!(code(&files), "too-large");
}

#[test]
fn services_that_extend_or_wait_for_themselves_are_refused() {
    let files = MemoryFiles::default();
    let cycle = "services: {a: {extends: b}, b: {extends: a}}";
    assert_eq!(
        code(&files.clone().with("/w/compose.yaml", cycle)),
        "extends-cycle"
    );
    let waits = "services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}}";
    assert_eq!(
        code(&files.with("/w/compose.yaml", waits)),
        "dependency-cycle"
    );
}

#[test]
fn a_large_file_is_loaded_or_refused_but_does_not_hang() {
    let comment = "# x\n".repeat(2_500_000);
    let loaded = one(format!("{comment}services: {{a: {{image: x}}}}")).unwrap();
    assert_eq!(loaded.project.services.len(), 1);
}

fn many(line: fn(usize) -> String, count: usize) -> String {
    let mut text = String::new();
    for at in 0..count {
        text += &line(at);
    }
    text
}

fn service(inner: &str) -> String {
    format!("services:\n  a:\n    image: x\n{inner}")
}

/// Without optimisation the large files are a two-hundredth of 10 MB.
const SMALLER: usize = if cfg!(debug_assertions) { 200 } else { 1 };

/// Files of about 10 MB, each of which makes something of the reading hard.
fn hard_to_read() -> Vec<(&'static str, String)> {
    vec![
        ("lists within lists", "[".repeat(10_000_000 / SMALLER)),
        ("maps within maps", "{a: ".repeat(2_500_000 / SMALLER)),
        ("dashes", "- ".repeat(5_000_000 / SMALLER)),
        ("one line", "a".repeat(10_000_000 / SMALLER)),
        (
            "one text",
            format!(
                "services: {{a: {{image: \"{}\"}}}}",
                "a".repeat(10_000_000 / SMALLER)
            ),
        ),
        (
            "an open quote",
            format!("services: \"{}", "a ".repeat(5_000_000 / SMALLER)),
        ),
        ("keys", many(|at| format!("k{at}: v\n"), 800_000 / SMALLER)),
        (
            "aliases",
            format!(
                "x-a: &a [b]\nx-l: [{}]\n",
                "*a,".repeat(2_000_000 / SMALLER)
            ),
        ),
        (
            "extensions in the deep",
            format!(
                "{}[{}]{}",
                format!("{{x-{}: ", "k".repeat(100_000 / SMALLER)).repeat(50),
                "a,".repeat(300_000 / SMALLER),
                "}".repeat(50)
            ),
        ),
    ]
}

/// Files, each of which makes something of what follows the reading hard.
fn hard_to_load() -> Vec<(&'static str, String)> {
    let unknown = many(|at| format!("    k{at}: v\n"), 400_000 / SMALLER);
    let numbers = many(|at| format!("{at},"), 400_000 / SMALLER);
    let ranges = many(|at| format!("\"{}-65535\",", at + 1), 10);
    let networks = many(|at| format!("network{at},"), 300_000 / SMALLER);
    let variables = many(|at| format!("      V{at}: v\n"), 50_000 / SMALLER);
    let hooks = "    - command: c\n".repeat(20_000 / SMALLER);
    let extending = many(
        |at| format!("  s{at}: {{extends: base}}\n"),
        50_000 / SMALLER,
    );
    vec![
        ("unknown keys of a service", service(&unknown)),
        (
            "numbers in a set",
            service(&format!("    expose: [{numbers}]\n")),
        ),
        (
            "ranges of ports",
            service(&format!("    ports: [{ranges}]\n")),
        ),
        (
            "variables",
            service(&format!(
                "    command: \"{}\"\n",
                "${A-}".repeat(2_000_000 / SMALLER)
            )),
        ),
        (
            "braces",
            service(&format!(
                "    command: \"{}\"\n",
                "${A-{".repeat(2_000_000 / SMALLER)
            )),
        ),
        (
            "references to nothing",
            service(&format!("    networks: [{networks}]\n")),
        ),
        (
            "services that extend one that is large",
            format!("services:\n{extending}  base:\n    image: x\n    environment:\n{variables}"),
        ),
        (
            "hooks of a service that is large",
            service(&format!(
                "    pre_start:\n{hooks}    environment:\n{variables}"
            )),
        ),
    ]
}

fn end_with_few_words(files: Vec<(&'static str, String)>) {
    for (what, text) in files {
        let outcome = one(text);
        let shown = outcome.err().map(|refused| refused.render(Style::Plain));
        let length = shown.as_ref().map_or(0, String::len);
        assert!(length < 100_000, "{what}: the refusal has {length} bytes");
    }
}

#[test]
fn large_files_that_are_hard_to_read_end_in_time() {
    end_with_few_words(hard_to_read());
}

#[test]
fn large_files_that_are_hard_to_load_end_in_time() {
    end_with_few_words(hard_to_load());
}

#[test]
fn variables_that_multiply_are_refused() {
    let mut lines = "A0=xxxxxxxxxxxxxxxx\n".to_owned();
    for level in 1..60 {
        let below = level - 1;
        lines += &format!("A{level}=$A{below}$A{below}\n");
    }
    let files = MemoryFiles::default()
        .with("/w/compose.yaml", "services: {a: {image: $A59}}")
        .with("/w/.env", lines);
    assert_eq!(code(&files), "env-file");
    let long = format!("A={}", "x".repeat(900_000));
    let repeated = "$A ".repeat(1000);
    let files = MemoryFiles::default()
        .with(
            "/w/compose.yaml",
            format!("services: {{a: {{image: x, command: '{repeated}'}}}}"),
        )
        .with("/w/.env", long.clone());
    assert_eq!(code(&files), "invalid-variable");
    let services = many(|at| format!("  s{at}: {{image: x, env_file: .env}}\n"), 200);
    let files = MemoryFiles::default()
        .with("/w/compose.yaml", format!("services:\n{services}"))
        .with("/w/.env", long);
    assert_eq!(code(&files), "too-large");
}

/// The files of our own cases, and of the shared ones where they are.
fn corpus() -> Vec<Vec<u8>> {
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
    let mut files: Vec<Vec<u8>> = Vec::new();
    for entry in std::fs::read_dir(own).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let text = std::fs::read_to_string(path).unwrap();
            let cases = text.split("\n-- ").skip(1);
            files.extend(
                cases.filter_map(|case| Some(case.split_once('\n')?.1.as_bytes().to_vec())),
            );
        }
    }
    files.extend(crate::conformance::inputs());
    files
}

/// One change of a file.
#[derive(Debug, Clone)]
enum Change {
    Byte(prop::sample::Index, u8),
    Cut(prop::sample::Index, prop::sample::Index),
    Twice(prop::sample::Index, prop::sample::Index),
    Splice(prop::sample::Index, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    let pieces = prop::sample::select(vec![
        "[",
        "{",
        "- ",
        ": ",
        "&a ",
        "*a",
        "<<: *a",
        "!reset ",
        "!override ",
        "${",
        "}",
        "$",
        "null",
        "\n",
        "\t",
        "'",
        "\"",
        "|\n",
        "---\n",
        "0x",
        "1e999",
        "\u{feff}",
        "99999999999999999999",
    ]);
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (place(), place()).prop_map(|(from, to)| Change::Cut(from, to)),
        (place(), place()).prop_map(|(from, to)| Change::Twice(from, to)),
        (place(), pieces).prop_map(|(at, piece)| Change::Splice(at, piece)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    let short = |from: usize, to: usize| (from.min(to), from.max(to).min(from.min(to) + 200));
    for change in changes {
        let length = bytes.len() + 1;
        match change {
            Change::Byte(at, byte) => {
                if let Some(old) = bytes.get_mut(at.index(length)) {
                    *old = *byte;
                }
            }
            Change::Cut(from, to) => {
                let (from, to) = short(from.index(length), to.index(length));
                bytes.drain(from..to);
            }
            Change::Twice(from, to) => {
                let (from, to) = short(from.index(length), to.index(length));
                let part = bytes[from..to].to_vec();
                bytes.splice(to..to, part);
            }
            Change::Splice(at, piece) => {
                let at = at.index(length);
                bytes.splice(at..at, piece.bytes());
            }
        }
    }
    bytes
}

#[test]
fn changed_case_files_end_with_a_project_or_diagnostics() {
    let corpus = corpus();
    let mut runner = proptest::test_runner::TestRunner::default();
    let inputs = (
        any::<prop::sample::Index>(),
        prop::collection::vec(change(), 1..6),
    );
    let outcome = runner.run(&inputs, |(which, changes)| {
        let bytes = changed(which.get(&corpus).clone(), &changes);
        let files = MemoryFiles::default()
            .with("/w/compose.yaml", bytes.clone())
            .with("/w/.env", bytes);
        match run(&files) {
            Ok(loaded) => drop(advise(&loaded)),
            Err(refused) => drop(refused.render(Style::Coloured)),
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_project_survives_its_own_json() {
    let project = one(VALID).unwrap().project;
    let json = serde_json::to_string(&project).unwrap();
    let again: towpath_compose::Project = serde_json::from_str(&json).unwrap();
    assert_eq!(again, project);
}
