//! Previews by the real binary on the process engine: on demand, with their own port and data, and of
//! pull requests of a repository that is followed.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use towpath_api::Environment;
use towpath_model::id::EnvironmentId;

use crate::follow::Scene;
use crate::site::{LONGEST, Site};

/// Writes an app that answers with the name of the environment that its volume was made in, and with
/// what a seed wrote to it.
fn put(site: &Site) {
    let port = site.address().port();
    let compose = json!({
        "services": {
            "web": {
                "image": "web", "ports": [format!("127.0.0.1:{port}:8000")], "volumes": ["data:/data"],
            },
            "fill": { "image": "web", "volumes": ["data:/data"], "profiles": ["seed"] },
        },
        "volumes": { "data": {} },
    });
    let command = "test -e $VOLUME_DATA/who || echo $TOWPATH_ENVIRONMENT $TOKEN > $VOLUME_DATA/who\n\
        exec python3 -m http.server --bind $HOST --directory $VOLUME_DATA $PORT";
    let file = json!({
        "app": "shop",
        "rollout": { "bake": "0s", "drain": "0s" },
        "services": {
            "web": {
                "process": { "command": command },
                "health": { "http": "/who" },
                "secrets": { "TOKEN": "token" },
            },
            "fill": { "process": { "command": "echo $TOWPATH_ENVIRONMENT >> $VOLUME_DATA/seed" } },
        },
        "previews": { "limit": 1, "seed": "fill" },
    });
    site.write("compose.yaml", &compose.to_string());
    site.write("towpath.yaml", &file.to_string());
}

fn id(name: &str) -> EnvironmentId {
    format!("shop/{name}").parse().unwrap()
}

/// Returns where the service is reached from outside.
fn address(environment: &Environment) -> SocketAddr {
    let mut routes = environment.routes.iter().filter(|route| !route.internal);
    routes.next().unwrap().listen.parse().unwrap()
}

async fn asked(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let body = answer.rsplit("\r\n\r\n").next().unwrap();
    body.trim().to_owned()
}

