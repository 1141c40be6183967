//! The data plane as a process: how it runs, and how the control plane finds or starts it. Not how
//! it forwards requests.

mod watch;

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use towpath_model::port::{PortError, Router};
use towpath_model::routing::{RouteTable, RouterReport};
use towpath_router::client::{self, RouterClient};

use super::router_socket;
pub(crate) use watch::keep_alive;

/// The longest that a started router may take to answer.
const LONGEST_START: Duration = Duration::from_secs(10);

/// The time between two looks at a router that starts.
const PATIENCE: Duration = Duration::from_millis(10);

/// How long one wait for news of the router lasts.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Runs the router until `shutdown`.
pub(crate) async fn run(data: &Path, shutdown: CancellationToken) -> Result<()> {
    // Its own session: no terminal's hangup reaches it. It fails only where it leads one already.
    rustix::process::setsid().ok();
    let workers = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let config = towpath_router::Config::new(data.join("router"), router_socket(data), workers);
    towpath_router::run(config, shutdown)
        .await
        .context("the router failed")
}

/// Finds the router of a data directory, or starts it as a process that outlives this one.
pub(crate) async fn find_or_start(data: &Path) -> Result<RouterClient> {
    let client = RouterClient::new(router_socket(data));
    match client.report().await {
        Ok(_) => return Ok(client),
        Err(client::Error::Unreachable { .. }) => {}
        Err(error) => {
            tracing::warn!(error = %error, "a router lives and does not answer; it is ended");
            watch::end(&client).await?;
        }
    }
    let mut child = start(data)?;
    let deadline = tokio::time::Instant::now() + LONGEST_START;
    loop {
        match client.report().await {
            Ok(_) => return Ok(client),
            Err(error) if tokio::time::Instant::now() >= deadline => {
                let log = data.join("router.log");
                return Err(error)
                    .with_context(|| format!("the router does not answer: see {}", log.display()));
            }
            Err(_) => tokio::time::sleep(PATIENCE).await,
        }
        // One that is about to end still had the lock, perhaps.
        if child
            .try_wait()
            .context("cannot watch the router")?
            .is_some()
        {
            tokio::time::sleep(PATIENCE * 10).await;
            child = start(data)?;
        }
    }
}

/// Ends the router of a data directory, if there is one. Requests in flight may end first.
pub(crate) async fn end(data: &Path) -> Result<()> {
    watch::end(&RouterClient::new(router_socket(data))).await
}

/// Starts a router that outlives this process. Should it end before, tokio waits for it.
fn start(data: &Path) -> Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.join("router.log"))
        .context("cannot open router.log in the data directory")?;
    Command::new(program)
        .args(["router", "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start the router")
}

/// The router as the platform's port.
#[derive(Debug)]
pub(crate) struct RouterPort {
    client: RouterClient,
    seen: std::sync::atomic::AtomicU64,
}

impl RouterPort {
    /// Makes a port of a client.
    pub(crate) fn new(client: RouterClient) -> Self {
        Self {
            client,
            seen: std::sync::atomic::AtomicU64::new(0),
        }
    }
}

#[async_trait]
impl Router for RouterPort {
    async fn publish(&self, table: &RouteTable) -> Result<RouterReport, PortError> {
        self.client
            .put_table(table)
            .await
            .map_err(|error| failed("giving the router its table", &error))
    }

    async fn report(&self) -> Result<RouterReport, PortError> {
        let numbered = self.client.report().await;
        Ok(numbered
            .map_err(|error| failed("asking the router", &error))?
            .report)
    }

    async fn changed(&self) -> Result<RouterReport, PortError> {
        use std::sync::atomic::Ordering;
        let seen = self.seen.load(Ordering::Relaxed);
        let numbered = self.client.report_after(seen, LONGEST_WAIT).await;
        let numbered = numbered.map_err(|error| failed("asking the router", &error))?;
        self.seen.store(numbered.change, Ordering::Relaxed);
        Ok(numbered.report)
    }
}

fn failed(attempted: &str, error: &client::Error) -> PortError {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        reason = format!("{reason}: {inner}");
        cause = inner.source();
    }
    PortError::Failed {
        attempted: attempted.to_owned(),
        reason,
    }
}
