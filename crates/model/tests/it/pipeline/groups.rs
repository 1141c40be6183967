//! Jobs of which one of a group runs at a time.

use super::*;

const GROUPED: &str = "
environments: { dev: { deploy: { branch: main } } }
pipeline:
  - { name: lint, run: ./lint }
  - { name: load, run: ./load, needs: [lint], concurrency: machine, retries: 1 }
  - { name: browse, run: ./browse, concurrency: machine }
";

#[test]
fn a_job_of_a_group_waits_for_its_turn_and_keeps_it_until_it_has_ended() {
    let mut play = Play::new(GROUPED, branch("main"));
    play.go();
    assert_eq!(play.deeds, ["start lint"]);
    assert_eq!(play.run.turns(), [("machine", 3, false)]);
    play.pass("lint");
    assert_eq!(play.deeds, ["start lint"]);
    let both = [("machine", 2, false), ("machine", 3, false)];
    assert_eq!(play.run.turns(), both);

    play.seen.turns = [2].into();
    play.go();
    assert_eq!(play.deeds, ["start lint", "start load"]);
    play.job("load", ReleaseJob::Failed);
    assert_eq!(
        play.deeds.last().unwrap(),
        "start load",
        "it is tried again"
    );
    assert_eq!(play.run.turns()[0], ("machine", 2, true));
    play.pass("load");
    assert_eq!(play.run.turns(), [("machine", 3, false)]);
    play.seen.turns = [3].into();
    play.go();
    assert_eq!(play.deeds.last().unwrap(), "start browse");
    play.pass("browse");
    assert_eq!(play.run.turns(), []);
    assert_eq!(play.deeds.last().unwrap(), "deploy to dev");
}

#[test]
fn a_run_that_is_stopped_waits_for_no_turn() {
    let mut play = Play::new(GROUPED, branch("main"));
    play.go();
    play.run.cancel("ada", play.now).unwrap();
    play.go();
    assert_eq!(play.run.turns(), []);
    assert_eq!(play.run.outcome, Some(Outcome::Cancelled));
}
