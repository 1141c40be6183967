//! Runs: what a push begins, how jobs and deliveries follow one another, what people may decide.

mod gates;
mod groups;
mod jobs;
mod reuse;
mod steps;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use towpath_model::command::Request;
use towpath_model::delivery::DeliveryFile;
use towpath_model::deployment::{Deployment, Failure, JobState as ReleaseJob, Kind, Origin, Phase};
use towpath_model::environment::Environment;
use towpath_model::event::NewEvent;
use towpath_model::id::{
    Digest, EnvironmentId, EnvironmentName, ReleaseNumber, RunNumber, ServiceName,
};
use towpath_model::pipeline::command::Refusal;
use towpath_model::pipeline::observation::{JobEnvironment, Observation, TargetEnvironment};
use towpath_model::pipeline::plan::{plan, promotion};
use towpath_model::pipeline::reuse::{Lookup, Reused};
use towpath_model::pipeline::run::{JobState, Left, Outcome, Run, TargetState};
use towpath_model::pipeline::step::{Action, step};
use towpath_model::pipeline::{Push, Reference};
use towpath_model::release::Rendering;
use towpath_model::rollout::Settings;

use crate::fixture::delivery;
use crate::world::service;

/// A delivery file with two jobs, and three environments that follow one another.
const STORY: &str = "
groups: { qa: [quinn, ada] }
environments:
  dev: { deploy: { branch: main } }
  staging: { deploy: { after: dev, soak: 10m } }
  production:
    deploy:
      after: staging
      approvals: { count: 1, groups: [qa], not_author: true, expiry: 2h }
      windows: ['Mon-Fri 09:00-16:00 Europe/Warsaw']
pipeline:
  - { name: lint, run: ./lint, retries: 1 }
  - { name: unit, run: ./unit, needs: [lint], timeout: 30m, services: [redis] }
  - { name: browse, run: ./browse, after: staging }
";

fn name(text: &str) -> EnvironmentName {
    text.parse().unwrap()
}

fn push(reference: Reference) -> Push {
    Push {
        app: "shop".parse().unwrap(),
        source: Digest::of(b"tree"),
        commit: "abc".to_owned(),
        reference,
        changed: None,
        author: "ada".to_owned(),
        message: "a change".to_owned(),
        actor: "ada".to_owned(),
    }
}

fn branch(name: &str) -> Push {
    push(Reference::Branch(name.to_owned()))
}

fn file(text: &str) -> DeliveryFile {
    delivery(text).unwrap().file
}

/// Names of jobs, and of environments.
type Names = (Vec<String>, Vec<String>);

/// What a push begins.
fn begun(text: &str, push: &Push) -> Option<Names> {
    let plan = plan(&file(text), push)?;
    let jobs = plan
        .jobs
        .iter()
        .map(towpath_model::pipeline::run::Job::label);
    let targets = plan.targets.iter().map(|one| one.environment.to_string());
    Some((jobs.collect(), targets.collect()))
}

/// A run, and environments that do at once what they are told.
struct Play {
    run: Run,
    seen: Observation,
    now: Timestamp,
    events: Vec<NewEvent>,
    /// What was done, in words.
    deeds: Vec<String>,
    /// What jobs leave behind.
    left: Left,
    /// A result that is there for jobs which take one.
    result: Option<Reused>,
    /// Nobody can look at what they leave behind.
    is_blind: bool,
}

impl Play {
    fn new(text: &str, push: Push) -> Self {
        let plan = plan(&file(text), &push).unwrap();
        let now: Timestamp = "2026-01-15T09:00:00Z".parse().unwrap();
        Self {
            run: Run {
                app: push.app.clone(),
                number: RunNumber(7),
                push,
                release: ReleaseNumber(3),
                is_promotion: false,
                warnings: Vec::new(),
                is_hotfix: plan.is_hotfix,
                reach: plan.reach,
                created_at: now,
                jobs: plan.jobs,
                targets: plan.targets,
                stop: None,
                outcome: None,
                finished_at: None,
            },
            seen: Observation::default(),
            now,
            events: Vec::new(),
            deeds: Vec::new(),
            left: Left::default(),
            result: None,
            is_blind: false,
        }
    }

