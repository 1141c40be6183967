//! A team's whole way from push to production, with a real Git, on each engine by the same code: the
//! raffle of the examples, with `MariaDB` and Redis beside its checks; a good release under load, one
//! that the acceptance job stops, one that gets through and is rolled back, a stack of QA's own, a
//! hotfix.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;
use towpath_api::client::Client;
use towpath_api::{DecisionRequest, Run, RunPartState, RunState};
use towpath_load::{Handle, LoadPlan, Stream};

use crate::docker::cli::{Docker, run};
use crate::docker::leftovers::Leftovers;
use crate::git::{commit, git};
use crate::notify::inbox::{Inbox, Posted};
use crate::site::{Answer, Site, assert_none_lost, free_port};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/raffle");

/// The image that all of it is made of on Docker.
const BASE: &str = "towpath-raffle/debian:1";

/// The header in which the raffle says which version answers.
const VERSION: &str = "x-raffle-version";

/// More people than the release that is not made for a crowd gets along with.
const CROWD: u64 = 60;

/// The longest that anything which is waited for may take: databases are made and images built.
const PATIENCE: Duration = Duration::from_mins(2);

/// The team: its repository, its control plane, and where its messages arrive.
struct Team {
    site: Site,
    work: PathBuf,
    url: String,
    dev: u16,
    cards: Inbox<Posted>,
    mails: Inbox<String>,
    _leftovers: Option<Leftovers>,
}

impl Team {
    async fn on(engine: &str) -> Self {
        let leftovers = match engine {
            "docker" => {
                make_base().await;
                Some(Leftovers::of("raffle", &Docker::default()))
            }
            _ => None,
        };
        let mut site = Site::new().listening();
        site.serve().await;
        let token = site.client().create_token("laptop").await.unwrap().secret;
        let team = Self {
            work: site.root().join("app"),
            url: format!("http://ada:{token}@{}/git/raffle", site.api_address()),
            dev: free_port(),
            cards: Inbox::<Posted>::web().await,
            mails: Inbox::<String>::mail().await,
            site,
            _leftovers: leftovers,
        };
        team.put_example(engine);
        git(&team.work, &["init", "--quiet", "--initial-branch=main"])
            .await
            .exited(0);
        for environment in ["dev", "staging", "production"] {
            let create = ["env", "create", environment];
            team.site.run(&create).await.exited(0);
            let set = ["secret", "set", environment, "db-password"];
            let password = format!("{environment}-s3cret-of-the-raffle");
            let set = team.site.run_with_input(&set, password.as_bytes());
            set.await.exited(0);
        }
        team
    }

