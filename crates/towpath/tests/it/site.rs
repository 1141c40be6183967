//! What a test plays on: a temporary data directory and app, a control plane of the real binary, a
//! constant load. Everything of it is killed when it is dropped. Not what is shown on it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use towpath_api::client::Client;
use towpath_api::{Deployment, Environment};
use towpath_load::{Counts, Handle, LoadPlan, Stream};
use towpath_model::id::EnvironmentId;

use crate::machine::{self, Process};

/// The program that is tested.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_towpath");

/// The longest that anything which is waited for may take.
pub(crate) const LONGEST: Duration = Duration::from_mins(1);

/// The example app. What its own Compose file has to build an image with, nobody needs here.
const COMPOSE: &str = include_str!("../../../../examples/launches/compose.yaml");

/// The services of the example app.
const SERVICES: [&str; 4] = ["web", "worker", "migrate", "store"];

/// A data directory, an app's directory, and the control plane between them.
#[derive(Debug)]
pub(crate) struct Site {
    root: PathBuf,
    temporary: Option<TempDir>,
    control_plane: Option<Child>,
    port: u16,
    /// Where the API answers on TCP.
    listen: Option<SocketAddr>,
    /// What the control plane is started with besides.
    words: Vec<String>,
    /// Where Docker listens, when it is not that of all tests.
    docker_host: Option<String>,
}

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    /// Returns the last JSON document of the output: the whole of it, or its last line.
    pub(crate) fn json(&self) -> Value {
        let last = || {
            self.stdout
                .lines()
                .rev()
                .find_map(|line| serde_json::from_str(line).ok())
        };
        serde_json::from_str(self.stdout.trim())
            .ok()
            .or_else(last)
            .unwrap_or(Value::Null)
    }

    /// Refuses any other exit code.
    pub(crate) fn exited(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }
}

/// How the example app is delivered, where a test does not want it plain.
#[derive(Debug, Default, Clone)]
pub(crate) struct Delivery {
    /// What the shell does before it becomes the service, by its name. `{root}` is the site's
    /// directory.
    pub(crate) before: BTreeMap<&'static str, &'static str>,
    /// What `rollout` of production has in place of what every test needs.
    pub(crate) rollout: BTreeMap<&'static str, Value>,
    /// What `services.web` has beside what every test needs.
    pub(crate) web: BTreeMap<&'static str, Value>,
    /// Who is told of what happens.
    pub(crate) notify: Value,
}

impl AsRef<Self> for Site {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl AsMut<Self> for Site {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl Site {
    /// Makes the directories. Nothing runs yet.
    pub(crate) fn new() -> Self {
        let temporary = tempfile::Builder::new()
            .prefix("towpath-it-")
            .tempdir()
            .unwrap();
        let root = temporary.path().canonicalize().unwrap();
        for name in ["app", "home"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        Self {
            root,
            temporary: Some(temporary),
            control_plane: None,
            port: free_port(),
            listen: None,
            words: Vec::new(),
            docker_host: None,
        }
    }

    /// Answers on TCP too.
    pub(crate) fn listening(mut self) -> Self {
        self.listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        self
    }

    /// Answers on TCP too, on every address of the machine.
    pub(crate) fn listening_everywhere(mut self) -> Self {
        self.listen = Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, free_port())));
        self
    }

    /// Starts the control plane with more words.
    pub(crate) fn started_with(mut self, words: &[&str]) -> Self {
        self.words = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Where the API answers on TCP.
    pub(crate) fn api_address(&self) -> SocketAddr {
        self.listen.unwrap()
    }

    /// Has another Docker than that of all tests.
    pub(crate) fn on_docker(mut self, host: Option<String>) -> Self {
        self.docker_host = host;
        self
    }

    /// Makes a site with the example app in it, and its control plane.
    pub(crate) async fn with_launches(delivery: &Delivery) -> Self {
        let mut site = Self::new();
        site.put_launches(delivery);
        site.serve().await;
        site
    }

    /// Writes the example app into the app's directory.
    pub(crate) fn put_launches(&self, delivery: &Delivery) {
        let compose = COMPOSE
            .replace("  build: .\n", "")
            .replace("ports: [\"${WEB_PORT:-8080}:8080\"]", "ports: []");
        self.write("compose.yaml", &compose);
        self.write("raffle_key", "a test's key, as long as a key should be\n");
        self.write("towpath.yaml", &self.delivery_file(delivery));
        self.write_version("1", "none");
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Where the app's first service answers.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Writes a file into the app's directory.
    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.root.join("app").join(name), content).unwrap();
    }

