//! The router's guard: one that died, or that lives and does not answer, is started again. Not how
//! it is found or started at first.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use towpath_router::client::{self, RouterClient};

use super::{find_or_start, router_socket};

/// How long to wait after a router could not be started.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The time between two looks at a router that is well.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long a router may take to answer one look. It answers in a millisecond.
const LONGEST_ANSWER: Duration = Duration::from_secs(3);

/// After so many looks in a row without an answer it counts as hung. They are counted, not the time:
/// a control plane that was stopped itself for a while must not blame the router.
const LOOKS: u32 = 5;

/// How long a router that was asked to end may take before it is killed.
const END_GRACE: Duration = Duration::from_secs(2);

/// Keeps a data directory's router alive until `stop`: one that died, or hangs, is started again,
/// and serves its last table at once.
pub(crate) async fn keep_alive(data: &Path, stop: CancellationToken) {
    let client = RouterClient::new(router_socket(data));
    let keep = async {
        loop {
            if let Err(error) = guard(data, &client).await {
                tracing::error!(error = format!("{error:#}"), "the router cannot be started");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = keep => {}
    }
}

/// Waits until something is wrong with the router, and puts it right.
async fn guard(data: &Path, client: &RouterClient) -> Result<()> {
    tokio::select! {
        () = client.hung_up() => {
            if !matches!(client.report().await, Err(client::Error::Unreachable { .. })) {
                return Ok(());
            }
            tracing::warn!("the router has ended; it is started again");
        }
        () = silence(client) => {
            tracing::warn!("the router lives and does not answer; it is ended and started again");
            end(client).await?;
        }
    }
    find_or_start(data).await?;
    Ok(())
}

/// Looks at the router now and then. Returns when it hangs.
async fn silence(client: &RouterClient) {
    let mut unanswered = 0;
    while unanswered < LOOKS {
        let look = tokio::time::timeout(LONGEST_ANSWER, client.report()).await;
        if matches!(look, Err(_) | Ok(Err(client::Error::Timeout))) {
            unanswered += 1;
        } else {
            unanswered = 0;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Ends the process behind the control socket: asks it, and kills it when it does not go.
pub(super) async fn end(client: &RouterClient) -> Result<()> {
    let socket = client.socket().display();
    let Ok(stream) = UnixStream::connect(client.socket()).await else {
        return Ok(());
    };
    // The kernel's word on who listens. While the handle is held no other process gets the number.
    let owner = socket_peercred(&stream)
        .with_context(|| format!("cannot find out who listens on {socket}"))?;
    let process = match pidfd_open(owner.pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error).context("cannot get hold of the router"),
    };
    for signal in [Signal::TERM, Signal::KILL] {
        match pidfd_send_signal(&process, signal) {
            Ok(()) => {}
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error).context("cannot signal the router"),
        }
        let deadline = tokio::time::Instant::now() + END_GRACE;
        while tokio::time::Instant::now() < deadline {
            // One that drains has given up its socket, and the next one may have it.
            if has_ended(&process)? || UnixStream::connect(client.socket()).await.is_err() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    anyhow::bail!("the router (process {:?}) does not end", owner.pid)
}

/// Tells whether a process has ended: its handle can be read then (`pidfd_open(2)`).
fn has_ended(process: &OwnedFd) -> Result<bool> {
    let mut waited = [PollFd::new(process, PollFlags::IN)];
    let ready = poll(&mut waited, Some(&Timespec::default())).context("cannot watch the router")?;
    Ok(ready > 0)
}