    /// Writes the example into the repository: on an engine, at ports of this machine that are free,
    /// with the messages to these inboxes.
    fn put_example(&self, engine: &str) {
        for entry in std::fs::read_dir(EXAMPLE).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::copy(&path, self.work.join(path.file_name().unwrap())).unwrap();
            }
        }
        let staging = free_port().to_string();
        let production = self.site.address().port().to_string();
        let dev = format!(
            "deploy: {{ branch: main }}\n    variables: {{ WEB_PORT: \"{}\" }}",
            self.dev
        );
        let mut file = std::fs::read_to_string(self.work.join("towpath.yaml")).unwrap();
        for (old, new) in [
            ("engine: process", format!("engine: {engine}")),
            ("deploy: { branch: main }", dev),
            ("\"8081\"", format!("\"{staging}\"")),
            ("\"8082\"", format!("\"{production}\"")),
            ("bake: 30s", "bake: 5s".to_owned()),
        ] {
            assert!(file.contains(old), "{old}: {file}");
            file = file.replace(old, &new);
        }
        // No two builds give the same image.
        let compose = std::fs::read_to_string(self.work.join("compose.yaml")).unwrap();
        let fresh = compose.replace("build: .\n", "build: { context: ., no_cache: true }\n");
        assert_ne!(fresh, compose);
        self.site.write("compose.yaml", &fresh);
        let mails = self.mails.address();
        let notify = format!(
            r#"
notify:
  team:
    teams: {{ url: "{}" }}
    on: ["approval.requested", "deployment.failed", "run.failed"]
    group: "0"
  office:
    smtp: {{ host: "{}", port: {}, tls: none, from: towpath@example.com, to: qa@example.com }}
    on: ["approval.requested", "deployment.failed", "run.failed"]
    group: "0"
"#,
            self.cards.url("/card"),
            mails.ip(),
            mails.port(),
        );
        self.site.write("towpath.yaml", &format!("{file}{notify}"));
    }

    fn production(&self) -> u16 {
        self.site.address().port()
    }

    /// Commits a version.
    async fn commit(&self, version: u32, fault: &str) {
        let text = format!("VERSION = \"{version}\"\nFAULT = \"{fault}\"\n");
        self.site.write("version.py", &text);
        commit(&self.work, &format!("Version {version}")).await;
    }

    /// Tags the last commit, and pushes the tag.
    async fn tag(&self, tag: &str) -> Answer {
        git(&self.work, &["tag", tag]).await.exited(0);
        self.push(tag).await
    }

    async fn push(&self, what: &str) -> Answer {
        git(&self.work, &["push", &self.url, what]).await
    }

    /// Waits until a run is as `done` wants it.
    async fn wait_for(&self, number: u32, what: &str, done: impl Fn(&Run) -> bool) -> Run {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let run = self.site.client().run_record("raffle", number).await;
            let run = run.unwrap();
            if done(&run) {
                return run;
            }
            let late = Instant::now() >= deadline;
            assert!(!late, "never {what}: {run:#?}\n{}", self.site.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a release is to be approved for production, which QA is told of; says yes; waits for
    /// the end of its run.
    async fn approve(&self, number: u32) -> Run {
        let is_asked = |run: &Run| {
            let last = run.environments.last();
            last.is_some_and(|last| last.state == RunPartState::AwaitingApproval)
        };
        self.wait_for(number, "to be approved", is_asked).await;
        // Whoever is not of QA is not asked.
        self.site.run(&["approve", "production"]).await.exited(4);
        let quinn = Client::unix(self.site.home().join("towpath.sock"), "quinn");
        let yes = DecisionRequest {
            approve: true,
            comment: None,
        };
        let decided = quinn.decide_run("raffle", number, "production", &yes);
        decided.await.unwrap();
        self.wait_for(number, "ended", |run| run.ended).await
    }

    async fn log_of(&self, number: u32, job: &str) -> String {
        let number = number.to_string();
        let words = ["runs", "logs", &number, job];
        self.site.run(&words).await.exited(0).stdout
    }

    /// Waits until a card and a mail have arrived in which all these words are.
    async fn told(&self, words: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        let has_all = |text: &str| words.iter().all(|word| text.contains(word));
        loop {
            let cards: Vec<String> = self.cards.all().iter().map(card).collect();
            let mails = self.mails.all();
            if cards.iter().any(|text| has_all(text)) && mails.iter().any(|text| has_all(text)) {
                return;
            }
            let late = Instant::now() >= deadline;
            assert!(!late, "{words:?} are never told: {cards:#?} {mails:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Has people look at the raffle in production, and enter it.
    fn load(&self) -> Handle {
        let of_raffle = |stream: Stream| stream.versioned_by(VERSION).within(PATIENCE);
        let plan = LoadPlan {
            target: self.site.address(),
            host: "raffle.example".to_owned(),
            streams: vec![
                of_raffle(Stream::plain("/", 20.0)).expecting("version"),
                of_raffle(Stream::keep_alive("/winner", 20.0)).expecting("winner"),
                of_raffle(Stream::keep_alive("/entries", 10.0))
                    .named("enter")
                    .posting("text/plain", "visitor {n}")
                    .expecting("entered"),
            ],
        };
        plan.start().unwrap()
    }

    /// Returns what an environment's page says: the version, and how many entered.
    async fn page(&self, port: u16) -> (String, u64) {
        let url = format!("http://127.0.0.1:{port}/");
        let page = run(tokio::process::Command::new("curl").args(["-sSf", &url])).await;
        let page: serde_json::Value = serde_json::from_str(&page).expect(&page);
        let version = page["version"].as_str().unwrap().to_owned();
        (version, page["entries"].as_u64().unwrap())
    }
}

fn card(posted: &Posted) -> String {
    let card = posted.json();
    let kind = &card["attachments"][0]["content"]["type"];
    assert_eq!(kind, "AdaptiveCard", "{card:#}");
    card.to_string()
}

/// Makes the base image, unless it is there.
async fn make_base() {
    let found = Docker::default().lines(&["images", "-q", BASE]).await;
    if found.is_empty() {
        let script = Path::new(EXAMPLE).join("base");
        run(&mut tokio::process::Command::new(script)).await;
    }
}

/// Refuses a run whose release is another image in production than it was in staging.
async fn assert_same_image(run: &Run) {
    let mut ids = Vec::new();
    for environment in ["staging", "production"] {
        let name = format!("towpath/raffle-{environment}-web:r{}", run.release);
        let words = ["image", "inspect", "--format", "{{.Id}}", &name];
        ids.push(Docker::default().run(&words).await);
    }
    assert_eq!(ids[0], ids[1]);
}

/// A push is checked, with a database and a cache beside the checks, and comes to dev; a tag to staging,
/// is looked at there, and to production when QA says so.
async fn bring_out_the_first(team: &Team) {
    team.commit(1, "none").await;
    let pushed = team.push("main").await.exited(0);
    for line in ["job checks: passed", "dev: has the release"] {
        assert!(pushed.stderr.contains(line), "{line}: {}", pushed.stderr);
    }
    let log = team.log_of(1, "checks").await;
    assert!(log.contains("Ran 4 tests") && log.contains("OK"), "{log}");
    assert_eq!(team.page(team.dev).await, ("1".to_owned(), 0));

    team.tag("v1").await.exited(0);
    let run = team.approve(2).await;
    assert_eq!(run.state, RunState::Succeeded, "{run:#?}");
    // What the branch was checked with need not be checked again for the tag.
    let checks = &run.jobs[0];
    let reused = checks.reused.as_ref().map(|result| result.run);
    assert_eq!((checks.attempts, reused), (0, Some(1)), "{checks:#?}");
    let asked = ["raffle/production", "towpath approve"];
    team.told(&asked).await;
    let log = team.log_of(2, "accept").await;
    assert!(log.contains("the winner is "), "{log}");
    assert_eq!(team.page(team.production()).await, ("1".to_owned(), 0));
}

/// The next one, while people enter: nobody is turned away.
async fn bring_out_the_next(team: &Team, load: &Handle, engine: &str) {
    team.commit(2, "none").await;
    team.tag("v2").await.exited(0);
    let run = team.approve(3).await;
    assert_eq!(run.state, RunState::Succeeded, "{run:#?}");
    let entered = || {
        let streams = load.snapshot_by_stream();
        let stream = streams.into_iter().find(|(name, _)| name == "enter");
        stream.unwrap().1.ok
    };
    let deadline = Instant::now() + PATIENCE;
    while entered() < CROWD {
        assert!(Instant::now() < deadline, "nobody enters");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let counts = load.snapshot();
    assert_none_lost(&counts, "blue-green");
    for version in ["1", "2"] {
        let answers = counts.by_version.get(version).expect(version);
        assert_eq!(answers.server_errors, 0, "version {version}");
    }
    if engine == "docker" {
        assert_same_image(&run).await;
    }
}

/// One that counts wrongly: the acceptance job finds it in staging, and production never sees it.
async fn have_one_stopped(team: &Team) {
    team.commit(3, "miscount").await;
    team.tag("v3").await.exited(0);
    let run = team.wait_for(4, "ended", |run| run.ended).await;
    assert_eq!(run.state, RunState::Failed, "{run:#?}");
    assert_eq!(run.environments[1].state, RunPartState::Skipped);
    let log = team.log_of(4, "accept").await;
    assert!(log.contains("Ada entered, and there are"), "{log}");
    team.told(&["run 4", "accept"]).await;
}

/// One that is not made for a crowd: nobody finds that before production, which goes back.
async fn have_one_rolled_back(team: &Team) {
    team.commit(4, "crowd").await;
    team.tag("v4").await.exited(0);
    let run = team.approve(5).await;
    assert_eq!(run.state, RunState::Failed, "{run:#?}");
    let told = ["raffle/production", "release 5", "failed"];
    team.told(&told).await;
    let (version, entries) = team.page(team.production()).await;
    assert_eq!(version, "2");
    assert!(entries >= CROWD, "{entries}: who entered stays");
    let known = team.site.run(&["events", "raffle/production"]).await;
    assert!(known.exited(0).stdout.contains("environment.held"));
}

/// Somebody of QA wants the stack of staging for themselves, with data of its own.
async fn look_at_one_of_its_own(team: &Team) {
    let staging = "raffle/staging".parse().unwrap();
    let staging = team.site.client().environment(&staging).await.unwrap();
    let create = ["env", "create", "qa-1", "--from", "staging", "--ttl", "1h"];
    team.site.run(&create).await.exited(0);
    let id = "raffle/qa-1".parse().unwrap();
    let environment = team.site.client().environment(&id).await.unwrap();
    let mut routes = environment.routes.iter().filter(|route| !route.internal);
    let listen: SocketAddr = routes.next().unwrap().listen.parse().unwrap();
    // The first release is of the branch: from then on each has a version of its own.
    let version = staging.stable.unwrap() - 1;
    assert_eq!(team.page(listen.port()).await, (version.to_string(), 0));
    let remove = ["env", "rm", "qa-1", "--volumes", "--yes"];
    team.site.run(&remove).await.exited(0);
    team.site.client().environment(&id).await.unwrap_err();
}

/// A hotfix is checked, approved and brought straight to production; what it passed by is behind.
async fn bring_a_hotfix(team: &Team) {
    team.commit(5, "none").await;
    team.tag("fix-5").await.exited(0);
    let release = ["release-hold", "production"];
    team.site.run(&release).await.exited(0);
    let hotfix = ["hotfix", "production", "--tag", "fix-5", "--wait", "none"];
    team.site.run(&hotfix).await.exited(0);
    // What was pushed is checked, and goes nowhere by itself: that is run 6.
    let run = team.approve(7).await;
    assert_eq!(run.state, RunState::Succeeded, "{run:#?}");
    assert!(run.hotfix && run.jobs[0].attempts == 1, "{run:#?}");
    let (version, entries) = team.page(team.production()).await;
    assert_eq!(version, "5");
    assert!(entries >= CROWD, "{entries}: who entered stays");
    let staging = team.site.run(&["status", "staging"]).await.exited(0).stdout;
    assert!(staging.contains("behind production"), "{staging}");
}

async fn from_push_to_production(engine: &str) {
    let team = Team::on(engine).await;
    bring_out_the_first(&team).await;
    let load = team.load();
    bring_out_the_next(&team, &load, engine).await;
    have_one_stopped(&team).await;
    have_one_rolled_back(&team).await;
    look_at_one_of_its_own(&team).await;
    bring_a_hotfix(&team).await;
    let counts = load.stop().await;
    assert_none_lost(&counts, "two bad releases and a hotfix");
    assert!(!counts.by_version.contains_key("3"));
    // Whom it failed was answered by the release before, which is kept warm until the verdict.
    let bad = counts.by_version.get("4").expect("version 4 was tried");
    assert_eq!(bad.server_errors, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_push_to_production_on_processes() {
    from_push_to_production("process").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_push_to_production_on_docker() {
    from_push_to_production("docker").await;
}
