//! Requests among the services of an environment on Docker, while one release replaces another under
//! load: a candidate's services talk to the candidate's, the stable ones to the stable ones, and what
//! both releases share to one after the other.
//!
//! `front` asks `back` by its name for every request, and says whether both are of one release. `watch`
//! is the same in all releases, and asks `back` all the time.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::Instant;
use towpath_load::{Handle, LoadPlan, Stream};
use towpath_model::id::EnvironmentId;

use crate::docker::cli::Docker;
use crate::docker::leftovers::Leftovers;
use crate::site::{LONGEST, Site, assert_none_lost, free_port};

const IMAGE: &str = "towpath-test/sides:1";

const SERVE: &str = r#"#!/bin/sh
trap 'exit 0' TERM
case $1 in
  front) httpd -f -p 8080 -h /www & ;;
  back) httpd -f -p "${PORT:-9000}" -h /www & ;;
  watch)
    httpd -f -p 8080 -h /www &
    while :; do back=$(sh /ask); echo "${back:-nobody}"; sleep 0.05; done >/www/seen &
    ;;
esac
wait
"#;

/// (The static shell's own `wget` cannot look a name up.)
const ASK: &str =
    "printf 'GET /cgi-bin/back HTTP/1.0\\r\\n\\r\\n' | nc -w 9 back 9000 | tail -n 1\n";

const FRONT: &str = r#"#!/bin/sh
[ "$QUERY_STRING" != slow ] || sleep 1
back=$(sh /ask)
printf 'Content-Type: text/plain\r\n\r\n'
[ "$back" != "$VERSION" ] || echo same
echo "front=$VERSION back=$back"
"#;

/// It takes its time, so that some of its requests are under way at any moment.
const BACK: &str = r#"#!/bin/sh
sleep 0.2
printf 'Content-Type: text/plain\r\n\r\n'
echo "$VERSION"
"#;

const DOCKERFILE: &str = r#"FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin
COPY serve ask /
COPY front back /www/cgi-bin/
COPY well /www/
"#;

/// What is enough for some requests.
const A_WHILE: Duration = Duration::from_secs(1);

/// The app, and its control plane.
struct App {
    // It is gone before what it made is removed.
    site: Site,
    id: EnvironmentId,
    watch: u16,
    _leftovers: Leftovers,
}

impl App {
    /// Makes an app that no other test has, and brings its first release out.
    async fn up(name: &str, strategy: &str) -> Self {
        make_image().await;
        let mut app = Self {
            site: Site::new(),
            id: format!("{name}/production").parse().unwrap(),
            watch: free_port(),
            _leftovers: Leftovers::of(name, &Docker::default()),
        };
        app.write_delivery(strategy);
        app.write_release("v1", 9000);
        app.site.serve().await;
        app.bring_out(&["up", "--env", "production", "--json"], 0)
            .await;
        app
    }

    fn write_delivery(&self, strategy: &str) {
        let health = json!({
            "http": "/well", "interval": "500ms", "timeout": "3s", "retries": 2, "start_period": "3s",
        });
        let file = json!({
            "app": self.id.app.as_str(),
            "environments": { "production": {
                "engine": "docker",
                "scale": { "front": 2, "back": 2 },
                "rollout": {
                    "strategy": strategy,
                    "steps": [{ "weight": "30%", "soak": "1s" }, { "weight": "100%", "soak": "100ms" }],
                    "bake": "0s",
                    "drain": "3s",
                    "abort_when": { "min_requests": 5 },
                },
            } },
            "services": {
                "front": { "health": health },
                "back": { "health": health, "port": 9000 },
                "watch": { "health": health },
            },
        });
        // JSON is YAML.
        self.site.write("towpath.yaml", &file.to_string());
    }

    /// Makes the app's directory another release; its back listens on a port.
    fn write_release(&self, version: &str, port: u16) {
        let service = |name: &str, more: serde_json::Value| {
            let mut service = json!({
                "image": IMAGE,
                "pull_policy": "never",
                "command": ["sh", "/serve", name],
                "stop_grace_period": "2s",
            });
            for (key, value) in more.as_object().unwrap() {
                service[key] = value.clone();
            }
            service
        };
        let at = |port: u16| json!([format!("127.0.0.1:{port}:8080")]);
        let file = json!({ "services": {
            "front": service("front", json!({
                "environment": { "VERSION": version },
                "ports": at(self.site.address().port()),
            })),
            "back": service("back", json!({
                "environment": { "VERSION": version, "PORT": port.to_string() },
                "expose": ["9000"],
            })),
            "watch": service("watch", json!({ "ports": at(self.watch) })),
        } });
        self.site.write("compose.yaml", &file.to_string());
    }

