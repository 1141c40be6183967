//! Pushes to Towpath with a real Git: what is taken, what is refused and how that is said.

use std::path::{Path, PathBuf};

use towpath_api::client::EventFilter;

use crate::git::{commit, git};
use crate::site::{Answer, Site};

const COMPOSE: &str = "services: { web: { image: busybox, command: [sleep, \"1000\"] } }\n";

/// A control plane that listens, a token for it, and a repository to push from.
pub(crate) struct Pusher {
    pub(crate) site: Site,
    token: String,
    pub(crate) work: PathBuf,
}

impl Pusher {
    pub(crate) async fn new() -> Self {
        let mut site = Site::new().listening();
        site.serve().await;
        let token = site.client().create_token("laptop").await.unwrap().secret;
        let work = site.root().join("work");
        std::fs::create_dir(&work).unwrap();
        let pusher = Self { site, token, work };
        pusher
            .git(&["init", "--quiet", "--initial-branch=main"])
            .await
            .exited(0);
        pusher
    }

    fn url(&self, app: &str) -> String {
        let address = self.site.api_address();
        format!("http://ada:{}@{address}/git/{app}", self.token)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.work.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) async fn git(&self, arguments: &[&str]) -> Answer {
        git(&self.work, arguments).await
    }

    /// Commits everything. Returns the commit.
    pub(crate) async fn commit(&self, message: &str) -> String {
        commit(&self.work, message).await
    }

    pub(crate) async fn push(&self, what: &[&str]) -> Answer {
        let url = self.url("shop");
        self.git(&[&["push", url.as_str()], what].concat()).await
    }