    /// Steps until nothing changes any more. Every step is taken twice: the second changes nothing,
    /// as after a crash.
    fn go(&mut self) {
        for _ in 0..100 {
            let next = step(&self.run, &self.seen, self.now);
            let again = step(&next.run, &self.seen, self.now);
            assert_eq!(again.run, next.run, "a step is level-triggered");
            assert!(again.events.is_empty(), "{:?}", again.events);
            self.events.extend(next.events);
            let before = (self.run.clone(), self.seen.clone());
            self.run = next.run;
            for action in &next.actions {
                self.act(action);
            }
            if before == (self.run.clone(), self.seen.clone()) {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.run);
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::LookUp { index } => {
                let job = &mut self.run.jobs[*index];
                self.deeds.push(format!("look up {}", job.label()));
                job.lookup = Some(Lookup {
                    inputs: Digest::of(b"inputs"),
                    secrets: BTreeMap::new(),
                    result: self.result.clone(),
                });
            }
            Action::StartJob { index } => {
                let job = &self.run.jobs[*index];
                self.deeds.push(format!("start {}", job.label()));
                let environment = job.attempts.last().unwrap().environment.clone();
                let deployment = Some(self.deployment(&environment, 1));
                let seen = JobEnvironment {
                    deployment,
                    ..JobEnvironment::default()
                };
                self.seen.jobs.insert(environment, seen);
            }
            Action::Look { .. } if self.is_blind => {}
            Action::Look { index, attempt } => {
                let label = self.run.jobs[*index].label();
                self.deeds.push(format!("look at {label}"));
                let attempts = &mut self.run.jobs[*index].attempts;
                let mut attempts = attempts.iter_mut();
                let one = attempts.find(|one| one.number == *attempt).unwrap();
                one.left = Some(self.left.clone());
            }
            Action::ClearJob { index, attempt } => {
                let attempts = &mut self.run.jobs[*index].attempts;
                let mut attempts = attempts.iter_mut();
                let one = attempts.find(|one| one.number == *attempt).unwrap();
                one.is_cleared = true;
                self.seen.jobs.remove(&one.environment);
            }
            Action::Deploy { environment } => {
                self.deeds.push(format!("deploy to {environment}"));
                let targets = &self.run.targets;
                let target = targets.iter().find(|one| &one.environment == environment);
                let deployment = self.deployment(environment, target.unwrap().attempt);
                let seen = self.seen.targets.entry(environment.clone()).or_default();
                seen.deployment = Some(deployment);
            }
            Action::Abort { environment, .. } => {
                self.deeds.push(format!("abort {environment}"));
                let seen = self.seen.targets.get_mut(environment).unwrap();
                let deployment = seen.deployment.as_mut().unwrap();
                deployment.failure = Some(failure("aborted by ada", self.now, true));
                deployment.phase = Phase::Ended(towpath_model::deployment::Outcome::Aborted);
            }
        }
    }

    fn deployment(&self, environment: &EnvironmentName, attempt: u32) -> Deployment {
        let id = EnvironmentId::new(self.run.app.clone(), environment.clone());
        let mut environment = Environment::new(id);
        let web = service("web", "v1", 1);
        let rendering = Rendering {
            services: [(web.spec.service.clone(), web)].into(),
            secrets: BTreeMap::new(),
            settings: Settings::default(),
            ..Rendering::default()
        };
        let request = Request {
            kind: Kind::Release,
            release: self.run.release,
            rendering: rendering.into(),
            settings: None,
            peers: BTreeMap::new(),
            actor: "ada".to_owned(),
            automatic: true,
        };
        let run = self.run.number;
        let origin = Origin { run, attempt };
        environment.request_for(origin, request, self.now).unwrap();
        environment.waiting.unwrap()
    }

