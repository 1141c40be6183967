//! Gates: what counts in an environment, and what a hotfix passes by.

use towpath_model::delivery::pipeline::Approvals;
use towpath_model::pipeline::Demands;
use towpath_model::pipeline::plan::hotfix;

use super::*;

/// A delivery file in which nothing is waited for.
const FREE: &str = "environments: { live: { deploy: { branch: main } } }\n";

/// A delivery file with a hotfix's way, past a staging that soaks and a window that is closed.
const STRAIGHT: &str = "
environments:
  dev: { deploy: { branch: '**' } }
  live:
    deploy:
      after: dev
      soak: 10h
      windows: ['Sun 03:00-04:00']
      freezes: ['2026-01-20..2026-01-21']
      hotfix: { branch: 'hotfix/**', tag: 'hotfix-*' }
pipeline:
  - { name: unit, run: ./unit, if: { branch: main } }
  - { name: smoke, run: ./smoke, after: live }
  - { name: browse, run: ./browse, after: dev }
";

impl Play {
    /// Has something be seen of `live` before anything is done.
    fn with(mut self, seen: TargetEnvironment) -> Self {
        self.seen.targets.insert(name("live"), seen);
        self
    }

    fn approve(&mut self, actor: &str) -> Result<(), Refusal> {
        let live = name("live");
        let events = self.run.approve(&live, actor, None, self.now)?;
        self.events.extend(events);
        self.go();
        Ok(())
    }
}

fn stable(text: &str) -> TargetEnvironment {
    TargetEnvironment {
        demands: Some(Demands::of(&file(text), &name("live"))),
        ..TargetEnvironment::default()
    }
}

#[test]
fn a_push_that_leaves_an_approval_out_waits_for_it_all_the_same() {
    let strict = "
groups: { qa: [quinn] }
environments: { live: { deploy: { branch: main, approvals: { groups: [qa] } } } }
";
    let mut play = Play::new(FREE, branch("main")).with(stable(strict));
    play.go();
    assert!(play.deeds.is_empty());
    assert!(play.approve("ada").is_err(), "she is not of the group");
    play.approve("quinn").unwrap();
    assert_eq!(play.deeds, ["deploy to live"]);
    // Where what is there demands nothing, the push's own file counts.
    let mut play = Play::new(strict, branch("main")).with(stable(FREE));
    play.go();
    assert!(play.deeds.is_empty());
}

#[test]
fn an_approval_counts_only_of_those_who_may_give_it_now() {
    let anybody = "environments: { live: { deploy: { branch: main, approvals: 2 } } }\n";
    let mut play = Play::new(anybody, branch("main"));
    play.go();
    play.approve("ada").unwrap();
    // Meanwhile a release comes there that asks for one of others.
    let approvals = Approvals {
        groups: vec!["qa".to_owned()],
        members: ["quinn".to_owned()].into(),
        ..Approvals::default()
    };
    let demands = Demands {
        approvals: Some(approvals),
        ..Demands::default()
    };
    let seen = play.seen.targets.entry(name("live")).or_default();
    seen.demands = Some(demands);
    play.go();
    assert!(play.deeds.is_empty());
    play.approve("quinn").unwrap();
    assert_eq!(play.deeds, ["deploy to live"]);
}

#[test]
fn a_push_that_leaves_out_the_environment_before_does_not_come() {
    let after =
        "environments: { dev: { deploy: { branch: main } }, live: { deploy: { after: dev } } }\n";
    let mut play = Play::new(FREE, branch("main")).with(stable(after));
    play.go();
    let TargetState::Skipped { reason } = play.state("live") else {
        panic!("{:?}", play.state("live"))
    };
    assert_eq!(reason, "release 3 was never in `dev`");
    // One whose file has it another way round waits for nothing that waits for it.
    let turned =
        "environments: { live: { deploy: { branch: main } }, dev: { deploy: { after: live } } }\n";
    let mut play = Play::new(turned, branch("main")).with(stable(after));
    play.go();
    let TargetState::Skipped { reason } = play.state("live") else {
        panic!("{:?}", play.state("live"))
    };
    assert_eq!(reason, "releases come to `live` only from itself");
}

