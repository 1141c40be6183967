//! The shared Compose cases, which other people wrote, rendered to containers: none panics, and few
//! are refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use towpath_compose::diagnostic::Diagnostics;
use towpath_compose::{Files as _, LoadOptions, Loaded, RealFiles};
use towpath_model::id::{Digest, EnvironmentName};
use towpath_model::render::{RenderInputs, load, render, wanted_files};

use crate::fixture::delivery;

/// The share of cases that may be refused, in percent. All of them are named when it is more.
const REFUSED_AT_MOST: usize = 5;

struct Case {
    name: String,
    options: LoadOptions,
}

/// Reads the cases that a real Docker Compose accepted.
fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/compose-cases");
    let directories = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let sets = directories(&root);
    let mut cases = Vec::new();
    for directory in sets.iter().flat_map(|set| directories(set)) {
        let Ok(text) = std::fs::read(directory.join("case.json")) else {
            continue;
        };
        let about: Value = serde_json::from_slice(&text).unwrap();
        if about["verdict"] != "accept" {
            continue;
        }
        let texts = |value: &Value| value.as_str().map(str::to_owned);
        let variables = about["env"].as_object().into_iter().flatten();
        let files = about["files"].as_array().into_iter().flatten();
        cases.push(Case {
            name: format!("{}/{}", about["set"], about["name"]).replace('"', ""),
            options: LoadOptions {
                files: files.filter_map(texts).map(PathBuf::from).collect(),
                working_directory: directory.join("in"),
                environment: variables
                    .filter_map(|(name, value)| Some((name.clone(), texts(value)?)))
                    .chain([("HOME".to_owned(), "/home/golden".to_owned())])
                    .collect(),
                ..LoadOptions::default()
            },
        });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn rendered(loaded: &Loaded) -> Result<usize, Diagnostics> {
    let delivery = delivery("environments: { dev: { engine: docker } }\n").unwrap();
    let files: BTreeMap<String, String> = wanted_files(&loaded.project)
        .into_iter()
        .map(|path| {
            let content = RealFiles.read(Path::new(&path)).unwrap_or_default();
            (path, String::from_utf8_lossy(&content).into_owned())
        })
        .collect();
    let rendered = render(&RenderInputs {
        loaded,
        delivery: &delivery,
        environment: &EnvironmentName::new("dev").unwrap(),
        source: Some(Digest::of(b"source")),
        tree: &BTreeMap::new(),
        files: &files,
    })?;
    Ok(rendered.draft.services.len())
}

#[test]
fn few_of_the_files_that_people_have_are_refused() {
    let delivery = delivery("environments: { dev: { engine: docker } }\n").unwrap();
    let environment = EnvironmentName::new("dev").unwrap();
    let (mut tried, mut services, mut refused) = (0, 0, Vec::new());
    for case in cases() {
        // What the loader itself refuses is counted by its own test.
        let Ok(loaded) = load(&delivery, &environment, case.options, &RealFiles) else {
            continue;
        };
        tried += 1;
        match rendered(&loaded) {
            Ok(count) => services += count,
            Err(found) => {
                let why: Vec<String> = found.iter().map(ToString::to_string).collect();
                refused.push(format!("{}:\n  {}", case.name, why.join("\n  ")));
            }
        }
    }
    let count = refused.len();
    println!("{tried} projects, {count} refused, {services} services rendered to containers");
    let refused = refused.join("\n");
    println!("{refused}");
    assert!(
        count * 100 <= tried * REFUSED_AT_MOST,
        "{count} of {tried} refused:\n{refused}"
    );
}