    /// Has the program of a job's last attempt run, or end.
    fn job(&mut self, label: &str, state: ReleaseJob) {
        let mut jobs = self.run.jobs.iter();
        let job = jobs.find(|job| job.label() == label).unwrap();
        let environment = &job.attempts.last().unwrap().environment;
        let seen = self.seen.jobs.get_mut(environment).unwrap();
        let deployment = seen.deployment.as_mut().unwrap();
        if state == ReleaseJob::Failed {
            let reason = "release job `job` exited with code 3";
            deployment.last_failure = Some(failure(reason, self.now, false));
        }
        let own: ServiceName = "job".parse().unwrap();
        deployment.jobs.insert(own, state);
        self.go();
    }

    fn pass(&mut self, label: &str) {
        self.job(label, ReleaseJob::Succeeded);
    }

    /// Has all traffic of an environment be on the release.
    fn deliver(&mut self, environment: &str) {
        let now = self.now;
        self.change(environment, |deployment| deployment.shifted_at = Some(now));
    }

    fn change(&mut self, environment: &str, change: impl FnOnce(&mut Deployment)) {
        let seen = self.seen.targets.get_mut(&name(environment)).unwrap();
        change(seen.deployment.as_mut().unwrap());
        self.go();
    }

    fn end(&mut self, environment: &str, outcome: towpath_model::deployment::Outcome) {
        self.change(environment, |deployment| {
            deployment.phase = Phase::Ended(outcome);
        });
    }

    fn wait(&mut self, minutes: u64) {
        self.now += Duration::from_mins(minutes);
        self.go();
    }

    fn state(&self, environment: &str) -> &TargetState {
        let targets = &self.run.targets;
        let target = targets
            .iter()
            .find(|one| one.environment == name(environment));
        &target.unwrap().state
    }

    fn says(&self) -> Vec<&str> {
        self.events
            .iter()
            .map(|event| event.what.as_str())
            .collect()
    }

    fn decide(&mut self, approve: bool, actor: &str) -> Result<(), Refusal> {
        let production = name("production");
        let events = if approve {
            self.run.approve(&production, actor, None, self.now)?
        } else {
            self.run.reject(&production, actor, None, self.now)?
        };
        self.events.extend(events);
        self.go();
        Ok(())
    }
}

fn failure(reason: &str, at: Timestamp, aborted: bool) -> Failure {
    Failure {
        reason: reason.to_owned(),
        service: None,
        log_tail: Vec::new(),
        aborted,
        unheard: None,
        at,
    }
}

/// Goes on until the release waits for an approval before production.
fn before_production() -> Play {
    let mut play = Play::new(STORY, branch("main"));
    play.go();
    play.pass("lint");
    play.pass("unit");
    play.deliver("dev");
    play.wait(10);
    play.deliver("staging");
    play.pass("browse");
    play
}

use towpath_model::deployment::Outcome as Deployed;

#[test]
fn a_push_begins_what_the_file_says_of_its_branch_and_all_that_comes_after() {
    let all = begun(STORY, &branch("main")).unwrap();
    assert_eq!(all.0, ["lint", "unit", "browse"]);
    assert_eq!(all.1, ["dev", "staging", "production"]);
    let other = begun(STORY, &branch("topic")).unwrap();
    assert_eq!(other, (vec!["lint".to_owned(), "unit".to_owned()], vec![]));
    assert_eq!(
        begun(
            "environments: { dev: { deploy: { on: tag } } }\n",
            &branch("main")
        ),
        None
    );
}

