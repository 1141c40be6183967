//! Input that nobody meant well: whatever it is, a load ends with a project or with diagnostics.

use std::path::PathBuf;

use proptest::prelude::*;
use towpath_compose::{Diagnostics, LoadOptions, Loaded, MemoryFiles, load};

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

#[test]
fn a_project_survives_its_own_json() {
    let project = one(VALID).unwrap().project;
    let json = serde_json::to_string(&project).unwrap();
    let again: towpath_compose::Project = serde_json::from_str(&json).unwrap();
    assert_eq!(again, project);
}
