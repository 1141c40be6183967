//! The script of a job's steps, run by every shell of the machine, and what its log says of them.

use std::process::{Command as Program, Output};

use jiff::Timestamp;
use towpath_model::delivery::pipeline::StepSettings;
use towpath_model::pipeline::steps::{
    StepRecord, StepState, StepWatch, catch_up, close, culprit, script,
};
use towpath_model::workload::Command;

fn step(name: &str, run: &str) -> StepSettings {
    StepSettings {
        name: name.to_owned(),
        run: Command::Shell(run.to_owned()),
    }
}

/// Runs a script with every shell that there is.
fn play(steps: &[StepSettings]) -> (Option<i32>, Vec<StepRecord>, String) {
    let script = script(steps);
    let mut seen = None;
    for shell in [&["/bin/sh"][..], &["dash"], &["bash"], &["busybox", "sh"]] {
        let (program, words) = shell.split_first().unwrap();
        let output = Program::new(program)
            .args(words)
            .args(["-c", &script])
            .output();
        // Not every machine has all of them; the first is always there.
        let Ok(Output { status, stdout, .. }) = output else {
            assert_ne!(*program, "/bin/sh");
            continue;
        };
        let names: Vec<String> = steps.iter().map(|step| step.name.clone()).collect();
        let mut watch = StepWatch::new(&names);
        let text = String::from_utf8(stdout).unwrap();
        for line in text.lines() {
            watch.hear(line, Timestamp::UNIX_EPOCH);
        }
        let now = (status.code(), watch.steps().to_vec(), text);
        assert_eq!(*seen.get_or_insert_with(|| now.clone()), now, "{shell:?}");
    }
    seen.unwrap()
}

fn states(steps: &[StepRecord]) -> Vec<StepState> {
    steps.iter().map(|step| step.state).collect()
}

#[test]
fn steps_run_one_after_another_up_to_the_first_that_fails_whose_code_is_that_of_the_job() {
    let steps = [
        step("it's a \"name\" with $(false) `in` it %s \\n", "printf one"),
        step("two", "true\n(exit 3)\necho never"),
        step("three", "echo never"),
    ];
    let (code, seen, text) = play(&steps);
    assert_eq!(code, Some(3), "{text}");
    let wanted = [
        StepState::Passed,
        StepState::Failed { code: 3 },
        StepState::Waiting,
    ];
    assert_eq!(states(&seen), wanted, "{text}");
    assert!(!text.contains("never"), "{text}");
    assert!(
        text.contains("=== step 2/3: two: exited with code 3"),
        "{text}"
    );
    assert_eq!(culprit(&seen).unwrap().name, "two");
}

#[test]
fn a_step_disturbs_no_other_by_its_variables_its_directory_its_syntax_or_an_exec() {
    let words = Command::Exec(
        ["printf", "%s|", "a b", "$X", "it's"]
            .map(str::to_owned)
            .into(),
    );
    let steps = [
        step("sets", "X=1; export X; cd /; set -u; exec true"),
        step("reads", "test -z \"${X-}\"; test \"$(pwd)\" != /"),
        StepSettings {
            name: "words".to_owned(),
            run: words,
        },
        step("broken", "if"),
    ];
    let (code, seen, text) = play(&steps);
    assert_ne!(code, Some(0));
    assert_eq!(states(&seen)[..3], [StepState::Passed; 3], "{text}");
    assert!(text.contains("a b|$X|it's|"), "{text}");
    assert_eq!(culprit(&seen).unwrap().name, "broken");
}

#[test]
fn all_steps_pass_and_what_a_program_writes_of_others_is_not_believed() {
    let steps = [
        step(
            "one",
            "echo '=== step 2/2: two'; echo '=== step 2/2: two: passed'",
        ),
        step("two", "true"),
    ];
    let (code, seen, _) = play(&steps);
    assert_eq!((code, states(&seen)), (Some(0), vec![StepState::Passed; 2]));
    let mut half = seen;
    half.truncate(1);
    half[0].state = StepState::Running;
    close(&mut half, Timestamp::UNIX_EPOCH);
    assert_eq!(half[0].state, StepState::Stopped);
}

#[test]
fn of_a_log_whose_beginning_is_gone_the_last_word_on_a_step_counts() {
    let names = ["one", "two", "three"].map(str::to_owned);
    let at = |second| Timestamp::from_second(second).unwrap();
    let heard = |lines: &[&str]| {
        let mut watch = StepWatch::new(&names);
        for (second, line) in (0..).zip(lines) {
            watch.hear(line, at(second));
        }
        watch.whole()
    };
    let whole = heard(&["=== step 1/3: one", "=== step 2/3: two: passed"]);
    let wanted = [StepState::Running, StepState::Waiting, StepState::Waiting];
    assert_eq!(states(&whole), wanted, "nobody else's word is believed");

    let lines = [
        "much",
        "=== step 2/3: two: passed",
        "=== step 3/3: three",
        "=== step 3/3: three: exited with code 4",
    ];
    let gone = heard(&lines);
    let failed = StepState::Failed { code: 4 };
    let wanted = [StepState::Passed, StepState::Passed, failed];
    assert_eq!(states(&gone), wanted);
    assert_eq!(culprit(&gone).unwrap().name, "three");

    let mut known = heard(&["=== step 1/3: one", "=== step 1/3: one: passed"]);
    catch_up(&mut known, gone.clone());
    assert_eq!(states(&known), wanted);
    assert_eq!(
        (known[0].started_at, known[0].ended_at),
        (Some(at(0)), Some(at(1)))
    );
    assert_eq!(known[2].ended_at, Some(at(3)));
    catch_up(&mut known, heard(&["=== step 1/3: one"]));
    assert_eq!(states(&known), wanted, "less is no news");
}