#[test]
fn in_a_file_that_says_nothing_the_main_branch_comes_to_dev() {
    let dev = Some((vec![], vec!["dev".to_owned()]));
    assert_eq!(begun("", &branch("main")), dev);
    assert_eq!(begun("", &push(Reference::WorkingTree)), dev);
    assert_eq!(begun("", &branch("topic")), None);
    let two = "environments: { production: {}, dev: {} }\n";
    assert_eq!(begun(two, &branch("master")), dev);
    let only = begun("environments: { live: {} }\n", &branch("main")).unwrap();
    assert_eq!(only.1, ["live"]);
}

#[test]
fn tags_branches_and_paths_are_matched_by_patterns() {
    let text = "
environments:
  production: { deploy: { tag: 'v*' } }
  demo: { deploy: { branch: 'release/**', paths: ['web/**'] } }
";
    let tag = push(Reference::Tag("v1.2".to_owned()));
    assert_eq!(begun(text, &tag).unwrap().1, ["production"]);
    let changed = |path: &str| Push {
        changed: Some(vec![path.to_owned()]),
        ..branch("release/1/2")
    };
    assert_eq!(begun(text, &changed("web/a/b")).unwrap().1, ["demo"]);
    assert_eq!(begun(text, &changed("docs/a")), None);
    assert_eq!(
        begun(text, &branch("release/1")).unwrap().1,
        ["demo"],
        "nobody knows what changed"
    );
}

#[test]
fn a_matrix_is_a_job_for_each_combination_and_a_condition_leaves_jobs_out() {
    let text = "
pipeline:
  - name: unit
    run: ./unit
    matrix: { DB: [mysql, postgres], PYTHON: ['3.11', 3.12] }
  - { name: slow, run: ./slow, if: { branch: main } }
  - { name: last, run: ./last, needs: [unit, slow] }
";
    let labels = begun(text, &branch("topic")).unwrap().0;
    let expected = [
        "unit (mysql, 3.11)",
        "unit (mysql, 3.12)",
        "unit (postgres, 3.11)",
        "unit (postgres, 3.12)",
        "last",
    ];
    assert_eq!(labels, expected);
    let mut play = Play::new(text, branch("topic"));
    play.go();
    assert_eq!(
        play.deeds.len(),
        4,
        "all but the last one: {:?}",
        play.deeds
    );
    for label in expected.iter().take(4) {
        play.pass(label);
    }
    assert_eq!(play.deeds.last().unwrap(), "start last");
    play.pass("last");
    assert_eq!(play.run.outcome, Some(Outcome::Succeeded));
}

#[test]
fn a_run_goes_from_job_to_job_and_from_environment_to_environment() {
    let mut play = before_production();
    let way = [
        "start lint",
        "start unit",
        "deploy to dev",
        "deploy to staging",
        "start browse",
    ];
    assert_eq!(play.deeds, way);
    assert!(play.says().contains(&"approval.requested"));
    play.decide(true, "quinn").unwrap();
    assert_eq!(play.deeds.last().unwrap(), "deploy to production");
    play.deliver("production");
    assert_eq!(play.run.outcome, None, "it can still go back by itself");
    for environment in ["dev", "staging", "production"] {
        play.end(environment, Deployed::Succeeded);
    }
    assert_eq!(play.run.outcome, Some(Outcome::Succeeded));
    assert!(play.run.is_settled());
    assert_eq!(play.says().last(), Some(&"run.succeeded"));
}

#[test]
fn a_job_that_fails_is_tried_as_often_as_it_may_and_then_nothing_follows() {
    let mut play = Play::new(STORY, branch("main"));
    play.go();
    play.job("lint", ReleaseJob::Failed);
    assert_eq!(play.deeds, ["start lint", "start lint"]);
    let environments: Vec<String> = play.run.jobs[0]
        .attempts
        .iter()
        .map(|attempt| attempt.environment.to_string())
        .collect();
    assert_eq!(
        environments,
        ["ci-7-1-1", "ci-7-1-2"],
        "each attempt has its own"
    );
    play.job("lint", ReleaseJob::Failed);
    let reason = "exited with code 3".to_owned();
    assert_eq!(play.run.jobs[0].state, JobState::Failed { reason });
    assert!(matches!(play.run.jobs[1].state, JobState::Skipped { .. }));
    assert!(matches!(play.state("dev"), TargetState::Skipped { .. }));
    assert_eq!(play.run.outcome, Some(Outcome::Failed));
    assert_eq!(play.deeds.len(), 2);
}

