//! The app of these tests: a web server and a store, in containers of a static shell. Not what is done
//! to it.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use tokio::time::Instant;
use towpath_api::{Deployment, Environment};
use towpath_load::{Counts, Handle, LoadPlan, Stream};
use towpath_model::id::EnvironmentId;
use towpath_testkit::dockerd::Dockerd;

use super::cli::{Docker, run};
use super::leftovers::Leftovers;
use crate::chaos::is_settled;
use crate::site::{LONGEST, Site};

/// The image that everything is made of.
pub(super) const IMAGE: &str = "towpath-test/quay:2";

/// What a container of it is: the web server (`web`) or the store (`store`).
const SERVE: &str = r#"#!/bin/sh
trap 'exit 0' TERM
case $1 in
  web)
    echo "version $VERSION" >/www/version
    ln -s "/gate/$VERSION" /www/healthz
    httpd -f -p 8080 -h /www &
    ;;
  store)
    [ -e /data/it ] || echo kept >/data/it
    httpd -f -p 9000 -h /data &
    ;;
esac
wait
"#;

/// Takes its time.
const SLOW: &str = "#!/bin/sh\nsleep 0.4\necho 'Content-Type: text/plain'\necho\necho slow\n";

/// Asks the store by its name. (The static shell's own `wget` cannot look a name up.)
/// It answers all at once: half an answer of one that is killed would look like a whole one.
const STORE: &str = "#!/bin/sh\n\
    kept=$(printf 'GET /it HTTP/1.0\\r\\n\\r\\n' | nc -w 2 store 9000 | tail -n 1)\n\
    printf 'Content-Type: text/plain\\n\\n%s\\n' \"$kept\"\n";

/// The example app in containers, a control plane, and the Docker Engine that both use.
#[derive(Debug)]
pub(super) struct App {
    // It is gone before what it made is removed.
    pub(super) site: Site,
    pub(super) docker: Docker,
    pub(super) id: EnvironmentId,
    _leftovers: Leftovers,
    pub(super) daemon: Option<Dockerd>,
}

impl AsRef<Site> for App {
    fn as_ref(&self) -> &Site {
        &self.site
    }
}

impl AsMut<Site> for App {
    fn as_mut(&mut self) -> &mut Site {
        &mut self.site
    }
}

impl App {
    /// Makes an app that no other test has, with a control plane, on the Docker of all tests.
    pub(super) async fn new(name: &str) -> Self {
        Self::on(name, None).await
    }

    /// Makes one on a Docker Engine of its own.
    pub(super) async fn alone(name: &str, options: &[&str]) -> Self {
        Self::on(name, Some(Dockerd::start(options))).await
    }

    async fn on(name: &str, daemon: Option<Dockerd>) -> Self {
        let docker = Docker(daemon.as_ref().map(Dockerd::host));
        let app = Self {
            site: Site::new().on_docker(docker.0.clone()),
            id: format!("{name}/production").parse().unwrap(),
            _leftovers: Leftovers::of(name, &docker),
            docker,
            daemon,
        };
        std::fs::create_dir(app.site.root().join("gate")).unwrap();
        make_image(&app.docker).await;
        app.write_delivery(&json!({}), "40s");
        app.write_version("1");
        app
    }

    /// Starts the control plane, and brings the first release out.
    pub(super) async fn up(mut self) -> Self {
        self.site.serve().await;
        self.site
            .run(&["up", "--env", "production", "--json"])
            .await
            .exited(0);
        self.settled().await;
        self
    }

    /// Writes how it is delivered; `rollout` is beside what every test needs. `patience` is how long
    /// an instance may take to become well.
    pub(super) fn write_delivery(&self, rollout: &serde_json::Value, patience: &str) {
        let mut file = json!({
            "app": self.id.app.as_str(),
            "environments": { "production": {
                "engine": "docker",
                "scale": { "web": 2 },
                "rollout": {
                    "steps": [{ "weight": "30%", "soak": "400ms" }, { "weight": "100%", "soak": "100ms" }],
                    "bake": "300ms",
                    "drain": "5s",
                    "abort_when": { "min_requests": 5 },
                },
            } },
            "services": { "web": {
                "health": { "http": "/healthz", "interval": "500ms", "timeout": "3s", "retries": 2, "start_period": patience },
                // A machine that does much else at once takes its time.
                "policy": { "connect_timeout": "5s" },
            } },
        });
        for (name, value) in rollout.as_object().unwrap() {
            file["environments"]["production"]["rollout"][name] = value.clone();
        }
        // JSON is YAML.
        self.site.write("towpath.yaml", &file.to_string());
    }

