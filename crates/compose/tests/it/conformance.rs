//! The shared Compose cases: what a real `docker compose config` accepted is loaded and is equal, and
//! what it refused is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use towpath_compose::{LoadOptions, RealFiles, load, load_model, output};

use crate::canon::{canon, difference};

struct Case {
    set: String,
    name: String,
    files: Vec<PathBuf>,
    environment: BTreeMap<String, String>,
    accepted: bool,
    expected: Option<Value>,
    expected_as_written: Option<Value>,
    input: PathBuf,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/compose-cases")
}

fn json(path: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

/// Reads all cases, but those that were refused for files that are not there.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let Ok(sets) = std::fs::read_dir(root()) else {
        return cases;
    };
    for set in sets
        .map(|set| set.unwrap().path())
        .filter(|set| set.is_dir())
    {
        for case in std::fs::read_dir(set).unwrap() {
            let directory = case.unwrap().path();
            let Some(about) = json(&directory.join("case.json")) else {
                continue;
            };
            let artefact = about["reject_class"] == "artefact";
            let agreed = about["tier"].as_str().is_none_or(|tier| tier == "A");
            if artefact || !agreed {
                continue;
            }
            let variables = about["env"].as_object().unwrap();
            cases.push(Case {
                set: about["set"].as_str().unwrap().to_owned(),
                name: about["name"].as_str().unwrap().to_owned(),
                files: texts(&about["files"]).iter().map(PathBuf::from).collect(),
                environment: variables
                    .iter()
                    .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                    .collect(),
                accepted: about["verdict"] == "accept",
                expected: json(&directory.join("expected.json")),
                expected_as_written: json(&directory.join("expected.no-interpolate.json")),
                input: directory.join("in"),
            });
        }
    }
    cases.sort_by(|a, b| (&a.set, &a.name).cmp(&(&b.set, &b.name)));
    cases
}

/// Returns the Compose files of all cases.
pub(crate) fn inputs() -> Vec<Vec<u8>> {
    let files = cases().into_iter().flat_map(|case| {
        let named = case.files.into_iter();
        named.filter_map(move |file| std::fs::read(case.input.join(file)).ok())
    });
    files.collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_symlink() {
            let link = std::fs::read_link(entry.path()).unwrap();
            std::os::unix::fs::symlink(link, target).unwrap();
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Puts the placeholders of the cases in the place of the directories of this run.
fn placeholders(value: &Value, directory: &Path) -> Value {
    let mut text = value.to_string();
    let parents = directory.ancestors().take(3);
    for (path, name) in parents.zip(["@DIR@", "@PARENT@", "@PARENT2@"]) {
        text = text.replace(path.to_str().unwrap(), name);
    }
    serde_json::from_str(&text).unwrap()
}

fn options(case: &Case, directory: &Path) -> LoadOptions {
    let mut environment = BTreeMap::from([
        ("HOME".to_owned(), "/home/golden".to_owned()),
        ("USER".to_owned(), "golden".to_owned()),
        ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
        ("PWD".to_owned(), directory.to_str().unwrap().to_owned()),
    ]);
    environment.extend(case.environment.clone());
    LoadOptions {
        files: case.files.clone(),
        working_directory: directory.to_owned(),
        environment,
        ..LoadOptions::default()
    }
}

/// Returns why a case fails, if it does.
fn failure(case: &Case) -> Option<String> {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().canonicalize().unwrap().join("a/b/in");
    copy(&case.input, &directory);
    let options = options(case, &directory);
    match (load(&options, &RealFiles), case.accepted) {
        (Ok(_), false) => Some("accepted, but has to be refused".to_owned()),
        (Err(_), false) => None,
        (Err(refused), true) => Some(format!("refused: {refused}")),
        (Ok(loaded), true) => {
            let printed = placeholders(&output::to_json(&loaded.project), &directory);
            difference(&canon(&printed), &canon(case.expected.as_ref().unwrap()))
        }
    }
}

fn as_written_failure(case: &Case) -> Option<String> {
    let expected = case.expected_as_written.as_ref()?;
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().canonicalize().unwrap().join("a/b/in");
    copy(&case.input, &directory);
    match load_model(&options(case, &directory), &RealFiles) {
        Err(refused) => Some(format!("refused: {refused}")),
        Ok(model) => {
            let printed = placeholders(&output::model_to_json(&model), &directory);
            difference(&canon(&printed), &canon(expected))
        }
    }
}

/// Runs `check` on all cases, prints the score of each group, and returns passed and all.
fn score(check: fn(&Case) -> Option<String>, cases: &[Case]) -> (usize, usize) {
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for case in cases {
        let group = groups.entry(&case.set).or_default();
        group.1 += 1;
        match check(case) {
            None => group.0 += 1,
            Some(why) => println!("{}/{}\n    {why}", case.set, case.name),
        }
    }
    for (set, (passed, all)) in &groups {
        println!("{set}: {passed} of {all}");
    }
    groups.values().fold((0, 0), |(passed, all), group| {
        (passed + group.0, all + group.1)
    })
}

#[test]
fn the_shared_cases_come_out_as_docker_compose_has_them() {
    let cases = cases();
    if cases.is_empty() {
        println!(
            "{}: the shared Compose cases are not present",
            root().display()
        );
        return;
    }
    let (passed, all) = score(failure, &cases);
    assert_eq!(passed, all);
}

#[test]
fn the_shared_cases_come_out_the_same_without_variables_filled_in() {
    let mut cases = cases();
    cases.retain(|case| case.expected_as_written.is_some());
    if cases.is_empty() {
        println!(
            "{}: the shared Compose cases are not present",
            root().display()
        );
        return;
    }
    let (passed, all) = score(as_written_failure, &cases);
    assert_eq!(passed, all);
}