    /// Returns the branches and tags that Towpath has.
    async fn references(&self) -> Vec<String> {
        let listed = self.git(&["ls-remote", "--refs", &self.url("shop")]).await;
        let lines = listed.exited(0).stdout;
        let names = lines
            .lines()
            .map(|line| line.split('\t').nth(1).unwrap().to_owned());
        names.collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_commit_is_taken_and_its_tree_is_kept_as_a_source() {
    let pusher = Pusher::new().await;
    pusher.write("compose.yaml", COMPOSE);
    pusher.write("bin/run", "#!/bin/sh\n");
    pusher.write(".gitattributes", "bin export-ignore\n");
    std::os::unix::fs::symlink("bin/run", pusher.work.join("current")).unwrap();
    let head = pusher.commit("Serve pages").await;
    let answer = pusher.push(&["main"]).await.exited(0);
    let short = head.get(..10).unwrap();
    let said = format!("remote: branch main: {short} is a sound `shop`");
    assert!(answer.stderr.contains(&said), "{}", answer.stderr);
    let taken = "remote: branch main: taken in as source ";
    let (_, source) = answer.stderr.split_once(taken).expect(&answer.stderr);
    let source = source.split(',').next().unwrap();

    let sources = pusher.site.home().join("sources");
    let mut kept = std::fs::read_dir(sources)
        .unwrap()
        .map(|one| one.unwrap().path());
    let tree = kept.next().unwrap();
    assert!(
        tree.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with(source)
    );
    assert_eq!(kept.next(), None);
    let run = std::fs::read_to_string(tree.join("current")).unwrap();
    assert_eq!(run, "#!/bin/sh\n", "all that is committed is there");

    let events = pusher.site.client().events(&EventFilter::default()).await;
    let events = events.unwrap();
    let moved = events
        .iter()
        .find(|one| one.what == "reference.moved")
        .unwrap();
    assert_eq!(moved.actor, "token laptop");
    assert_eq!(moved.subject, "shop refs/heads/main");
    assert_eq!(moved.to.as_deref(), Some(head.as_str()));

    let clone = pusher.site.root().join("clone");
    let (url, clone) = (pusher.url("shop"), clone.to_str().unwrap());
    pusher
        .git(&["clone", "--quiet", &url, clone])
        .await
        .exited(0);
    let cloned = git(Path::new(clone), &["rev-parse", "HEAD"]).await;
    assert_eq!(cloned.exited(0).stdout.trim(), head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_does_not_render_is_refused_with_its_place_and_nothing_moves() {
    let pusher = Pusher::new().await;
    pusher.write("compose.yaml", COMPOSE);
    pusher.write("towpath.yaml", "environments:\n  dev: { engin: docker }\n");
    pusher.commit("Misspell").await;
    let refused = pusher.push(&["main"]).await;
    assert_ne!(refused.code, 0, "{}", refused.stderr);
    let place = "remote: towpath.yaml:2:10: error: ";
    assert!(refused.stderr.contains(place), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("pre-receive hook declined"),
        "{}",
        refused.stderr
    );
    assert_eq!(pusher.references().await, Vec::<String>::new());

    pusher.write(
        "towpath.yaml",
        "environments:\n  dev: { engine: docker, deploy: { on: manual } }\n",
    );
    pusher.commit("Mend").await;
    pusher.push(&["main", "HEAD:refs/tags/v1"]).await.exited(0);
    assert_eq!(
        pusher.references().await,
        ["refs/heads/main", "refs/tags/v1"]
    );
    // Of two, one bad one is enough: all or nothing is taken.
    pusher.write("compose.yaml", "services: [\n");
    pusher.commit("Break").await;
    let refused = pusher
        .push(&["HEAD~1:refs/heads/good", "HEAD:refs/heads/bad"])
        .await;
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("remote: compose.yaml:"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        pusher.references().await,
        ["refs/heads/main", "refs/tags/v1"]
    );
    pusher.push(&[":refs/tags/v1"]).await.exited(0);
    assert_eq!(pusher.references().await, ["refs/heads/main"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_source_tree_or_no_branch_is_refused_with_a_reason() {
    let pusher = Pusher::new().await;
    pusher.write("compose.yaml", COMPOSE);
    let head = pusher.commit("One").await;
    let notes = pusher.push(&["HEAD:refs/notes/x"]).await;
    assert_ne!(notes.code, 0);
    assert!(
        notes.stderr.contains("only branches and tags"),
        "{}",
        notes.stderr
    );

    let module = format!("160000,{head},modules/other");
    pusher
        .git(&["update-index", "--add", "--cacheinfo", &module])
        .await
        .exited(0);
    pusher
        .git(&["commit", "--quiet", "-m", "Submodule"])
        .await
        .exited(0);
    let refused = pusher.push(&["main"]).await;
    assert_ne!(refused.code, 0);
    let reason = "remote: error: modules/other is a Git submodule";
    assert!(refused.stderr.contains(reason), "{}", refused.stderr);

    pusher
        .git(&["reset", "--quiet", "--hard", &head])
        .await
        .exited(0);
    std::os::unix::fs::symlink("/etc/passwd", pusher.work.join("users")).unwrap();
    pusher.commit("Reach out").await;
    let refused = pusher.push(&["main"]).await;
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("`users` leads outside"),
        "{}",
        refused.stderr
    );
    assert_eq!(pusher.references().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_pushes_or_reads_without_a_token() {
    let mut pusher = Pusher::new().await;
    pusher.write("compose.yaml", COMPOSE);
    pusher.commit("One").await;
    pusher.push(&["main"]).await.exited(0);
    let elsewhere = pusher.url("nowhere");
    let missing = pusher.git(&["ls-remote", &elsewhere]).await;
    assert_eq!(missing.code, 128, "{}", missing.stderr);
    pusher.token = "towpath_wrong".to_owned();
    for arguments in [
        ["ls-remote", &pusher.url("shop")],
        ["push", &pusher.url("shop")],
    ] {
        let refused = pusher.git(&arguments).await;
        assert_eq!(refused.code, 128, "{}", refused.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protected_branch_loses_no_commit_and_others_may() {
    let pusher = Pusher::new().await;
    let protect = ["repo", "set", "shop", "--protect", "main"];
    pusher.site.run(&protect).await.exited(0);
    pusher.write("compose.yaml", COMPOSE);
    pusher.commit("One").await;
    pusher.write("page", "two");
    pusher.commit("Two").await;
    pusher.push(&["main", "main:feature"]).await.exited(0);
    let back = ["--force", "HEAD~1:refs/heads/main"];
    for lost in [&back[..], &[":refs/heads/main"]] {
        let refused = pusher.push(lost).await;
        assert_ne!(refused.code, 0);
        let reason = "remote: error: main is protected";
        assert!(refused.stderr.contains(reason), "{}", refused.stderr);
    }
    pusher
        .push(&["--force", "HEAD~1:refs/heads/feature"])
        .await
        .exited(0);
    pusher.write("page", "three");
    pusher.commit("Three").await;
    pusher.push(&["main"]).await.exited(0);
}

/// An app with one job, and an environment that what is pushed comes to.
const DELIVERY: &str = r#"
app: shop
environments: { dev: { deploy: { branch: main } } }
pipeline: [ { name: unit, run: "test -f page" } ]
services: { web: { process: { command: "exec sleep 1000" }, listen: false } }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_shows_its_run_until_the_first_environment_has_the_release() {
    let pusher = Pusher::new().await;
    pusher.write("compose.yaml", COMPOSE);
    pusher.write("towpath.yaml", DELIVERY);
    pusher.write("page", "one");
    pusher.commit("One").await;
    let answer = pusher.push(&["main"]).await.exited(0);
    for line in [
        "remote: run 1: release 1",
        "remote: job unit: passed",
        "remote: dev: has the release",
    ] {
        assert!(answer.stderr.contains(line), "{line}: {}", answer.stderr);
    }
    let dev = "shop/dev".parse().unwrap();
    let environment = pusher.site.client().environment(&dev).await.unwrap();
    assert_eq!(environment.services.len(), 1);

    let answer = pusher.push(&["main:feature"]).await.exited(0);
    assert!(answer.stderr.contains("nothing is to be done") || answer.stderr.contains("job unit"));

    std::fs::remove_file(pusher.work.join("page")).unwrap();
    let bad = pusher.commit("Lose the page").await;
    let answer = pusher.push(&["main"]).await;
    assert_ne!(answer.code, 0, "{}", answer.stderr);
    assert!(
        answer.stderr.contains("job unit: failed"),
        "{}",
        answer.stderr
    );
    let listed = pusher
        .git(&["ls-remote", &pusher.url("shop"), "main"])
        .await;
    assert!(
        listed.exited(0).stdout.starts_with(&bad),
        "what was pushed stays"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_be_rendered_is_refused_before_the_push_is_taken() {
    let pusher = Pusher::new().await;
    pusher.write("compose.yaml", COMPOSE);
    let bad = DELIVERY.replace("name: unit,", "name: unit, services: [redis],");
    pusher.write("towpath.yaml", &bad);
    pusher.commit("Ask for what is not there").await;
    let refused = pusher.push(&["main"]).await;
    assert_ne!(refused.code, 0);
    assert!(
        refused.stderr.contains("remote: towpath.yaml:4:"),
        "{}",
        refused.stderr
    );
    assert_eq!(pusher.references().await, Vec::<String>::new());
}