#[test]
fn a_job_that_hangs_is_stopped_at_its_time_which_begins_with_its_program() {
    let mut play = Play::new(STORY, branch("main"));
    play.go();
    play.pass("lint");
    play.wait(29);
    assert_eq!(
        play.run.jobs[1].state,
        JobState::Active,
        "services take their time"
    );
    play.job("unit", ReleaseJob::Running { instance: 2 });
    play.wait(29);
    assert_eq!(play.run.jobs[1].state, JobState::Active);
    let wake = step(&play.run, &play.seen, play.now).wake_at.unwrap();
    assert_eq!(wake, play.now + Duration::from_mins(1));
    play.wait(1);
    let JobState::Failed { reason } = &play.run.jobs[1].state else {
        panic!("{:?}", play.run.jobs[1].state)
    };
    assert_eq!(reason, "timed out after 1800s");
    assert!(play.seen.jobs.is_empty(), "its environment is removed");
}

#[test]
fn a_job_whose_program_never_starts_is_given_up() {
    let mut play = Play::new(STORY, branch("main"));
    play.go();
    play.wait(30);
    play.wait(30);
    assert!(matches!(play.run.jobs[0].state, JobState::Failed { .. }));
    assert_eq!(play.run.jobs[0].attempts.len(), 2);
}

#[test]
fn a_release_stays_long_enough_in_the_environment_before() {
    let mut play = Play::new(STORY, branch("main"));
    play.go();
    play.pass("lint");
    play.pass("unit");
    play.deliver("dev");
    let wake = step(&play.run, &play.seen, play.now).wake_at.unwrap();
    assert_eq!(wake, play.now + Duration::from_mins(10));
    play.wait(9);
    assert_eq!(play.deeds.last().unwrap(), "deploy to dev");
    play.wait(1);
    assert_eq!(play.deeds.last().unwrap(), "deploy to staging");
}

#[test]
fn an_environment_waits_for_the_jobs_that_look_at_the_one_before() {
    let mut play = before_production();
    assert!(matches!(
        play.state("production"),
        TargetState::Gated { .. }
    ));
    let mut play_bad = Play::new(STORY, branch("main"));
    play_bad.go();
    play_bad.pass("lint");
    play_bad.pass("unit");
    play_bad.deliver("dev");
    play_bad.wait(10);
    play_bad.deliver("staging");
    assert_eq!(play_bad.state("production"), &TargetState::Waiting);
    play_bad.job("browse", ReleaseJob::Failed);
    assert!(matches!(
        play_bad.state("production"),
        TargetState::Skipped { .. }
    ));
    // What is delivered stays, and goes on to its end.
    assert_eq!(play_bad.run.outcome, None);
    play_bad.end("dev", Deployed::Succeeded);
    play_bad.end("staging", Deployed::Succeeded);
    assert_eq!(play_bad.run.outcome, Some(Outcome::Failed));
    play.wait(1);
}

#[test]
fn a_deployment_that_goes_back_ends_the_way_of_its_release() {
    let mut play = Play::new(STORY, branch("main"));
    play.go();
    play.pass("lint");
    play.pass("unit");
    play.deliver("dev");
    let now = play.now;
    play.change("dev", |deployment| {
        deployment.failure = Some(failure("too many errors", now, false));
    });
    play.end("dev", Deployed::RolledBack);
    let TargetState::Failed { reason } = play.state("dev") else {
        panic!("{:?}", play.state("dev"))
    };
    assert_eq!(reason, "failed (rolled back): too many errors");
    assert!(matches!(play.state("staging"), TargetState::Skipped { .. }));
    assert_eq!(play.run.outcome, Some(Outcome::Failed));
}

