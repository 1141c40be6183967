//! Results that count in place of a run of a job.

use towpath_model::pipeline::plan::hotfix;
use towpath_model::pipeline::reuse::find;
use towpath_model::pipeline::run::Artifacts;

use super::*;

const CHECKED: &str = "
environments: { dev: { deploy: { branch: main } } }
pipeline:
  - { name: build, run: make }
  - { name: unit, run: ./unit, needs: [build], reuse: 1d }
  - { name: last, run: ./last, needs: [unit] }
";

fn result() -> Reused {
    Reused {
        run: RunNumber(3),
        job: 2,
        artifacts: None,
    }
}

/// The run of a push in which all jobs passed.
fn passed(reference: Reference) -> Run {
    let mut play = Play::new(CHECKED, push(reference));
    play.go();
    for label in ["build", "unit", "last"] {
        play.pass(label);
    }
    play.run
}

#[test]
fn a_result_counts_in_place_of_a_run_once_all_before_it_is_done() {
    let mut play = Play::new(CHECKED, branch("main"));
    play.result = Some(result());
    play.go();
    assert_eq!(play.deeds, ["start build"]);
    play.pass("build");
    assert_eq!(play.deeds, ["start build", "look up unit", "start last"]);
    let unit = &play.run.jobs[1];
    assert_eq!(
        (&unit.state, unit.attempts.len()),
        (&JobState::Succeeded, 0)
    );
    assert_eq!(unit.reused().unwrap().run, RunNumber(3));
    assert!(play.says().contains(&"job.reused"), "{:?}", play.says());
    play.pass("last");
    assert_eq!(play.deeds.last().unwrap(), "deploy to dev");
}

#[test]
fn where_there_is_no_result_the_job_runs_and_one_is_looked_for_when_it_is_tried_again() {
    let mut play = Play::new(CHECKED, branch("main"));
    play.go();
    play.pass("build");
    assert_eq!(play.deeds, ["start build", "look up unit", "start unit"]);
    play.job("unit", ReleaseJob::Failed);
    assert_eq!(play.run.outcome, Some(Outcome::Failed));
    play.run.retry("ada", play.now).unwrap();
    play.go();
    assert_eq!(play.deeds[3..], ["look up unit", "start unit"]);
}

#[test]
fn a_stopped_run_looks_nothing_up_and_a_hotfix_is_checked_whole() {
    let mut play = Play::new(CHECKED, branch("main"));
    play.go();
    play.run.cancel("ada", play.now).unwrap();
    play.go();
    assert_eq!(play.deeds, ["start build"]);
    let straight = hotfix(&file(CHECKED), &branch("fix"), &name("dev")).unwrap();
    assert!(straight.jobs.iter().all(|job| job.reuse.is_none()));
}

#[test]
fn only_a_job_that_ran_and_passed_within_reach_and_time_is_a_result() {
    let main = || Reference::Branch("main".to_owned());
    let of_main = passed(main());
    let inputs = Digest::of(b"inputs");
    let day = Duration::from_hours(24);
    let ended = of_main.jobs[1].attempts[0].ended_at.unwrap();
    let reach = |reference| plan(&file(CHECKED), &push(reference)).unwrap().reach;
    let tag = reach(Reference::Tag("v1".to_owned()));
    let found = |run: &Run, inputs: &Digest, at| find([run], inputs, &tag, (day, at));
    let there = found(&of_main, &inputs, ended + day).unwrap();
    assert_eq!((there.run, there.job), (RunNumber(7), 2));
    assert_eq!(found(&of_main, &Digest::of(b"others"), ended), None);
    let late = ended + day + Duration::from_secs(1);
    assert_eq!(found(&of_main, &inputs, late), None);
    let topic = passed(Reference::Branch("topic".to_owned()));
    assert_eq!(found(&topic, &inputs, ended), None);

    // One that counted in place of a run makes no result younger.
    let mut again = of_main.clone();
    again.jobs[1].attempts.clear();
    again.jobs[1].lookup.as_mut().unwrap().result = Some(result());
    assert_eq!(found(&again, &inputs, ended), None);
    let mut failed = of_main.clone();
    failed.jobs[1].state = JobState::Failed {
        reason: "exited with code 3".to_owned(),
    };
    assert_eq!(found(&failed, &inputs, ended), None);
}

#[test]
fn the_artifacts_of_a_result_are_those_of_the_job() {
    let mut run = passed(Reference::Branch("main".to_owned()));
    let kept = Artifacts {
        files: 1,
        bytes: 2,
        digest: Some(Digest::of(b"archive")),
    };
    let left = Left {
        artifacts: Some(kept.clone()),
        ..Left::default()
    };
    run.jobs[1].attempts[0].left = Some(left);
    let reach = run.reach.clone();
    let now = run.jobs[1].attempts[0].ended_at.unwrap();
    let day = Duration::from_hours(24);
    let found = find([&run], &Digest::of(b"inputs"), &reach, (day, now));
    assert_eq!(found.unwrap().artifacts, Some(kept.clone()));
    assert_eq!(run.jobs[1].kept_artifacts(), Some(&kept));
}