#[test]
fn what_is_promoted_soaks_from_when_it_came_to_the_environment_before() {
    let after = "
environments: { dev: { deploy: { branch: main } }, live: { deploy: { after: dev, soak: 1h } } }
";
    let mut play = Play::new(FREE, branch("main"));
    play.run.is_promotion = true;
    let came = play.now - Duration::from_mins(40);
    let mut play = play.with(TargetEnvironment {
        proven_at: Some(came),
        ..stable(after)
    });
    play.go();
    assert_eq!(play.run.state().to_string(), "held");
    let wake_at = step(&play.run, &play.seen, play.now).wake_at;
    assert_eq!(wake_at, Some(came + Duration::from_hours(1)));
    play.wait(20);
    assert_eq!(play.deeds, ["deploy to live"]);
}

#[test]
fn a_hotfix_is_checked_whole_and_goes_straight_to_its_environment() {
    for pushed in [
        branch("hotfix/cart"),
        push(Reference::Tag("hotfix-1".to_owned())),
    ] {
        let (jobs, targets) = begun(STRAIGHT, &pushed).unwrap();
        assert_eq!(
            (jobs, targets),
            (
                vec!["unit".to_owned(), "smoke".to_owned()],
                vec!["live".to_owned()]
            )
        );
    }
    let (_, targets) = begun(STRAIGHT, &branch("main")).unwrap();
    assert_eq!(targets, ["dev", "live"], "others go the long way");
    let named = hotfix(
        &file(STRAIGHT),
        &push(Reference::WorkingTree),
        &name("live"),
    );
    assert!(named.unwrap().is_hotfix);
    assert_eq!(
        hotfix(&file(STRAIGHT), &branch("main"), &name("nowhere")),
        None
    );
}

#[test]
fn a_hotfix_waits_for_its_jobs_somebodys_word_and_holds_alone() {
    let mut play = Play::new(STRAIGHT, branch("hotfix/cart"));
    play.go();
    assert_eq!(play.deeds, ["start unit"]);
    play.pass("unit");
    assert_eq!(play.run.state().to_string(), "awaiting approval");
    play.seen.targets.entry(name("live")).or_default().hold = Some("rolled back".to_owned());
    play.approve("quinn").unwrap();
    assert_eq!(play.run.state().to_string(), "held");
    play.seen.targets.get_mut(&name("live")).unwrap().hold = None;
    // In a freeze: who approved it knew that.
    play.now = "2026-01-20T12:00:00Z".parse().unwrap();
    play.go();
    assert_eq!(play.deeds.last().unwrap(), "deploy to live");
}

#[test]
fn a_hotfix_in_a_freeze_needs_somebodys_word_and_at_other_times_what_the_file_says() {
    let frozen = "
environments:
  live: { deploy: { branch: main, freezes: ['2026-01-15..2026-01-16'], hotfix: { branch: fix } } }
";
    let mut play = Play::new(frozen, branch("fix"));
    // Nobody has to approve by what counts there, until the freeze is met.
    play.run.targets[0].gates.approvals = None;
    play.go();
    assert_eq!(play.run.state().to_string(), "awaiting approval");
    play.approve("ada").unwrap();
    assert_eq!(play.deeds, ["deploy to live"]);
}

#[test]
fn whom_a_hotfix_passed_by_is_said_once_when_it_is_there() {
    let mut play = Play::new(STRAIGHT, branch("hotfix/cart"));
    play.go();
    play.pass("unit");
    play.approve("quinn").unwrap();
    play.seen.targets.get_mut(&name("live")).unwrap().behind = vec![name("dev")];
    play.deliver("live");
    assert!(
        !play.says().contains(&"environment.behind"),
        "it may still go back"
    );
    play.end("live", towpath_model::deployment::Outcome::Succeeded);
    play.go();
    let behind = play
        .events
        .iter()
        .filter(|one| one.what == "environment.behind");
    let reasons: Vec<&str> = behind.filter_map(|one| one.reason.as_deref()).collect();
    let said = "until release 3, or a newer one with its commit, is there too: dev";
    assert_eq!(reasons, [said]);
}

#[test]
fn a_release_does_not_take_a_hotfix_away() {
    let lost = TargetEnvironment {
        lost_fix: Some("the hotfix of release 2 would be lost".to_owned()),
        ..TargetEnvironment::default()
    };
    for is_promotion in [false, true] {
        let mut play = Play::new(FREE, branch("main")).with(lost.clone());
        play.run.is_promotion = is_promotion;
        play.go();
        assert!(matches!(play.state("live"), TargetState::Skipped { .. }));
    }
}