    /// Changes how it is delivered.
    pub(super) fn change_delivery(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.site.root().join("app/towpath.yaml");
        let file = std::fs::read_to_string(&path).unwrap();
        let mut file = serde_json::from_str(&file).unwrap();
        change(&mut file);
        self.site.write("towpath.yaml", &file.to_string());
    }

    /// Makes the app's directory another release, which becomes well at once.
    pub(super) fn write_version(&self, version: &str) {
        self.open_gate(version);
        self.write_closed_version(version);
    }

    /// Makes the app's directory another release, which is not well before its gate is open.
    pub(super) fn write_closed_version(&self, version: &str) {
        self.write_changed(version, |_| ());
    }

    /// Makes the app's directory another release, of a Compose file that is changed before.
    pub(super) fn write_changed(&self, version: &str, change: impl FnOnce(&mut serde_json::Value)) {
        let gate = self.site.root().join("gate");
        let mut file = json!({
            "services": {
                "web": {
                    "image": IMAGE,
                    "pull_policy": "never",
                    "command": ["sh", "/serve", "web"],
                    "environment": { "VERSION": version },
                    "ports": [format!("127.0.0.1:{}:8080", self.site.address().port())],
                    "volumes": [format!("{}:/gate:ro", gate.display())],
                    "stop_grace_period": "2s",
                },
                "store": {
                    "image": IMAGE,
                    "pull_policy": "never",
                    "command": ["sh", "/serve", "store"],
                    "expose": ["9000"],
                    "volumes": ["data:/data"],
                    "stop_grace_period": "2s",
                    "healthcheck": {
                        "test": ["CMD", "test", "-f", "/data/it"],
                        "interval": "1s", "timeout": "5s", "retries": 2, "start_period": "40s",
                    },
                },
            },
            "volumes": { "data": {} },
        });
        change(&mut file);
        self.site.write("compose.yaml", &file.to_string());
    }

    /// Makes a version well.
    pub(super) fn open_gate(&self, version: &str) {
        std::fs::write(self.site.root().join("gate").join(version), "open").unwrap();
    }

    /// Brings out what is in the app's directory, all of it.
    pub(super) async fn deploy(&self) {
        let words = ["deploy", "production", "--json", "--wait", "bake"];
        self.site.run(&words).await.exited(0);
    }

    /// Begins to bring out what is in the app's directory.
    pub(super) async fn begin(&self) -> u32 {
        let words = ["deploy", "production", "--json", "--wait", "none"];
        let asked = self.site.run(&words).await.exited(0).json();
        u32::try_from(asked["deployment"].as_u64().unwrap()).unwrap()
    }

    pub(super) async fn ended(&self, number: u32) -> Deployment {
        self.site.wait_for_end(&self.id, number).await
    }

    pub(super) async fn environment(&self) -> Environment {
        self.site.client().environment(&self.id).await.unwrap()
    }

