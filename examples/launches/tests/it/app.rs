//! Starts the services of the app for a test, and talks to them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// Longer than anything takes on a busy machine; what takes this long is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// One service as a process. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    child: Child,
    log: String,
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A store with its data, and the key file.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) directory: TempDir,
    pub(crate) store: Service,
}

pub(crate) const KEY: &str = "test-key-0123456789-do-not-show-me";

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

impl Service {
    pub(crate) fn start(name: &str, variables: &BTreeMap<&str, String>) -> Self {
        Self::start_on(free_port(), name, variables)
    }

    fn start_on(port: u16, name: &str, variables: &BTreeMap<&str, String>) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_launches"))
            .arg(name)
            .env_clear()
            .env("PORT", port.to_string())
            .envs(variables)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program was built");
        Self {
            address: ([127, 0, 0, 1], port).into(),
            child,
            log: String::new(),
        }
    }

    /// Waits until it accepts connections.
    pub(crate) async fn listening(mut self) -> Self {
        let ready = async {
            while TcpStream::connect(self.address).await.is_err() {
                assert!(
                    self.child.try_wait().expect("ours").is_none(),
                    "it ended instead"
                );
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, ready).await.expect("it listens in time");
        self
    }

    /// Waits until it has logged a text.
    pub(crate) async fn said(mut self, text: &str) -> Self {
        let stderr = self.child.stderr.as_mut().expect("it is piped");
        let heard = async {
            let mut buffer = [0; 1024];
            while !self.log.contains(text) {
                let read = stderr.read(&mut buffer).await.expect("it logs");
                assert!(read > 0, "it ended, after {}", self.log);
                self.log.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        };
        timeout(PATIENCE, heard).await.expect("it says so in time");
        self
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .expect("it runs");
        let id = rustix::process::Pid::from_raw(id).expect("not zero");
        rustix::process::kill_process(id, signal).expect("it is ours");
    }

    /// Asks for its health as a container would.
    pub(crate) async fn checked(&self) -> (ExitStatus, String) {
        let variables = BTreeMap::new();
        Self::start_on(self.address.port(), "check", &variables)
            .ended()
            .await
    }

    /// Waits for its end; returns its exit status and all that it logged.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let mut log = std::mem::take(&mut self.log);
        let mut stderr = self.child.stderr.take().expect("it is piped");
        let end = async {
            stderr
                .read_to_string(&mut log)
                .await
                .expect("logs are text");
            self.child.wait().await.expect("ours")
        };
        let status = timeout(PATIENCE, end).await.expect("it ends in time");
        (status, log)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: raffle\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\naccept: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len(),
        );
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        Answer::read(&mut stream).await
    }
}

impl Answer {
    /// Reads up to the end of the connection.
    pub(crate) async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut bytes))
            .await
            .expect("it answers in time")
            .expect("it ends the connection properly");
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").expect("a complete head");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.expect("a status"),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }
}

impl App {
    /// Starts a store and migrates it.
    pub(crate) async fn migrated() -> Self {
        let app = Self::new().await;
        let (status, log) = Service::start("migrate", &app.variables(&[])).ended().await;
        assert!(status.success(), "{log}");
        app
    }

    /// Starts an empty store.
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("key"), KEY).expect("written");
        let store = start_store(directory.path(), free_port()).await;
        Self { directory, store }
    }

    /// The environment of a service of this app.
    pub(crate) fn variables(
        &self,
        more: &[(&'static str, &str)],
    ) -> BTreeMap<&'static str, String> {
        let key = self.directory.path().join("key").display().to_string();
        let mut variables = BTreeMap::from([
            ("STORE_ADDR", self.store.address.to_string()),
            ("RAFFLE_KEY_FILE", key),
            ("LAUNCHES_POLL_MS", "20".to_owned()),
            ("LAUNCHES_TICK_MS", "20".to_owned()),
        ]);
        variables.extend(
            more.iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        variables
    }

    pub(crate) async fn web(&self, more: &[(&'static str, &str)]) -> Service {
        Service::start("web", &self.variables(more))
            .listening()
            .await
    }

    /// Kills the store, as a power cut would.
    pub(crate) async fn kill_store(&mut self) {
        self.store.signal(rustix::process::Signal::KILL);
        let died = timeout(PATIENCE, self.store.child.wait())
            .await
            .expect("it dies");
        assert_eq!(died.expect("ours").signal(), Some(9));
    }

    /// Starts the killed store again, on the same data and port.
    pub(crate) async fn restart_store(&mut self) {
        self.store = start_store(self.directory.path(), self.store.address.port()).await;
    }
}

async fn start_store(directory: &Path, port: u16) -> Service {
    let data = directory.join("data").display().to_string();
    let variables = BTreeMap::from([("LAUNCHES_DATA_DIR", data)]);
    Service::start_on(port, "store", &variables)
        .listening()
        .await
}
