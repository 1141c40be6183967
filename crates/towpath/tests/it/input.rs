//! Bad input, as a table: each gets a clear error and its exit code from the real binary, and nothing
//! is lost.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the binary in a directory, with nothing of this process's surroundings but `PATH`.
fn towpath(directory: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_towpath"))
        .args(words)
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", directory)
        .env("TOWPATH_HOME", directory.join("home"))
        .output()
        .unwrap()
}

/// A mistake, and what is said of it.
struct Case {
    rule: &'static str,
    compose: &'static str,
    delivery: &'static str,
    words: &'static [&'static str],
    code: i32,
    said: &'static [&'static str],
}

const GOOD: &str = "services:\n  web:\n    image: x\n    command: sleep 1000\n";

const CASES: &[Case] = &[
    Case {
        rule: "an unknown key of the Compose file is refused with its place and a suggestion",
        compose: "services:\n  web:\n    imge: nginx\n",
        delivery: "",
        words: &["config"],
        code: 2,
        said: &["compose.yaml:3:5", "imge", "image"],
    },
    Case {
        rule: "a wrong type is refused with its place",
        compose: "services:\n  web:\n    image: x\n    ports: 80\n",
        delivery: "",
        words: &["config"],
        code: 2,
        said: &["compose.yaml:4:"],
    },
    Case {
        rule: "YAML that is none is refused with its place",
        compose: "services:\n  web: [\n",
        delivery: "",
        words: &["check"],
        code: 2,
        said: &["compose.yaml:"],
    },
    Case {
        rule: "services that wait for one another are refused",
        compose: "services:\n  a: { image: x, depends_on: [b] }\n  b: { image: x, depends_on: [a] }\n",
        delivery: "",
        words: &["config"],
        code: 2,
        said: &["compose.yaml:", "a -> b -> a"],
    },
    Case {
        rule: "a variable that must be there and is not is named",
        compose: "services:\n  web:\n    image: ${IMAGE:?say which}\n",
        delivery: "",
        words: &["config"],
        code: 2,
        said: &["compose.yaml:3:", "IMAGE", "say which"],
    },
    Case {
        rule: "a port that two services publish is refused",
        compose: "services:\n  a: { image: x, command: sleep 9, ports: [\"8080:80\"] }\n  b: { image: x, command: sleep 9, ports: [\"8080:80\"] }\n",
        delivery: "",
        words: &["check"],
        code: 2,
        said: &["compose.yaml:3:", "8080"],
    },
    Case {
        rule: "a file that is not there is named",
        compose: "services:\n  web:\n    image: x\n    env_file: missing.env\n",
        delivery: "",
        words: &["config"],
        code: 2,
        said: &["missing.env"],
    },
    Case {
        rule: "a Compose file that is not there is named",
        compose: GOOD,
        delivery: "",
        words: &["config", "-f", "other.yaml"],
        code: 2,
        said: &["other.yaml"],
    },
    Case {
        rule: "an unknown key of the delivery file is refused with its place and a suggestion",
        compose: GOOD,
        delivery: "enviroments: {}\n",
        words: &["check"],
        code: 2,
        said: &["towpath.yaml:1:1", "enviroments", "environments"],
    },
    Case {
        rule: "a bad value in the delivery file is refused with its place",
        compose: GOOD,
        delivery: "rollout:\n  bake: soon\n",
        words: &["check"],
        code: 2,
        said: &["towpath.yaml:2:"],
    },
    Case {
        rule: "an environment that the delivery file does not have is named",
        compose: GOOD,
        delivery: "environments: { staging: {} }\n",
        words: &["check", "-e", "production"],
        code: 2,
        said: &["production", "staging"],
    },
    Case {
        rule: "an argument that is none is refused",
        compose: GOOD,
        delivery: "",
        words: &["deploi"],
        code: 2,
        said: &["deploi", "deploy"],
    },
    Case {
        rule: "a control plane that does not run is not reachable",
        compose: GOOD,
        delivery: "",
        words: &["status", "shop/dev"],
        code: 3,
        said: &["towpath.sock"],
    },
    Case {
        rule: "a name that is none is refused",
        compose: GOOD,
        delivery: "",
        words: &["status", "Shop/dev"],
        code: 2,
        said: &["Shop"],
    },
    Case {
        rule: "an environment is not destroyed without being asked",
        compose: GOOD,
        delivery: "",
        words: &["env", "rm", "shop/dev"],
        code: 2,
        said: &["--yes"],
    },
];

#[test]
fn every_mistake_gets_its_words_and_its_exit_code() {
    for case in CASES {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("compose.yaml"), case.compose).unwrap();
        if !case.delivery.is_empty() {
            std::fs::write(directory.path().join("towpath.yaml"), case.delivery).unwrap();
        }
        let output = towpath(directory.path(), case.words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(case.code),
            "{}: {said}",
            case.rule
        );
        let whole = directory.path().to_str().unwrap();
        let is_diagnostic = case.said.iter().any(|words| words.contains("yaml:"));
        assert!(
            !(is_diagnostic && said.contains(whole)),
            "{}: the path is longer than it need be: {said}",
            case.rule
        );
        for words in case.said {
            assert!(
                said.contains(words),
                "{}: no `{words}` in: {said}",
                case.rule
            );
        }
    }
}

#[test]
fn a_damaged_database_is_named_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let garbage = b"this is no database, whatever its name says".repeat(100);
    let file = data.join("towpath.db");
    let named = std::fs::write(&file, &garbage);
    named.unwrap();
    let data_text = data.to_str().unwrap();
    let output = towpath(directory.path(), &["serve", "--data", data_text]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("towpath.db") || said.contains("master.key"),
        "{said}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), garbage);
}

#[test]
fn a_secret_is_not_taken_from_an_argument() {
    let directory = tempfile::tempdir().unwrap();
    let words = ["secret", "set", "shop/dev", "password", "hunter2"];
    let output = towpath(directory.path(), &words);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_good_project_is_checked_and_printed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("compose.yaml"), GOOD).unwrap();
    let output = towpath(directory.path(), &["config", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0));
    let project: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(project["services"]["web"]["image"], "x");
}
