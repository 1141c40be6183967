//! A Docker Engine of a test's own, which it may stop, kill and start again: no other test meets it.
//! It needs root, as the tests of other users do. Not the Docker Engine that the tests share.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

/// The longest that a Docker Engine may take to end with all its containers.
const LONGEST: Duration = Duration::from_mins(1);

/// A Docker Engine in a directory of its own, gone with the value.
#[derive(Debug)]
pub struct Dockerd {
    directory: TempDir,
    options: Vec<String>,
}

impl Dockerd {
    /// Starts one with these options of `dockerd` beside those that keep it apart.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start(options: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("towpath-dk-").tempdir();
        let daemon = Self {
            directory: directory.expect("there is room for a directory"),
            options: options.iter().map(|one| (*one).to_owned()).collect(),
        };
        daemon.begin();
        daemon
    }

    /// Starts it again where it was.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub fn begin(&self) {
        let output = script("start", self.directory.path(), &self.options);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Where it listens, as `DOCKER_HOST` says it.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.directory.path().display())
    }

    /// Ends it as an upgrade does: unless it was started with `--live-restore`, its containers end
    /// with it.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub async fn end(&self) {
        self.signal("TERM").await;
    }

    /// Kills it. Its containers go on until it is started again.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub async fn kill(&self) {
        self.signal("KILL").await;
        // As long as nobody waited for the processes, they would be taken for what runs.
        for file in ["pid", "exec/containerd/containerd.pid"] {
            // Whoever ended in order has removed its own.
            drop(std::fs::remove_file(self.directory.path().join(file)));
        }
    }

    async fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.directory.path().join("pid"));
        let pid = pid.expect("it runs").trim().to_owned();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "no dockerd");
        let deadline = Instant::now() + LONGEST;
        while is_alive(&pid) {
            assert!(Instant::now() < deadline, "dockerd does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        drop(script("stop", self.directory.path(), &[]));
    }
}

/// Tells whether a process runs: one that only waits to be waited for does not.
fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| {
        let state = stat.rsplit(')').next().map(str::trim_start);
        !state.is_some_and(|state| state.starts_with(['Z', 'X']))
    })
}

fn script(what: &str, directory: &Path, options: &[String]) -> Output {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/docker");
    let output = Command::new(path)
        .arg(what)
        .arg(directory)
        .args(options)
        .stdin(Stdio::null())
        .output();
    output.expect("scripts/docker is there")
}
