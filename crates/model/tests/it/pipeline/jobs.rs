//! Jobs that have parts and leave something behind: steps, test reports.

use super::*;
use towpath_model::pipeline::junit::Tests;
use towpath_model::pipeline::steps::{StepRecord, StepState, StepWatch};

const STEPS: &str = "
pipeline:
  - name: check
    steps: [{ name: lint, run: make lint }, { name: test, run: [make, test] }]
    reports: 'target/*.xml'
    timeout: 5m
  - { name: last, run: ./last, needs: [check] }
";

impl Play {
    /// Has the log of a job say this.
    fn hear(&mut self, lines: &[&str]) {
        let job = &self.run.jobs[0];
        let mut watch = StepWatch::new(&job.steps);
        for line in lines {
            watch.hear(line, self.now);
        }
        let environment = &job.attempts.last().unwrap().environment;
        self.seen.jobs.get_mut(environment).unwrap().steps = watch.steps().to_vec();
        self.go();
    }

    fn steps(&self) -> Vec<StepState> {
        let last = self.run.jobs[0].attempts.last().unwrap();
        last.steps
            .iter()
            .map(|step: &StepRecord| step.state)
            .collect()
    }
}

fn begun_steps() -> Play {
    let mut play = Play::new(STEPS, branch("topic"));
    play.go();
    play.job("check", ReleaseJob::Running { instance: 1 });
    play
}

#[test]
fn the_verdict_of_a_job_names_the_step_and_waits_for_what_it_left_behind() {
    let mut play = begun_steps();
    play.hear(&["=== step 1/2: lint"]);
    assert_eq!(play.steps(), [StepState::Running, StepState::Waiting]);
    play.hear(&[
        "=== step 1/2: lint",
        "=== step 1/2: lint: passed",
        "=== step 2/2: test",
        "=== step 2/2: test: exited with code 3",
    ]);
    play.left.tests = Some(Tests {
        tests: 4,
        failures: 1,
        ..Tests::default()
    });
    play.job("check", ReleaseJob::Failed);
    let wanted = [StepState::Passed, StepState::Failed { code: 3 }];
    assert_eq!(play.steps(), wanted);
    let reason = "step `test`: exited with code 3; 4 tests, 1 failed in 0.0 s".to_owned();
    let job = &play.run.jobs[0];
    assert_eq!(job.state, JobState::Failed { reason });
    assert_eq!(play.deeds, ["start check", "look at check"]);
    let left = job.attempts[0].left.as_ref().unwrap();
    assert_eq!(left.tests.as_ref().unwrap().failures, 1);
    assert_eq!(play.run.outcome, Some(Outcome::Failed));
}

#[test]
fn the_step_that_ran_when_the_time_was_over_is_named_and_the_others_are_skipped() {
    let mut play = begun_steps();
    play.hear(&["=== step 1/2: lint"]);
    play.wait(6);
    assert_eq!(play.steps(), [StepState::Stopped, StepState::Skipped]);
    let reason = "step `lint`: timed out after 300s".to_owned();
    assert_eq!(play.run.jobs[0].state, JobState::Failed { reason });
}

#[test]
fn what_cannot_be_looked_at_in_time_holds_nobody_up() {
    let mut play = begun_steps();
    play.is_blind = true;
    play.pass("check");
    assert_eq!(play.run.jobs[0].state, JobState::Active);
    play.wait(11);
    assert_eq!(play.run.jobs[0].state, JobState::Succeeded);
    assert_eq!(play.deeds.last().unwrap(), "start last");
}

#[test]
fn who_stops_a_run_waits_for_nothing_that_was_left_behind() {
    let mut play = begun_steps();
    play.is_blind = true;
    play.pass("check");
    play.run.cancel("ada", play.now).unwrap();
    play.go();
    assert_eq!(play.run.outcome, Some(Outcome::Cancelled));
    assert!(play.run.is_settled());
}