#[test]
fn only_who_may_approves_and_only_once() {
    let mut play = before_production();
    assert_eq!(
        play.decide(true, "ada"),
        Err(Refusal::Author("ada".to_owned()))
    );
    let refused = play.decide(true, "mallory").unwrap_err();
    assert!(matches!(refused, Refusal::NotMember { .. }), "{refused}");
    assert!(refused.is_of_person());
    assert_eq!(
        play.run.approve(&name("dev"), "quinn", None, play.now),
        Err(Refusal::NotAwaited(name("dev")))
    );
    play.decide(true, "quinn").unwrap();
    let late = play.decide(true, "quinn").unwrap_err();
    assert_eq!(late, Refusal::NotAwaited(name("production")));
}

#[test]
fn as_many_have_to_approve_as_the_file_says() {
    let text = "environments: { dev: { deploy: { branch: main, approvals: 2 } } }\n";
    let mut play = Play::new(text, branch("main"));
    play.go();
    let dev = name("dev");
    play.run.approve(&dev, "ada", None, play.now).unwrap();
    play.go();
    assert!(play.deeds.is_empty());
    let twice = play.run.approve(&dev, "ada", None, play.now);
    assert_eq!(twice, Err(Refusal::Twice("ada".to_owned())));
    play.run.approve(&dev, "bob", None, play.now).unwrap();
    play.go();
    assert_eq!(play.deeds, ["deploy to dev"]);
}

#[test]
fn what_nobody_approves_in_time_and_what_somebody_rejects_does_not_come() {
    let mut play = before_production();
    play.wait(119);
    assert!(matches!(
        play.state("production"),
        TargetState::Gated { .. }
    ));
    play.wait(1);
    assert!(matches!(
        play.state("production"),
        TargetState::Failed { .. }
    ));
    let mut play = before_production();
    play.decide(false, "quinn").unwrap();
    let TargetState::Failed { reason } = play.state("production") else {
        panic!("{:?}", play.state("production"))
    };
    assert_eq!(reason, "rejected by quinn");
}

#[test]
fn a_closed_window_a_freeze_and_a_hold_keep_a_release_waiting() {
    let mut play = before_production();
    // Until the evening: the window of the file is over.
    play.now = "2026-01-15T11:00:00Z".parse().unwrap();
    play.decide(true, "quinn").unwrap();
    assert_eq!(
        play.deeds.last().unwrap(),
        "deploy to production",
        "it is open at noon"
    );

    let text = "
environments:
  dev:
    deploy: { branch: main, windows: ['Mon-Fri 10:00-16:00'], freezes: ['2026-01-16..2026-01-18'] }
";
    let mut play = Play::new(text, branch("main"));
    play.seen.targets.insert(
        name("dev"),
        TargetEnvironment {
            hold: Some("it was rolled back".to_owned()),
            ..TargetEnvironment::default()
        },
    );
    play.go();
    assert_eq!(play.run.state().to_string(), "held");
    play.now = "2026-01-16T12:00:00Z".parse().unwrap();
    play.go();
    assert!(play.deeds.is_empty(), "it is frozen");
    play.now = "2026-01-19T12:00:00Z".parse().unwrap();
    play.go();
    assert!(play.deeds.is_empty(), "it is on hold");
    play.seen.targets.get_mut(&name("dev")).unwrap().hold = None;
    play.go();
    assert_eq!(play.deeds, ["deploy to dev"]);
}

#[test]
fn a_release_does_not_take_the_place_of_a_newer_one_by_itself() {
    let mut play = Play::new("", branch("main"));
    let newer = TargetEnvironment {
        stable: Some(ReleaseNumber(4)),
        ..TargetEnvironment::default()
    };
    play.seen.targets.insert(name("dev"), newer);
    let mut meant = Play::new("", branch("main"));
    meant.run.is_promotion = true;
    meant.seen = play.seen.clone();
    play.go();
    assert!(matches!(play.state("dev"), TargetState::Skipped { .. }));
    meant.go();
    assert_eq!(meant.deeds, ["deploy to dev"]);
}