    /// Waits until everything is as it should be, and nothing is left of anything else: containers and
    /// networks. (Volumes are never removed.)
    pub(super) async fn settled(&self) -> Environment {
        let deadline = Instant::now() + LONGEST;
        loop {
            let environment = self.site.wait_for(&self.id, "settled", is_settled).await;
            let instances = environment.instances.iter();
            let mut wanted: Vec<String> = instances.map(|one| container(&one.id)).collect();
            wanted.sort_unstable();
            let found = self.containers().await;
            if found == wanted {
                let label = self.label();
                let words = ["network", "ls", "--filter", &label, "--format", "{{.Name}}"];
                let name = format!("{}-production_default", self.id.app);
                assert_eq!(self.docker.lines(&words).await, [name]);
                return environment;
            }
            assert!(
                Instant::now() < deadline,
                "{wanted:?} are wanted, and these are there: {found:?}\n{}",
                self.site.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops everything; nothing is left.
    pub(super) async fn down(&self) {
        self.site.run(&["down", "production"]).await.exited(0);
        let deadline = Instant::now() + LONGEST;
        while let Some(left) = self.containers().await.first() {
            assert!(Instant::now() < deadline, "{left} is left behind");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns the names of all its containers, in their order.
    pub(super) async fn containers(&self) -> Vec<String> {
        let label = self.label();
        let words = ["ps", "-a", "--filter", &label, "--format", "{{.Names}}"];
        self.docker.lines(&words).await
    }

    fn label(&self) -> String {
        format!("label=towpath.app={}", self.id.app)
    }

    /// Returns the names of the containers of a service that serve.
    pub(super) async fn serving(&self, service: &str) -> Vec<String> {
        let environment = self.environment().await;
        let instances = environment.instances.iter();
        let mut serving: Vec<String> = instances
            .filter(|one| one.service == service && one.health == towpath_api::Health::Healthy)
            .map(|one| container(&one.id))
            .collect();
        serving.sort_unstable();
        serving
    }

    /// Waits until something else serves in place of a container, or the same one since a later time,
    /// and everything is well.
    pub(super) async fn anew(&self, before: &Environment, container: &str) -> Environment {
        let of = |environment: &Environment| {
            let mut instances = environment.instances.iter();
            let found = instances.find(|one| self::container(&one.id) == container);
            found.map(|one| (one.since, one.address.clone()))
        };
        let old = of(before);
        let is_anew = |now: &Environment| of(now) != old && is_settled(now);
        self.site.wait_for(&self.id, "well again", is_anew).await;
        self.settled().await
    }

    /// Waits until another container serves in place of one that did.
    pub(super) async fn replaced(&self, container: &str) -> Environment {
        let is_replaced = |now: &Environment| {
            let mut instances = now.instances.iter();
            is_settled(now) && !instances.any(|one| self::container(&one.id) == container)
        };
        self.site.wait_for(&self.id, "replaced", is_replaced).await;
        self.settled().await
    }

    /// Waits until a path is answered so.
    pub(super) async fn answers(&self, path: &str, wanted: &str) {
        let deadline = Instant::now() + LONGEST;
        loop {
            let found = tokio::time::timeout(Duration::from_secs(5), self.get(path)).await;
            if matches!(&found, Ok(Some(text)) if text.contains(wanted)) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{path} is answered {found:?}: {}",
                self.site.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts a constant load.
    pub(super) fn load(&self) -> Handle {
        let plan = LoadPlan {
            target: self.site.address(),
            host: "app.example".to_owned(),
            streams: vec![
                Stream::plain("/version", 25.0)
                    .within(LONGEST)
                    .expecting("version"),
                Stream::keep_alive("/version", 25.0)
                    .within(LONGEST)
                    .expecting("version"),
                Stream::slow("/cgi-bin/slow", 4.0).expecting("slow"),
                Stream::plain("/cgi-bin/store", 5.0)
                    .within(LONGEST)
                    .named("store")
                    .expecting("kept"),
            ],
        };
        plan.start().unwrap()
    }

    /// Returns all events that were told since the beginning, as lines.
    pub(super) async fn events(&self) -> String {
        let id = self.id.to_string();
        self.site.run(&["events", &id]).await.exited(0).stdout
    }

    /// Waits until something was told.
    pub(super) async fn told(&self, what: &str) {
        let deadline = Instant::now() + LONGEST;
        while !self.events().await.contains(what) {
            assert!(Instant::now() < deadline, "{what} is never told");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Asks for a path once, and returns the whole answer.
    pub(super) async fn get(&self, path: &str) -> Option<String> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.site.address())
            .await
            .ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text)
    }
}

/// Returns the name of an instance's container.
pub(super) fn container(instance: &str) -> String {
    instance.replace('/', "-")
}

/// Refuses requests of these streams that were lost.
pub(super) fn assert_none_lost_of(load: &[(String, Counts)], names: &[&str], what: &str) {
    for (stream, counts) in load {
        if names.contains(&stream.as_str()) {
            crate::site::assert_none_lost(counts, &format!("{what}, {stream}"));
        }
    }
}

/// Makes the image of these tests, unless it is there.
pub(super) async fn make_image(docker: &Docker) {
    let found = docker.lines(&["images", "-q", IMAGE]).await;
    if !found.is_empty() {
        return;
    }
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    for directory in ["bin", "www/cgi-bin", "data", "tmp", "etc"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    let mut program = ["/usr/bin/busybox", "/bin/busybox"].iter().map(Path::new);
    let program = program.find(|path| path.exists());
    let program = program.expect("Debian's busybox-static is installed");
    std::fs::copy(program, root.join("bin/busybox")).unwrap();
    let applets = run(Command::new(program).arg("--list")).await;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    for (name, text) in [
        ("serve", SERVE),
        ("www/cgi-bin/slow", SLOW),
        ("www/cgi-bin/store", STORE),
    ] {
        let path = root.join(name);
        std::fs::write(&path, text).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable).unwrap();
    }
    let host = docker.0.clone();
    let mut import = Command::new("sh");
    if let Some(host) = host {
        import.env("DOCKER_HOST", host);
    }
    let line = format!(
        "tar -C '{}' --owner=0 --group=0 -c . | docker import --change 'ENV PATH=/bin' --change 'EXPOSE 8080' - {IMAGE}",
        root.display()
    );
    run(import.args(["-c", &line])).await;
}
