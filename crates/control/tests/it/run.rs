//! A run's whole life over a real store: begun by a push, held up, taken up again by the next control
//! plane.

mod caches;

use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use towpath_control::{BringRelease, Brought, Decision, Error, Kind, Promote, RunLogQuery};
use towpath_model::id::{Digest, EnvironmentId, ReleaseNumber, RunId, RunNumber};
use towpath_model::pipeline::run::{JobState, Outcome, Run, TargetState};
use towpath_model::pipeline::{Push, Reference};
use towpath_model::tree::{EntryKind, Tree, TreePath};
use towpath_model::workload::SecretValue;
use towpath_testkit::world::World;

use crate::site::{Site, open};

/// Two environments, the second behind an approval, and a job that passes.
const FILE: &str = "
app: shop
rollout: { bake: 0s, drain: 0s }
services: { web: { process: { command: serve, source: true } } }
environments:
  dev: { deploy: { branch: main } }
  live: { deploy: { after: dev, approvals: 1 } }
pipeline:
  - { name: unit, run: done }
";

const COMPOSE: &str = "services: { web: { image: web } }\n";

impl Site {
    /// Stores a tree with these files, as an upload does.
    async fn store(&self, files: &[(&str, &str)]) -> Digest {
        let incoming = self.platform.incoming().unwrap();
        let file = std::fs::File::create(incoming.archive()).unwrap();
        let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
        let mut tree = Tree::default();
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(text.len()).unwrap());
            header.set_mode(0o644);
            archive
                .append_data(&mut header, name, text.as_bytes())
                .unwrap();
            let digest = Digest::of(text.as_bytes());
            tree.insert(TreePath::new(name).unwrap(), EntryKind::File, digest);
        }
        archive.into_inner().unwrap().finish().unwrap();
        let digest = tree.digest();
        if !self.platform.source_exists(&digest).await.unwrap() {
            let installed = self.platform.install_upload(incoming, &digest);
            installed.await.unwrap();
        }
        digest
    }

    pub(crate) async fn push(&self, commit: &str, file: &str) -> Result<Option<RunNumber>, Error> {
        let main = Reference::Branch("main".to_owned());
        self.push_to(main, file, (commit, commit)).await
    }

    /// Has a commit come to a reference, whose tree has this version.
    async fn push_to(
        &self,
        reference: Reference,
        file: &str,
        (commit, version): (&str, &str),
    ) -> Result<Option<RunNumber>, Error> {
        let files = [
            ("towpath.yaml", file),
            ("compose.yaml", COMPOSE),
            ("version", version),
        ];
        let source = self.store(&files).await;
        let push = Push {
            app: "shop".parse().unwrap(),
            source,
            commit: commit.to_owned(),
            reference,
            changed: None,
            author: "ada".to_owned(),
            message: String::new(),
            actor: "ada".to_owned(),
        };
        self.platform.submit(push).await
    }

    pub(crate) async fn run_until(
        &self,
        number: u32,
        what: &str,
        done: impl Fn(&Run) -> bool,
    ) -> Run {
        for _ in 0..2_000 {
            let run = self.platform.show_run(&id(number)).await.unwrap();
            if done(&run) {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let run = self.platform.show_run(&id(number)).await.unwrap();
        panic!("never {what}: {run:#?}");
    }

    async fn run_until_seen(&self, number: u32, mut done: impl FnMut(&Run) -> bool) {
        for _ in 0..4_000 {
            if done(&self.platform.show_run(&id(number)).await.unwrap()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("never done");
    }

    pub(crate) async fn restarted(self) -> Self {
        self.platform.shutdown().await;
        let Self {
            directory,
            world,
            platform,
        } = self;
        drop(platform);
        let platform = open(&directory, &world).await;
        Self {
            directory,
            world,
            platform,
        }
    }

    async fn approve(&self, number: u32) -> Result<(), Error> {
        let decision = Decision {
            environment: "live".parse().unwrap(),
            approve: true,
            comment: None,
            actor: "quinn".to_owned(),
        };
        self.platform.decide(&id(number), decision).await
    }

    fn stable(&self, environment: &str) -> Option<u32> {
        let id: EnvironmentId = format!("shop/{environment}").parse().unwrap();
        let snapshot = self.platform.snapshot(&id).ok()?;
        Some(snapshot.environment.stable?.0)
    }
}

fn id(number: u32) -> RunId {
    RunId::new("shop".parse().unwrap(), RunNumber(number))
}

fn waits_for_approval(run: &Run) -> bool {
    run.state().to_string() == "awaiting approval"
        && run
            .targets
            .iter()
            .any(|one| one.state == TargetState::Succeeded)
}

#[tokio::test]
async fn a_run_that_waits_is_taken_up_by_the_next_control_plane() {
    let site = Site::new().await;
    assert_eq!(site.push("one", FILE).await.unwrap(), Some(RunNumber(1)));
    site.run_until(1, "waiting", waits_for_approval).await;
    assert_eq!(site.stable("dev"), Some(1));
    let starts = site.world.starts();
    let site = site.restarted().await;
    site.run_until(1, "waiting", waits_for_approval).await;
    assert_eq!(site.world.starts(), starts, "nothing is done twice");
    site.approve(1).await.unwrap();
    let run = site.run_until(1, "settled", Run::is_settled).await;
    assert_eq!(run.outcome, Some(Outcome::Succeeded));
    assert_eq!(site.stable("live"), Some(1));
    let jobs = site.platform.environments();
    assert!(
        jobs.iter().all(|id| !id.name.as_str().starts_with("ci-")),
        "{jobs:?}"
    );
    // Over is over, though its keeper has gone.
    let late = site.approve(1).await.unwrap_err();
    assert_eq!(late.kind(), Kind::Refused);
}

#[tokio::test]
async fn the_same_push_is_one_run_and_the_next_one_takes_its_place() {
    let site = Site::new().await;
    assert_eq!(site.push("one", FILE).await.unwrap(), Some(RunNumber(1)));
    assert_eq!(site.push("one", FILE).await.unwrap(), Some(RunNumber(1)));
    site.run_until(1, "waiting", waits_for_approval).await;
    assert_eq!(site.push("two", FILE).await.unwrap(), Some(RunNumber(2)));
    let first = site
        .run_until(1, "ended", |run| run.outcome.is_some())
        .await;
    assert_eq!(first.outcome, Some(Outcome::Superseded));
    site.run_until(2, "waiting", waits_for_approval).await;
    assert_eq!(site.stable("dev"), Some(2));
    // The branch goes back: that is a push of its own.
    assert_eq!(site.push("one", FILE).await.unwrap(), Some(RunNumber(3)));
}

#[tokio::test]
async fn files_that_are_wrong_begin_nothing_and_are_refused_with_their_place() {
    let site = Site::new().await;
    let bad = FILE.replace("run: done", "run: done, services: [wep]");
    let refused = site.push("one", &bad).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);
    let words = refused.to_string();
    assert!(words.contains("towpath.yaml:9:41"), "{words}");
    let nothing = FILE.replace("pipeline:\n  - { name: unit, run: done }\n", "");
    let nothing = nothing.replace("branch: main", "branch: other");
    assert_eq!(site.push("two", &nothing).await.unwrap(), None);
    let runs = site
        .platform
        .runs(&"shop".parse().unwrap(), 10)
        .await
        .unwrap();
    assert!(runs.is_empty());
    assert!(
        site.platform
            .releases(&"shop".parse().unwrap())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_job_that_can_never_begin_is_given_up_with_the_reason() {
    let site = Site::new().await;
    let file = FILE.replace("run: done", "run: done, secrets: { TOKEN: token }");
    site.push("one", &file).await.unwrap();
    let run = site.run_until(1, "settled", Run::is_settled).await;
    let JobState::Failed { reason } = &run.jobs[0].state else {
        panic!("{run:#?}")
    };
    assert!(
        reason.contains("secrets without a value: `token`"),
        "{reason}"
    );
    assert_eq!(site.world.running(), Vec::<String>::new());
}

#[tokio::test]
async fn a_promotion_wants_a_release_that_was_in_the_environment_before() {
    let site = Site::new().await;
    let bad = FILE.replace("run: done", "run: bad");
    site.push("one", &bad).await.unwrap();
    site.run_until(1, "settled", Run::is_settled).await;
    let promote = |release| Promote {
        app: "shop".parse().unwrap(),
        environment: "live".parse().unwrap(),
        release,
        strategy: None,
        actor: "quinn".to_owned(),
    };
    let refused = site.platform.promote(promote(None)).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound, "{refused}");
    site.push("two", FILE).await.unwrap();
    site.run_until(2, "waiting", waits_for_approval).await;
    let first = Some(towpath_model::id::ReleaseNumber(1));
    let refused = site.platform.promote(promote(first)).await.unwrap_err();
    assert!(
        refused.to_string().contains("never in `shop/dev`"),
        "{refused}"
    );
    let number = site.platform.promote(promote(None)).await.unwrap();
    assert_eq!(number, RunNumber(3));
    site.run_until(3, "waiting", |run| {
        run.state().to_string() == "awaiting approval"
    })
    .await;
    site.approve(3).await.unwrap();
    let run = site.run_until(3, "settled", Run::is_settled).await;
    assert_eq!(run.outcome, Some(Outcome::Succeeded));
    assert_eq!(site.stable("live"), Some(2));
}

#[tokio::test]
async fn an_attempt_is_asked_for_by_its_run_and_number_alone() {
    let site = Site::new().await;
    site.push("one", FILE).await.unwrap();
    site.run_until(1, "waiting", waits_for_approval).await;
    let dev: EnvironmentId = "shop/dev".parse().unwrap();
    let deployments = site.platform.deployments(&dev, 10).await.unwrap();
    let origins: Vec<_> = deployments.iter().map(|one| one.origin).collect();
    let origin = towpath_model::deployment::Origin {
        run: RunNumber(1),
        attempt: 1,
    };
    assert_eq!(origins, [Some(origin)]);
    let world: &World = &site.world;
    assert_eq!(world.running(), ["web-1"]);
}

#[tokio::test]
async fn what_is_unwise_in_the_files_is_kept_with_the_run() {
    let site = Site::new().await;
    let compose = "services: { web: { image: web, environment: { COLOUR: \"${NOBODY}\" } } }\n";
    let files = [("towpath.yaml", FILE), ("compose.yaml", compose)];
    let push = Push {
        app: "shop".parse().unwrap(),
        source: site.store(&files).await,
        commit: String::new(),
        reference: Reference::Branch("main".to_owned()),
        changed: None,
        author: "ada".to_owned(),
        message: String::new(),
        actor: "ada".to_owned(),
    };
    site.platform.submit(push).await.unwrap();
    let run = site.platform.show_run(&id(1)).await.unwrap();
    assert_eq!(run.warnings.len(), 1, "said once: {:?}", run.warnings);
    assert!(run.warnings[0].contains("NOBODY"), "{:?}", run.warnings);
    assert!(
        run.warnings[0].contains("compose.yaml:1:"),
        "{:?}",
        run.warnings
    );
}

#[tokio::test]
async fn what_is_stable_says_what_a_push_waits_for_and_a_release_that_was_never_checked_stays_out()
{
    let site = Site::new().await;
    site.push("one", FILE).await.unwrap();
    site.run_until(1, "waiting", waits_for_approval).await;
    site.approve(1).await.unwrap();
    site.run_until(1, "settled", Run::is_settled).await;
    // The next push leaves the approval out, and the one after that the job.
    let weaker = FILE.replace(", approvals: 1", "");
    site.push("two", &weaker).await.unwrap();
    let run = site.run_until(2, "waiting", waits_for_approval).await;
    let live = run.targets.last().unwrap();
    assert_eq!(live.gates.approvals.as_ref().unwrap().count, 1);
    let bad = weaker.replace("run: done", "run: bad");
    site.push("three", &bad).await.unwrap();
    site.run_until(3, "settled", Run::is_settled).await;
    let dev: EnvironmentId = "shop/dev".parse().unwrap();
    let bring = |release| BringRelease {
        release: ReleaseNumber(release),
        strategy: None,
        actor: "ada".to_owned(),
        past_gates: None,
    };
    // `dev` demands nothing: what failed its job may come there by somebody's hand, and no further.
    let brought = site.platform.bring_release(&dev, bring(3)).await.unwrap();
    assert!(matches!(brought, Brought::Deployment(..)), "{brought:?}");
    for _ in 0..2_000 {
        if site.stable("dev") == Some(3) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let live: EnvironmentId = "shop/live".parse().unwrap();
    let refused = site
        .platform
        .bring_release(&live, bring(3))
        .await
        .unwrap_err();
    let words = refused.to_string();
    assert!(words.contains("jobs of release 3 did not pass"), "{words}");
    let brought = site.platform.bring_release(&live, bring(2)).await.unwrap();
    assert!(matches!(brought, Brought::Run(..)), "{brought:?}");
}

/// A job that leaves reports and files behind, one that needs them, and one that fails with a secret
/// in its last words.
const LEAVES: &str = "
app: shop
services: { web: { process: { command: serve, source: true } } }
environments: { dev: {} }
pipeline:
  - { name: build, run: done, reports: '**/*.xml', artifacts: [dist] }
  - { name: next, run: done, needs: [build] }
  - { name: greedy, run: done, artifacts: [nothing] }
  - { name: fails, run: bad, secrets: { KEY: key }, artifacts: { paths: [dist], when: always } }
";

const REPORT: &[u8] =
    b"<testsuite><testcase name='adds'/>\n<testcase classname='Cart' name='sends'>\
<failure message='got the last line'/></testcase></testsuite>";

#[tokio::test]
async fn what_jobs_leave_behind_is_kept_read_and_given_to_those_that_need_it() {
    let site = Site::new().await;
    let dev: EnvironmentId = "shop/dev".parse().unwrap();
    site.platform.create_environment(&dev, "ada").await.unwrap();
    let key = "key".parse().unwrap();
    // Instances of the world end with this line.
    let value = SecretValue::new(b"the last line".to_vec());
    let set = site.platform.set_secret(&dev, &key, &value, "ada");
    set.await.unwrap();
    let files: [(&str, &[u8]); 4] = [
        ("dist/app", b"program"),
        ("reports/a.xml", REPORT),
        ("reports/b.xml", b"<testsuite>\n<broken"),
        ("src/main", b"text"),
    ];
    site.world.set_left(&files);
    site.push("one", LEAVES).await.unwrap();
    let run = site.run_until(1, "settled", Run::is_settled).await;
    let [build, next, greedy, fails] = &run.jobs[..] else {
        panic!("{run:#?}");
    };
    assert_eq!(build.state, JobState::Succeeded, "{build:#?}");
    let left = build.attempts[0].left.as_ref().unwrap();
    let tests = left.tests.as_ref().unwrap();
    assert_eq!((tests.files, tests.tests, tests.failures), (1, 2, 1));
    assert_eq!(tests.unreadable.len(), 1, "{tests:?}");
    let broken = tests.unreadable.first().unwrap();
    assert!(broken.starts_with("reports/b.xml:2: "), "{broken}");
    assert_eq!(left.artifacts.as_ref().unwrap().files, 1);
    assert_eq!(next.state, JobState::Succeeded);
    let own = "job".parse().unwrap();
    let environment = run.environment(&next.attempts[0].environment);
    let given = site.world.given_files(&environment, &own);
    assert_eq!(given.len(), 1);
    let file = site.platform.run_artifacts(&id(1), build.number).await;
    let mut bytes = Vec::new();
    let mut file = file.unwrap();
    tokio::io::AsyncReadExt::read_to_end(&mut file, &mut bytes)
        .await
        .unwrap();
    assert_eq!(bytes, given[0]);
    let none = site.platform.run_artifacts(&id(1), next.number).await;
    assert_eq!(none.unwrap_err().kind(), Kind::NotFound);
    let reason = "its artifacts cannot be kept: no file is called nothing".to_owned();
    assert_eq!(greedy.state, JobState::Failed { reason });
    assert!(fails.kept_artifacts().is_some());
    // The end of the log says what the reports said, and nothing has the value of the secret.
    let query = RunLogQuery {
        job: build.number,
        attempt: None,
        follow: true,
        only_job: true,
    };
    let mut log = site.platform.run_log(&id(1), &query).await.unwrap();
    let mut lines = Vec::new();
    while let Some(line) = log.next().await.unwrap() {
        lines.push(line.text);
    }
    let wanted = [
        "job-1 speaks",
        "tests: 2 tests, 1 failed in 0.0 s",
        "  failed: Cart: sends: got the last line",
    ];
    assert_eq!(lines[..3], wanted, "{lines:?}");
}

#[tokio::test]
async fn the_last_words_of_a_job_are_written_down_without_the_values_of_its_secrets() {
    let site = Site::new().await;
    let dev: EnvironmentId = "shop/dev".parse().unwrap();
    site.platform.create_environment(&dev, "ada").await.unwrap();
    let key = "key".parse().unwrap();
    let value = SecretValue::new(b"the last line".to_vec());
    let set = site.platform.set_secret(&dev, &key, &value, "ada");
    set.await.unwrap();
    site.push("one", LEAVES).await.unwrap();
    let mut seen = false;
    let is_settled = |run: &Run| {
        let job = run.jobs.last().unwrap();
        if let Some(attempt) = job.attempts.first()
            && let Ok(snapshot) = site
                .platform
                .snapshot(&run.environment(&attempt.environment))
        {
            let text = format!("{snapshot:?}");
            assert!(!text.contains("the last line"), "{text}");
            seen |= text.contains("\"***\"");
        }
        run.is_settled()
    };
    site.run_until_seen(1, is_settled).await;
    assert!(seen, "nobody saw how the job ended");
    let query = towpath_control::EventQuery::default();
    let events = site.platform.events(&query).await.unwrap();
    assert!(
        !format!("{events:?}").contains("the last line"),
        "{events:?}"
    );
}