#[test]
fn who_cancels_stops_jobs_and_the_deployment_that_is_under_way() {
    let mut play = Play::new(STORY, branch("main"));
    play.go();
    play.run.cancel("ada", play.now).unwrap();
    play.go();
    assert!(
        play.run
            .jobs
            .iter()
            .all(|job| job.state == JobState::Cancelled)
    );
    assert_eq!(play.run.outcome, Some(Outcome::Cancelled));
    assert!(play.run.is_settled());

    let mut play = Play::new("", branch("main"));
    play.go();
    play.run.cancel("ada", play.now).unwrap();
    play.go();
    assert_eq!(play.deeds, ["deploy to dev", "abort dev"]);
    assert_eq!(play.run.outcome, Some(Outcome::Cancelled));
    assert_eq!(play.run.cancel("ada", play.now), Err(Refusal::Ended));
}

#[test]
fn a_newer_run_takes_the_place_of_an_older_one_but_for_a_deployment_under_way() {
    let mut play = before_production();
    play.run.supersede("run 8", play.now).unwrap();
    play.go();
    assert_eq!(play.state("production"), &TargetState::Cancelled);
    assert_eq!(
        play.run.outcome, None,
        "what was delivered goes on to its end"
    );
    play.end("dev", Deployed::Succeeded);
    play.end("staging", Deployed::Succeeded);
    assert_eq!(play.run.outcome, Some(Outcome::Superseded));

    let mut play = Play::new("", branch("main"));
    play.go();
    play.run.supersede("run 8", play.now).unwrap();
    play.go();
    assert_eq!(play.deeds, ["deploy to dev"], "nothing is aborted");
    play.end("dev", Deployed::Succeeded);
    assert_eq!(play.run.outcome, Some(Outcome::Succeeded));
}

#[test]
fn a_retry_begins_what_failed_again_and_nothing_else() {
    let mut play = Play::new(STORY, branch("main"));
    play.go();
    assert_eq!(play.run.retry("ada", play.now), Err(Refusal::NotEnded));
    play.pass("lint");
    play.job("unit", ReleaseJob::Failed);
    assert_eq!(play.run.outcome, Some(Outcome::Failed));
    play.run.retry("ada", play.now).unwrap();
    play.go();
    assert_eq!(play.deeds, ["start lint", "start unit", "start unit"]);
    play.pass("unit");
    play.end("dev", Deployed::Failed);
    play.run.retry("ada", play.now).unwrap();
    let seen = play.seen.targets.get_mut(&name("dev")).unwrap();
    seen.deployment = None;
    play.go();
    assert_eq!(play.run.targets[0].attempt, 3, "each retry is an attempt");
    assert_eq!(play.deeds.last().unwrap(), "deploy to dev");
}

#[test]
fn a_promotion_is_one_environment_with_its_gates_and_the_jobs_that_look_at_it() {
    let plan = promotion(&file(STORY), &branch("main"), &name("staging")).unwrap();
    assert_eq!(plan.targets.len(), 1);
    assert_eq!(plan.targets[0].after, None, "it comes by somebody's wish");
    let jobs: Vec<String> = plan.jobs.iter().map(|job| job.name.to_string()).collect();
    assert_eq!(jobs, ["browse"]);
    assert_eq!(
        promotion(&file(STORY), &branch("main"), &name("nowhere")),
        None
    );
}

#[test]
fn a_run_survives_a_round_trip_through_json() {
    let play = before_production();
    let json = serde_json::to_value(&play.run).unwrap();
    let back: Run = serde_json::from_value(json).unwrap();
    assert_eq!(back, play.run);
}
