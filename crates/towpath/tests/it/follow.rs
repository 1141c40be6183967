//! Apps that follow a repository elsewhere: by webhooks, by looking, with a real Git. Everything stays on
//! this machine.

mod flood;
mod forge;
mod ssh;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;
use towpath_api::Event;
use towpath_api::client::EventFilter;

use crate::site::{LONGEST, Site};

const COMPOSE: &str = "services: { web: { image: busybox, command: [sleep, \"1000\"] } }\n";

/// A control plane that listens, and a repository that it follows.
pub(crate) struct Scene {
    pub(crate) site: Site,
    origin: PathBuf,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let mut site = Site::new().listening();
        site.serve().await;
        let origin = site.root().join("origin");
        std::fs::create_dir(&origin).unwrap();
        let scene = Self { site, origin };
        scene
            .git(&["init", "--quiet", "--initial-branch=main"])
            .await;
        scene.write("compose.yaml", COMPOSE);
        scene.commit("One").await;
        scene
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.origin.display())
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.origin.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) async fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"])
            .args(arguments)
            .current_dir(&self.origin)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .kill_on_drop(true);
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) async fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]).await;
        self.git(&["commit", "--quiet", "-m", message]).await;
        self.git(&["rev-parse", "HEAD"]).await
    }

    pub(crate) async fn follow(&self, more: &[&str]) {
        let url = self.url();
        let words = ["repo", "set", "shop", &url, "--poll", "1h"];
        self.site.run(&[&words, more].concat()).await.exited(0);
    }

    /// Returns what was taken in or refused, oldest first: kind, subject and new commit.
    pub(crate) async fn moves(&self) -> Vec<(String, String, Option<String>)> {
        let events = self.site.client().events(&EventFilter::default()).await;
        let of = |event: Event| (event.what, event.subject, event.to);
        let moves = events.unwrap().into_iter().map(of);
        moves
            .filter(|(what, ..)| what.starts_with("reference."))
            .collect()
    }

    /// Waits until a commit was taken in.
    pub(crate) async fn wait_for(&self, subject: &str, commit: &str) {
        let deadline = Instant::now() + LONGEST;
        loop {
            let moves = self.moves().await;
            let is_it = |(_, on, to): &(String, String, Option<String>)| {
                on == subject && to.as_deref() == Some(commit)
            };
            if moves.iter().any(is_it) {
                return;
            }
            assert!(Instant::now() < deadline, "{moves:#?}\n{}", self.site.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a webhook as GitHub does, signed with this secret. Returns the status.
    pub(crate) async fn webhook(&self, secret: &[u8], event: &str, id: &str, body: &Value) -> u16 {
        let body = body.to_string();
        let signature = self.hmac(secret, &body).await;
        let head = format!(
            "POST /webhooks/shop HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nX-GitHub-Event: {event}\r\n\
             X-GitHub-Delivery: {id}\r\nX-Hub-Signature-256: sha256={signature}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.site.api_address()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Signs as a forge does, by another program than ours.
    pub(crate) async fn hmac(&self, secret: &[u8], body: &str) -> String {
        let script = "import hmac, sys; print(hmac.new(sys.argv[1].encode(), sys.argv[2].encode(), 'sha256').hexdigest())";
        let secret = std::str::from_utf8(secret).unwrap();
        let output = Command::new("python3")
            .args(["-c", script, secret, body])
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_elsewhere_is_followed_from_now_on_and_bad_commits_are_named() {
    let scene = Scene::new().await;
    scene.git(&["tag", "v0"]).await;
    scene.git(&["branch", "old"]).await;
    let first = scene.git(&["rev-parse", "HEAD"]).await;
    scene.follow(&[]).await;
    scene.wait_for("shop refs/heads/main", &first).await;
    assert_eq!(
        scene.moves().await.len(),
        1,
        "only the main branch is new at first"
    );

    scene.write("compose.yaml", "services: [\n");
    let bad = scene.commit("Break").await;
    scene.git(&["tag", "v1", "HEAD~1"]).await;
    let fetch = ["repo", "fetch", "shop"];
    scene.site.run(&fetch).await.exited(0);
    let moves = scene.moves().await;
    let refused = (
        "reference.refused".to_owned(),
        "shop refs/heads/main".to_owned(),
        Some(bad),
    );
    assert!(moves.contains(&refused), "{moves:?}");
    let tagged = (
        "reference.moved".to_owned(),
        "shop refs/tags/v1".to_owned(),
        Some(first),
    );
    assert!(
        moves.contains(&tagged),
        "a bad branch holds up no tag: {moves:?}"
    );
    scene.site.run(&fetch).await.exited(0);
    assert_eq!(
        scene.moves().await.len(),
        3,
        "what was refused is not tried again"
    );

    let shown = scene
        .site
        .run(&["repo", "show", "shop", "--json"])
        .await
        .exited(0)
        .json();
    assert_eq!(shown["fault"], Value::Null);
    assert!(shown["fetched_at"].is_string());
    std::fs::rename(&scene.origin, scene.site.root().join("moved")).unwrap();
    let failed = scene.site.run(&fetch).await;
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains("origin"), "{}", failed.stderr);
    let shown = scene.site.run(&["repo", "show", "shop"]).await.exited(0);
    assert!(shown.stdout.contains("fault"), "{}", shown.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_causes_a_fetch_once_and_a_forged_one_nothing() {
    let scene = Scene::new().await;
    let first = scene.git(&["rev-parse", "HEAD"]).await;
    let push = |id: &str| json!({ "ref": "refs/heads/main", "id": id });
    assert_eq!(
        scene.webhook(b"", "push", "0", &push("0")).await,
        403,
        "no such app"
    );
    scene.follow(&["--pull-requests"]).await;
    scene.wait_for("shop refs/heads/main", &first).await;
    assert_eq!(
        scene.webhook(b"", "push", "0", &push("0")).await,
        403,
        "no secret is set"
    );
    let secret = ["repo", "secret", "shop", "webhook"];
    scene
        .site
        .run_with_input(&secret, b"topsecret\n")
        .await
        .exited(0);

    scene.write("page", "two");
    let second = scene.commit("Two").await;
    assert_eq!(
        scene.webhook(b"guessed", "push", "1", &push("1")).await,
        403
    );
    assert_eq!(
        scene.webhook(b"topsecret", "ping", "2", &push("2")).await,
        204
    );
    assert_eq!(scene.moves().await.len(), 1);
    assert_eq!(
        scene.webhook(b"topsecret", "push", "3", &push("3")).await,
        202
    );
    scene.wait_for("shop refs/heads/main", &second).await;
    assert_eq!(
        scene.webhook(b"topsecret", "push", "3", &push("4")).await,
        409,
        "the id again"
    );
    assert_eq!(
        scene.webhook(b"topsecret", "push", "5", &push("3")).await,
        409,
        "the body again"
    );

    pull_request_comes_and_goes(&scene).await;
    let log = scene.site.log();
    assert!(!log.contains("topsecret"), "{log}");
}

/// Has a forge tell of a pull request that is opened, then closed.
async fn pull_request_comes_and_goes(scene: &Scene) {
    let third = scene
        .git(&["commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "Three"])
        .await;
    scene.git(&["update-ref", "refs/pull/7/head", &third]).await;
    let request = |action: &str| {
        json!({ "action": action, "number": 7, "pull_request": {
            "head": { "ref": "basket" }, "base": { "ref": "main" },
        } })
    };
    let opened = request("opened");
    let opened = scene.webhook(b"topsecret", "pull_request", "6", &opened);
    assert_eq!(opened.await, 202);
    scene.wait_for("shop refs/towpath/pull/7", &third).await;
    let closed = request("closed");
    let closed = scene.webhook(b"topsecret", "pull_request", "7", &closed);
    assert_eq!(closed.await, 202);
    let deadline = Instant::now() + LONGEST;
    while scene
        .moves()
        .await
        .iter()
        .all(|(what, ..)| what != "reference.removed")
    {
        assert!(Instant::now() < deadline, "{}", scene.site.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_a_repository_over_http_and_what_follows_one_is_not_pushed_to() {
    let scene = Scene::new().await;
    let token = scene
        .site
        .client()
        .create_token("mirror")
        .await
        .unwrap()
        .secret;
    let address = scene.site.api_address();
    let upstream = format!("http://{address}/git/upstream");
    let pushed_to = format!("http://x:{token}@{address}/git/upstream");
    scene.git(&["push", "--quiet", &pushed_to, "main"]).await;
    let head = scene.git(&["rev-parse", "HEAD"]).await;

    let set = ["repo", "set", "shop", &upstream, "--poll", "1h"];
    scene.site.run(&set).await.exited(0);
    let refused = scene.site.run(&["repo", "fetch", "shop"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains(&upstream), "{}", refused.stderr);
    let secret = ["repo", "secret", "shop", "credential"];
    scene
        .site
        .run_with_input(&secret, token.as_bytes())
        .await
        .exited(0);
    scene.site.run(&["repo", "fetch", "shop"]).await.exited(0);
    scene.wait_for("shop refs/heads/main", &head).await;

    let pushed_to = format!("http://x:{token}@{address}/git/shop");
    let output = Command::new("git")
        .args(["push", &pushed_to, "HEAD:refs/heads/other"])
        .current_dir(&scene.origin)
        .output();
    let output = output.await.unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(&format!("follows {upstream}")), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_repository_with_several_apps_only_what_concerns_one_is_delivered() {
    let scene = Scene::new().await;
    scene.git(&["rm", "--quiet", "compose.yaml"]).await;
    scene.write("apps/shop/compose.yaml", COMPOSE);
    scene.write("apps/other/compose.yaml", "services: [\n");
    let first = scene.commit("Two apps").await;
    scene
        .follow(&["--directory", "apps/shop", "--ignore-path", "**/*.md"])
        .await;
    scene.wait_for("shop refs/heads/main", &first).await;
    scene.write("apps/other/page", "x");
    scene.commit("Another app").await;
    scene.write("apps/shop/README.md", "x");
    scene.commit("Words").await;
    let fetch = ["repo", "fetch", "shop"];
    scene.site.run(&fetch).await.exited(0);
    assert_eq!(scene.moves().await.len(), 1, "neither concerns the app");
    scene.write("apps/shop/page", "x");
    let last = scene.commit("The app").await;
    scene.site.run(&fetch).await.exited(0);
    scene.wait_for("shop refs/heads/main", &last).await;
    let sources = std::fs::read_dir(scene.site.home().join("sources")).unwrap();
    for source in sources {
        assert!(source.unwrap().path().join("compose.yaml").exists());
    }
    for bad in [
        "ext::sh -c id",
        "/srv/shop",
        "https://ada:pw@git.example.com/x",
    ] {
        scene
            .site
            .run(&["repo", "set", "shop", bad])
            .await
            .exited(2);
    }
}