    /// Makes the app's directory another release of the example.
    pub(crate) fn write_version(&self, version: &str, fault: &str) {
        // There is nothing to build: every service is a role of the program that is tested.
        let mut services = json!({ "web": {
            "ports": [format!("127.0.0.1:{}:8080", self.port)],
            "environment": {
                "LAUNCHES_VERSION": version,
                "LAUNCHES_FAULT": fault,
                "LAUNCHES_START_MS": "100",
            },
        } });
        for service in SERVICES {
            services[service]["image"] = json!("launches");
        }
        let overlay = serde_json::to_string_pretty(&json!({ "services": services })).unwrap();
        self.write("compose.production.yaml", &overlay);
    }

    fn delivery_file(&self, delivery: &Delivery) -> String {
        let mut services = json!({});
        for role in SERVICES {
            let before = delivery.before.get(role).copied().unwrap_or_default();
            let before = before.replace("{root}", self.root.to_str().unwrap());
            let command = format!("{before}\nexec '{PROGRAM}' __launches {role}");
            services[role] = json!({ "process": { "command": command, "source": false } });
        }
        services["web"]["health"] = json!({ "http": "/healthz" });
        services["store"]["health"] = json!({ "http": "/healthz" });
        services["store"]["protocol"] = json!("tcp");
        services["store"]["process"]["environment"] =
            json!({ "LAUNCHES_DATA_DIR": "${VOLUME_DATA}" });
        for (name, value) in &delivery.web {
            services["web"][name] = value.clone();
        }
        let mut file = json!({
            "app": "launches",
            "environments": { "production": {
                "compose": ["compose.yaml", "compose.production.yaml"],
                "scale": { "web": 2 },
                "rollout": {
                    "steps": [{ "weight": "30%", "soak": "400ms" }, { "weight": "100%", "soak": "100ms" }],
                    "bake": "300ms",
                    "drain": "5s",
                    "drain_websockets": "300ms",
                    "abort_when": { "min_requests": 5 },
                },
            } },
            "services": services,
        });
        for (name, value) in &delivery.rollout {
            file["environments"]["production"]["rollout"][name] = value.clone();
        }
        if !delivery.notify.is_null() {
            file["notify"] = delivery.notify.clone();
        }
        // JSON is YAML.
        serde_json::to_string_pretty(&file).unwrap()
    }

    /// Starts the control plane, and waits until it answers.
    pub(crate) async fn serve(&mut self) {
        let ended = self.try_serve().await;
        assert!(
            ended.is_none(),
            "the control plane ended ({ended:?}): {}",
            self.log()
        );
    }

    /// Starts the control plane, unless the one that was started still runs.
    pub(crate) async fn serve_if_ended(&mut self) {
        let child = self.control_plane.as_mut();
        if child.is_none_or(|child| child.try_wait().unwrap().is_some()) {
            self.serve().await;
        }
    }

