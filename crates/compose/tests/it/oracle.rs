//! Our own cases against what the real `docker compose config` said of them. Not the asking:
//! `scripts/compose-oracle` asks, and writes the answers down beside the cases.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use towpath_compose::{LoadOptions, MemoryFiles, RealFiles, Step, load, load_model, output};

use crate::canon::{canon, difference};

const REFUSED: &str = "refused";

/// What the directory of a case is called in the recorded answers.
const DIRECTORY: &str = "/w/a/b/in";

#[derive(Default)]
struct Case {
    name: String,
    /// Its difference is described in `docs/compose-conformance.md`.
    differs: bool,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle")
}

/// Splits arguments at spaces, but not within double quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in text.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn read_cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut file = None;
    for line in text.split('\n') {
        if let Some(name) = line.strip_prefix("== ") {
            file = None;
            cases.push(Case {
                name: name.trim().to_owned(),
                ..Case::default()
            });
            continue;
        }
        let Some(case) = cases.last_mut() else {
            continue;
        };
        if let Some(name) = line.strip_prefix("-- ") {
            file = Some(name.trim().to_owned());
            case.files.entry(name.trim().to_owned()).or_default();
        } else if let Some(name) = &file {
            case.files.entry(name.clone()).or_default().push_str(line);
            case.files.entry(name.clone()).or_default().push('\n');
        } else if let Some((key, value)) = line.split_once(':') {
            match key {
                "env" => {
                    let (name, value) = value.trim().split_once('=').unwrap();
                    case.environment.insert(name.to_owned(), value.to_owned());
                }
                "differs" => case.differs = true,
                "args" | "options" => case.arguments.extend(words(value)),
                other => assert_eq!(other, "env", "{}: an unknown key", case.name),
            }
        }
    }
    cases
}

/// Returns what is printed, or that the case is refused.
fn answer(case: &Case) -> (Value, String) {
    let mut files = MemoryFiles::default();
    for (name, text) in &case.files {
        files = files.with(format!("{DIRECTORY}/{name}"), text.clone());
    }
    let mut environment = BTreeMap::from([
        ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
        ("HOME".to_owned(), "/home/golden".to_owned()),
        ("PWD".to_owned(), DIRECTORY.to_owned()),
    ]);
    environment.extend(case.environment.clone());
    let mut options = LoadOptions {
        working_directory: PathBuf::from(DIRECTORY),
        environment,
        ..LoadOptions::default()
    };
    let mut as_written = false;
    let mut words = case.arguments.iter();
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap().clone();
        match word.as_str() {
            "-f" => options.files.push(next().into()),
            "-p" => options.project_name = Some(next()),
            "--profile" => options.profiles.push(next()),
            "--env-file" => options.env_files.push(next().into()),
            "--project-directory" => options.project_directory = Some(next().into()),
            "--no-interpolate" => as_written = true,
            "--no-env-resolution" => drop(options.skipped.insert(Step::EnvFiles)),
            "--no-path-resolution" => drop(options.skipped.insert(Step::Paths)),
            "--no-normalize" => drop(options.skipped.insert(Step::Normalisation)),
            "--no-consistency" => drop(options.skipped.insert(Step::Consistency)),
            service => options.services.push(service.to_owned()),
        }
    }
    let printed = if as_written {
        load_model(&options, &files).map(|model| output::model_to_json(&model))
    } else {
        load(&options, &files).map(|loaded| output::to_json(&loaded.project))
    };
    match printed {
        Ok(json) => (json, String::new()),
        Err(refused) => (Value::from(REFUSED), refused.to_string()),
    }
}

fn failure(case: &Case, recorded: &Value) -> Option<String> {
    let (printed, words) = answer(case);
    if printed == REFUSED || *recorded == REFUSED {
        return (printed != *recorded).then(|| format!("{printed}, expected {recorded}: {words}"));
    }
    difference(&canon(&printed), &canon(recorded))
}

#[test]
fn our_own_cases_come_out_as_docker_compose_has_them() {
    let mut failed = 0;
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let topic = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let recorded = std::fs::read_to_string(path.with_extension("json")).unwrap();
        let recorded: Value = serde_json::from_str(&recorded).unwrap();
        let cases = read_cases(&std::fs::read_to_string(&path).unwrap());
        let (mut passed, mut known) = (0, 0);
        for case in &cases {
            let answer = recorded
                .get(&case.name)
                .unwrap_or_else(|| panic!("{topic}: {} is not recorded", case.name));
            match failure(case, answer) {
                Some(_) if case.differs => known += 1,
                None if !case.differs => passed += 1,
                why => {
                    failed += 1;
                    let why = why.unwrap_or_else(|| "it differs no more".to_owned());
                    println!("{topic}: {}\n    {why}", case.name);
                }
            }
        }
        println!(
            "{topic}: {passed} of {} as the real program answered, {known} known differences",
            cases.len()
        );
    }
    println!("the real program was not asked: its recorded answers were compared");
    assert_eq!(failed, 0);
}

#[test]
fn files_on_disk_are_read_as_those_in_memory() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(
        scratch.path().join("compose.yaml"),
        "services: {a: {image: x}}",
    )
    .unwrap();
    let options = LoadOptions {
        working_directory: scratch.path().to_owned(),
        project_name: Some("p".to_owned()),
        ..LoadOptions::default()
    };
    let loaded = load(&options, &RealFiles).unwrap();
    assert!(loaded.project.services.contains_key("a"));
}