    async fn deploy(&self, code: i32) {
        self.bring_out(&["deploy", "production"], code).await;
    }

    async fn bring_out(&self, words: &[&str], code: i32) {
        let answer = self.site.run(words).await;
        assert_eq!(
            answer.code,
            code,
            "{}\n{}\n{}",
            answer.stdout,
            answer.stderr,
            self.site.log()
        );
    }

    fn load(&self, expected: &str) -> Handle {
        let plan = LoadPlan {
            target: self.site.address(),
            host: "app.example".to_owned(),
            streams: vec![
                Stream::keep_alive("/cgi-bin/front", 12.0).expecting(expected),
                Stream::slow("/cgi-bin/front?slow", 3.0).expecting(expected),
            ],
        };
        plan.start().unwrap()
    }

    /// Waits until no instance is there but those that are wanted.
    async fn settled(&self) {
        let alone = |environment: &towpath_api::Environment| {
            environment.deployment.is_none() && environment.instances.len() == 5
        };
        self.site.wait_for(&self.id, "settled", alone).await;
    }

    /// Returns the versions that `watch` was answered with since there was one, each once in a row.
    async fn seen(&self) -> Vec<String> {
        let target = (std::net::Ipv4Addr::LOCALHOST, self.watch);
        let mut io = tokio::net::TcpStream::connect(target).await.unwrap();
        io.write_all(b"GET /seen HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut io, &mut text)
            .await
            .unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let answers = body.lines().skip_while(|answer| *answer == "nobody");
        let mut seen: Vec<String> = answers.map(str::to_owned).collect();
        seen.dedup();
        seen
    }
}

async fn a_while() {
    // sleep: the load has to go on for a time; nothing is waited for.
    tokio::time::sleep(A_WHILE).await;
}

async fn make_image() {
    let line = format!(
        "exec 9>/tmp/towpath-test-sides.lock; flock 9; docker image inspect {IMAGE} >/dev/null 2>&1 || \
         tar -c . | DOCKER_BUILDKIT=0 docker build -q -t {IMAGE} -"
    );
    let context = tempfile::tempdir().unwrap();
    let busybox = std::fs::read("/usr/bin/busybox").or_else(|_| std::fs::read("/bin/busybox"));
    let busybox = busybox.expect("Debian's busybox-static is installed");
    for (name, content) in [
        ("Dockerfile", DOCKERFILE.as_bytes()),
        ("busybox", &busybox),
        ("serve", SERVE.as_bytes()),
        ("ask", ASK.as_bytes()),
        ("front", FRONT.as_bytes()),
        ("back", BACK.as_bytes()),
        ("well", b"well"),
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        let path = context.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let made = Command::new("sh")
        .args(["-c", &line])
        .current_dir(context.path())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
}

/// Brings a second release out under load, and a third that never becomes well. `expected` is in every
/// answer.
async fn replaced(name: &str, strategy: &str, expected: &str) {
    let app = App::up(name, strategy).await;
    app.settled().await;
    let load = app.load(expected);
    a_while().await;
    app.write_release("v2", 9000);
    app.deploy(0).await;
    // The load goes on until the last of the old ones is gone.
    app.settled().await;
    a_while().await;
    app.write_release("v3", 9001);
    app.deploy(1).await;
    app.settled().await;
    a_while().await;
    assert_none_lost(&load.stop().await, strategy);
    let seen = app.seen().await;
    if strategy == "rolling" {
        // Both serve side by side for a time.
        let known = seen.iter().all(|one| ["v1", "v2"].contains(&one.as_str()));
        assert!(known, "{seen:?}");
    } else {
        assert_eq!(seen, ["v1", "v2"], "of the third nobody was told");
    }
    let id = app.id.to_string();
    let before = Instant::now();
    app.site.run(&["env", "rm", &id, "--yes"]).await.exited(0);
    assert!(before.elapsed() < LONGEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_blue_green_release_keep_to_themselves() {
    replaced("sidesbluegreen", "blue-green", "same").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_canary_keep_to_themselves() {
    replaced("sidescanary", "canary", "same").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_release_loses_no_request_among_its_services() {
    replaced("sidesrolling", "rolling", "back=v").await;
}