    /// Starts the control plane, and waits until it answers or ends. Returns how it ended.
    pub(crate) async fn try_serve(&mut self) -> Option<ExitStatus> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.home().join("serve.log"))
            .unwrap();
        let listen = self.listen.map(|address| address.to_string());
        let mut words = vec!["serve"];
        if let Some(listen) = &listen {
            words.extend(["--listen", listen.as_str()]);
        }
        words.extend(self.words.iter().map(String::as_str));
        let mut child = self
            .command(&words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let client = self.client();
        let deadline = Instant::now() + LONGEST;
        while client.server().await.is_err() {
            let ended = child.try_wait().unwrap();
            if ended.is_some() {
                return ended;
            }
            assert!(
                Instant::now() < deadline,
                "the control plane does not answer: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.control_plane = Some(child);
        None
    }

    /// Kills the control plane as `kill -9` does.
    pub(crate) async fn kill_control_plane(&mut self) {
        let mut child = self.control_plane.take().unwrap();
        child.kill().await.unwrap();
    }

    /// Asks the control plane to stop as a service manager does, and waits for its end.
    pub(crate) async fn stop_control_plane(&mut self) {
        let mut child = self.control_plane.take().unwrap();
        signal(&child, rustix::process::Signal::TERM);
        let status = tokio::time::timeout(LONGEST, child.wait()).await;
        assert!(status.expect("it stops in time").unwrap().success());
    }

    /// The most memory that the control plane ever had.
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let id = self
            .control_plane
            .as_ref()
            .and_then(tokio::process::Child::id);
        let status = std::fs::read_to_string(format!("/proc/{}/status", id.unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.unwrap().parse().unwrap()
    }

    /// What the control plane has said.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home().join("serve.log")).unwrap_or_default()
    }

    /// Runs a command to its end, in the app's directory.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Answer {
        self.run_with_input(arguments, &[]).await
    }

    /// Runs a command to its end, in another directory.
    pub(crate) async fn run_in(&self, directory: &Path, arguments: &[&str]) -> Answer {
        let mut command = self.command(arguments);
        command.current_dir(directory);
        self.finish(command, arguments, &[]).await
    }

    /// Runs a command to its end with something on its standard input.
    pub(crate) async fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Answer {
        self.finish(self.command(arguments), arguments, input).await
    }

    /// Runs a command to its end with these variables and something on its standard input.
    pub(crate) async fn run_with_variables(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
        input: &[u8],
    ) -> Answer {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        self.finish(command, arguments, input).await
    }

    async fn finish(&self, mut command: Command, arguments: &[&str], input: &[u8]) -> Answer {
        use tokio::io::AsyncWriteExt as _;
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that reads nothing may be gone before it is written.
        drop(stdin.write_all(input).await);
        drop(stdin);
        let output = tokio::time::timeout(LONGEST * 2, child.wait_with_output())
            .await
            .unwrap_or_else(|_| panic!("towpath {arguments:?} takes too long: {}", self.log()))
            .unwrap();
        Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command to its end as scripts start what they leave in the background: it ignores signals.
    pub(crate) async fn run_in_background(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new("sh");
        let line = format!("trap '' HUP INT QUIT; exec '{PROGRAM}' \"$@\"");
        command.args(["-c", &line, "sh"]).args(arguments);
        self.finish(self.surround(command), arguments, &[]).await
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments);
        self.surround(command)
    }

    /// Gives a command the surroundings that all have.
    fn surround(&self, mut command: Command) -> Command {
        command
            .current_dir(self.root.join("app"))
            .env("TOWPATH_HOME", self.home())
            .env_remove("TOWPATH_SERVER");
        if let Some(host) = &self.docker_host {
            command.env("DOCKER_HOST", host);
        }
        command
    }

    /// Returns a client of the control plane.
    pub(crate) fn client(&self) -> Client {
        Client::unix(self.home().join("towpath.sock"), "tester")
    }

    /// Waits until production is as `done` wants it.
    pub(crate) async fn wait_for(
        &self,
        id: &EnvironmentId,
        what: &str,
        done: impl Fn(&Environment) -> bool,
    ) -> Environment {
        let deadline = Instant::now() + LONGEST;
        loop {
            let environment = self.client().environment(id).await.unwrap();
            if done(&environment) {
                return environment;
            }
            assert!(
                Instant::now() < deadline,
                "never {what}: {environment:#?}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the end of a deployment.
    pub(crate) async fn wait_for_end(&self, id: &EnvironmentId, number: u32) -> Deployment {
        let deadline = Instant::now() + LONGEST;
        loop {
            let deployment = self.client().deployment(id, number).await.unwrap();
            if deployment.ended {
                return deployment;
            }
            assert!(
                Instant::now() < deadline,
                "deployment {number} is stuck: {deployment:#?}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts a constant load of every kind on the example app.
    pub(crate) fn load(&self) -> Handle {
        self.load_of(vec![
            Stream::plain("/version", 30.0),
            Stream::keep_alive("/", 40.0),
            Stream::slow("/slow?ms=400", 4.0),
            Stream::websocket("/ws", 4, 8.0),
        ])
    }

    /// Starts load of these streams.
    pub(crate) fn load_of(&self, streams: Vec<Stream>) -> Handle {
        let plan = LoadPlan {
            target: self.address(),
            host: "launches.example".to_owned(),
            streams,
        };
        plan.start().unwrap()
    }

    /// Returns all processes of this site.
    pub(crate) fn processes(&self) -> Vec<Process> {
        machine::belonging_to(&self.root)
    }

    /// Waits until no process of this site is left but those that `may_stay` lets.
    pub(crate) async fn wait_until_left(&self, may_stay: impl Fn(&Process) -> bool) {
        let deadline = Instant::now() + LONGEST;
        loop {
            let left: Vec<String> = self
                .processes()
                .into_iter()
                .filter(|process| !may_stay(process))
                .map(|process| process.words())
                .collect();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {left:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[expect(clippy::print_stdout, reason = "a failed test says where to look")]
impl Drop for Site {
    fn drop(&mut self) {
        // Whoever starts others goes first.
        let mut all = self.processes();
        all.sort_by_key(|process| !process.has_role("serve"));
        for process in all {
            process.kill();
        }
        for process in self.processes() {
            process.kill();
        }
        if std::thread::panicking() {
            // What is found in it tells why.
            if let Some(temporary) = self.temporary.take() {
                println!("left for a look: {}", temporary.keep().display());
            }
        }
    }
}

/// Refuses counts with a lost request in them.
pub(crate) fn assert_none_lost(counts: &Counts, when: &str) {
    assert!(counts.sent > 0, "{when}: there was no load");
    assert_eq!(
        counts.failed.total(),
        0,
        "{when}: of {} requests some were lost: {:#?}",
        counts.sent,
        counts.last_failures
    );
}

/// Production of the example app.
pub(crate) fn production() -> EnvironmentId {
    "launches/production".parse().unwrap()
}

/// Returns a port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    let id = id.and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(id, signal).unwrap();
}
