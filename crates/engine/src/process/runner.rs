//! Starts supervisors and listens to them. Not what they are told to run.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, Lines,
};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use zeroize::Zeroizing;

use super::config::ProcessConfig;
use crate::shim::RUN;
use crate::shim::handover;
use crate::shim::launch::{Launch, Report};

/// How much of a supervisor's own complaint is kept.
const COMPLAINT_BYTES: u64 = 4 * 1024;

/// A supervisor that this process started.
pub(super) struct Supervisor {
    child: Child,
    /// Kept open while the supervisor must not outlive this process.
    lifeline: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    reports: Lines<BufReader<ChildStdout>>,
    complaint: ChildStderr,
}

impl Supervisor {
    /// Starts a supervisor in `directory`. `name` is what process lists show; what is `handed` over
    /// becomes the program's standard streams.
    pub(super) async fn start(
        config: &ProcessConfig,
        directory: &Path,
        name: &str,
        launch: &Launch,
        handed: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let (program, words) = &config.shim;
        // Only a socket hands descriptors over.
        let (ours, theirs) = if handed.is_empty() {
            (None, Stdio::piped())
        } else {
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            (Some(ours), Stdio::from(OwnedFd::from(theirs)))
        };
        let mut child = Command::new(program)
            .args(words)
            .args([RUN, name])
            .env_clear()
            .current_dir(directory)
            .stdin(theirs)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let no_pipe = || io::Error::other("the supervisor has no pipe");
        let stdout = child.stdout.take().ok_or_else(no_pipe)?;
        let complaint = child.stderr.take().ok_or_else(no_pipe)?;
        // It may have secrets in it: it goes through a pipe, and no copy stays.
        let mut line = Zeroizing::new(serde_json::to_vec(launch)?);
        line.push(b'\n');
        let mut stdin: Box<dyn AsyncWrite + Send + Unpin> = match ours {
            None => Box::new(child.stdin.take().ok_or_else(no_pipe)?),
            Some(socket) => {
                let descriptors: Vec<_> = handed.iter().map(AsFd::as_fd).collect();
                // They go with the first byte, for which there is room.
                let first = line.get(..1).unwrap_or_default();
                handover::send(&socket, first, &descriptors)?;
                line.remove(0);
                socket.set_nonblocking(true)?;
                Box::new(UnixStream::from_std(socket)?)
            }
        };
        drop(handed);
        // A supervisor that ended before it read all says why by itself.
        drop(stdin.write_all(&line).await);
        Ok(Self {
            child,
            lifeline: launch.lifeline.then_some(stdin),
            reports: BufReader::new(stdout).lines(),
            complaint,
        })
    }

    /// Returns the next thing that it says; `None` when it ended. Cancel-safe.
    pub(super) async fn report(&mut self) -> Option<Report> {
        while let Ok(Some(line)) = self.reports.next_line().await {
            match serde_json::from_str(&line) {
                Ok(report) => return Some(report),
                Err(error) => tracing::warn!(%error, "a supervisor's report is not readable"),
            }
        }
        None
    }

    /// Makes it kill what it runs and end, if it has a lifeline.
    pub(super) fn cut(&mut self) {
        self.lifeline = None;
    }

    /// Waits until it is gone. Returns what it complained of.
    pub(super) async fn gone(mut self) -> String {
        let mut complaint = String::new();
        let reading = (&mut self.complaint).take(COMPLAINT_BYTES);
        drop({ reading }.read_to_string(&mut complaint).await);
        drop(self.child.wait().await);
        complaint.trim().to_owned()
    }
}
