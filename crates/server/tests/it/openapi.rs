//! The `OpenAPI` document says exactly what is served.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::site::Site;

/// Every operation of the document: its method, in capitals, and its path.
fn operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let mut found = Vec::new();
    for (path, item) in paths {
        for method in ["get", "put", "post", "delete", "patch"] {
            if item.get(method).is_some() {
                found.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    found
}

/// Fills the names in a path with what is a name of that kind.
fn filled(path: &str) -> String {
    let digest = "0".repeat(64);
    path.replace("{digest}", &digest)
        .replace("{number}", "1")
        .replace("{job}", "1")
        .replace("{app}", "shop")
        .replace("{environment}", "dev")
        .replace("{service}", "web")
        .replace("{name}", "password")
        .replace("{id}", "0123456789ab")
}

#[tokio::test]
async fn every_operation_of_the_document_is_served() {
    let site = Site::new().await;
    let served = site.ask("GET /openapi.json", b"").await;
    assert_eq!(served.status, 200);
    let document = served.json();
    assert_eq!(
        document,
        serde_json::to_value(towpath_server::openapi()).unwrap()
    );
    let operations = operations(&document);
    assert!(operations.len() >= 30, "{operations:?}");
    for (method, path) in operations {
        // Those that go on for ever, or end the server, are tested elsewhere.
        if path.ends_with("/stream") || path.ends_with("/stop") {
            continue;
        }
        let filled = filled(&path);
        assert!(!filled.contains('{'), "{path}");
        let answer = site.ask(&format!("{method} {filled}"), b"not json").await;
        assert_ne!(answer.status, 405, "{method} {path}");
        assert!(answer.status < 500, "{method} {path}: {answer:?}");
        let nowhere = "nothing is served at this address";
        assert!(!answer.body.contains(nowhere), "{method} {path}");
    }
}

#[test]
fn every_handler_is_in_the_document() {
    let mut annotated = BTreeSet::new();
    read_handlers(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/endpoint"),
        &mut annotated,
    );
    let document = serde_json::to_value(towpath_server::openapi()).unwrap();
    let documented: BTreeSet<(String, String)> = operations(&document).into_iter().collect();
    assert_eq!(annotated, documented);
}

/// Reads the method and path of every handler from the sources.
fn read_handlers(directory: &Path, found: &mut BTreeSet<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_handlers(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for annotation in text.split("#[utoipa::path(").skip(1) {
            let (method, rest) = annotation.split_once(',').unwrap();
            let path = rest.split('"').nth(1).unwrap();
            found.insert((method.to_uppercase(), path.to_owned()));
        }
    }
}