/// Waits until nothing is left of an environment, on the disk either.
async fn wait_until_gone(site: &Site, name: &str) {
    let deadline = Instant::now() + LONGEST;
    let directory = site.home().join("environments/shop").join(name);
    while site.client().environment(&id(name)).await.is_ok() || directory.exists() {
        assert!(Instant::now() < deadline, "{name} stays: {}", site.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_answers_on_its_own_port_with_its_own_data_and_goes_at_its_time() {
    let mut site = Site::new();
    put(&site);
    site.serve().await;
    site.run(&["env", "create", "dev"]).await.exited(0);
    site.run_with_input(&["secret", "set", "dev", "token"], b"t0ken")
        .await
        .exited(0);
    site.run(&["up"]).await.exited(0);
    let create = ["env", "create", "qa-42", "--from", "dev", "--ttl", "1h"];
    let made = site.run(&create).await.exited(0);
    assert!(
        made.stdout.contains("its volumes with it"),
        "{}",
        made.stdout
    );
    assert!(made.stdout.contains("http://localhost:"), "{}", made.stdout);

    let of = |name: &'static str| {
        let client = site.client();
        async move { client.environment(&id(name)).await.unwrap() }
    };
    let (dev, qa) = (address(&of("dev").await), address(&of("qa-42").await));
    assert_ne!(dev, qa);
    assert_eq!(asked(dev, "/who").await, "dev t0ken");
    assert_eq!(asked(qa, "/who").await, "qa-42 t0ken");
    let redeploy = ["deploy", "qa-42", "--release", "1"];
    site.run(&redeploy).await.exited(0);
    assert_eq!(asked(qa, "/seed").await, "qa-42", "filled once");
    assert!(asked(dev, "/seed").await.contains("404"));
    let listed = site.run(&["env", "ls", "--json"]).await.exited(0).json();
    assert_eq!(listed[1]["preview"]["like"], "dev", "{listed}");
    assert_eq!(listed[0]["preview"], Value::Null);
    let status = site.run(&["status", "qa-42"]).await.exited(0).stdout;
    assert!(status.contains("a preview like dev"), "{status}");

    let more = site.run(&["env", "create", "qa-43", "--from", "dev"]).await;
    assert_eq!(more.code, 1, "{more:?}");
    assert!(more.stderr.contains("qa-42"), "{}", more.stderr);
    let extend = ["env", "extend", "dev", "--ttl", "1h"];
    site.run(&extend).await.exited(1);
    let extend = ["env", "extend", "qa-42", "--ttl", "1s", "--json"];
    let extended = site.run(&extend).await.exited(0).json();
    assert!(extended["expires_at"].is_string(), "{extended}");
    wait_until_gone(&site, "qa-42").await;
    assert_eq!(asked(dev, "/who").await, "dev t0ken");
    TcpStream::connect(qa).await.unwrap_err();
}

/// What a forge tells of a pull request, from this repository into the one with the id 1.
fn told(action: &str, number: u64, repository: u64) -> Value {
    json!({ "action": action, "number": number, "pull_request": {
        "head": { "ref": "basket", "repo": { "id": repository } },
        "base": { "ref": "main", "repo": { "id": 1 } },
    } })
}

/// What is done to pull requests at the origin.
struct Forge {
    scene: Scene,
    sent: u64,
}

impl Forge {
    async fn new() -> Self {
        let scene = Scene::new().await;
        let port = scene.site.address().port();
        let web = format!("{{ image: web, ports: ['127.0.0.1:{port}:80'] }}");
        scene.write("compose.yaml", &format!("services: {{ web: {web} }}\n"));
        scene.write(
            "towpath.yaml",
            "app: shop\n\
             rollout: { bake: 0s, drain: 0s }\n\
             previews: { pull_requests: true, ttl: 1h }\n\
             services:\n\
             \x20 web:\n\
             \x20   process: { command: exec python3 -m http.server --bind $HOST $PORT, source: true }\n\
             \x20   health: { http: /towpath.yaml }\n\
             pipeline:\n\
             \x20 - { name: unit, run: 'true' }\n\
             \x20 - { name: looks, run: 'echo \"at $TOWPATH_URL\"; curl -fsS $TOWPATH_URL/page', after: dev }\n",
        );
        scene.write("page", "main\n");
        let head = scene.commit("Previews").await;
        scene.follow(&["--pull-requests"]).await;
        scene.wait_for("shop refs/heads/main", &head).await;
        let secret = ["repo", "secret", "shop", "webhook"];
        let set = scene.site.run_with_input(&secret, b"topsecret\n");
        set.await.exited(0);
        Self { scene, sent: 0 }
    }

    async fn tell(&mut self, body: &Value) {
        self.sent += 1;
        let mut body = body.clone();
        // Each is another one.
        body["sent"] = json!(self.sent);
        let id = self.sent.to_string();
        let status = self.scene.webhook(b"topsecret", "pull_request", &id, &body);
        assert_eq!(status.await, 202);
    }

    /// Has the branch of the pull request get another commit.
    async fn push(&self, number: u64) {
        let scene = &self.scene;
        let parent = scene.git(&["rev-parse", "main"]).await;
        let message = format!("{number} {}", self.sent);
        scene.write("page", &message);
        scene.git(&["add", "page"]).await;
        let tree = scene.git(&["write-tree"]).await;
        let words = ["commit-tree", &tree, "-p", &parent, "-m"];
        let commit = scene.git(&[&words[..], &[&message]].concat()).await;
        let head = format!("refs/pull/{number}/head");
        for reference in ["refs/heads/basket", &head] {
            scene.git(&["update-ref", reference, &commit]).await;
        }
    }

    /// Waits until the last run of this succeeded.
    async fn wait_for_run(&self, reference: &str) -> Value {
        let site = &self.scene.site;
        let deadline = Instant::now() + LONGEST;
        loop {
            let runs = site.run(&["runs", "shop", "--json"]).await.exited(0).json();
            let mut of = runs.as_array().unwrap().iter();
            let last = of.find(|run| run["reference"] == reference);
            if let Some(last) = last.filter(|run| run["state"] == "succeeded") {
                return last.clone();
            }
            assert!(Instant::now() < deadline, "{runs}\n{}", site.log());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Waits until a deployment brought its release to the preview.
    async fn wait_for_deployment(&self, number: u32) {
        let site = &self.scene.site;
        let deadline = Instant::now() + LONGEST;
        let done = || async {
            let deployment = site.client().deployment(&id("pr-7"), number).await;
            deployment.is_ok_and(|one| one.ended)
        };
        while !done().await {
            assert!(Instant::now() < deadline, "never there: {}", site.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let environment = site.client().environment(&id("pr-7")).await.unwrap();
        assert!(environment.stable.is_some(), "{environment:#?}");
        assert_eq!(environment.preview.unwrap().pull_request, Some(7));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_request_has_a_preview_as_long_as_it_is_open() {
    let mut forge = Forge::new().await;
    forge.push(7).await;
    forge.tell(&told("opened", 7, 1)).await;
    forge.wait_for_deployment(1).await;
    forge.push(7).await;
    forge.tell(&told("synchronize", 7, 1)).await;
    forge.wait_for_deployment(2).await;
    let run = forge.wait_for_run("pull request 7").await;
    assert_eq!(run["environments"][0]["name"], "pr-7", "{run}");
    // What looks at the environment that the preview is like looks at the preview.
    assert_eq!(run["jobs"][1]["after"], "pr-7", "{run}");
    let number = run["number"].to_string();
    let site = &forge.scene.site;
    let words = ["runs", "logs", &number, "looks", "--app", "shop"];
    let log = site.run(&words).await.exited(0).stdout;
    let published = format!(":{}", site.address().port());
    assert!(
        log.starts_with("at http://") && log.contains("\n7 "),
        "{log}"
    );
    assert!(!log.contains(&published), "{log}");

    // One from a fork is checked, and has none.
    forge.push(8).await;
    forge.tell(&told("opened", 8, 2)).await;
    let run = forge.wait_for_run("pull request 8").await;
    assert_eq!(run["jobs"][0]["state"], "succeeded", "{run}");
    assert_eq!(run["environments"], json!([]));
    let site = &forge.scene.site;
    site.client().environment(&id("pr-8")).await.unwrap_err();

    forge.tell(&told("closed", 7, 1)).await;
    wait_until_gone(&forge.scene.site, "pr-7").await;
    // Open again it is made anew; a branch that is gone closes it, whoever says so or not.
    forge.tell(&told("reopened", 7, 1)).await;
    forge.wait_for_deployment(1).await;
    let delete = ["update-ref", "-d", "refs/heads/basket"];
    forge.scene.git(&delete).await;
    let site = &forge.scene.site;
    site.run(&["repo", "fetch", "shop"]).await.exited(0);
    wait_until_gone(site, "pr-7").await;
}
