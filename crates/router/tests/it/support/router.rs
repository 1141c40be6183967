//! A router that runs in the test's own process.

use std::num::NonZeroUsize;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use towpath_model::routing::{RouteTable, RouterReport};
use towpath_router::client::RouterClient;
use towpath_router::{Config, Error};

use super::{PATIENCE, eventually};

/// A running router.
pub(crate) struct TestRouter {
    pub(crate) directory: TempDir,
    pub(crate) client: RouterClient,
    config: Config,
    shutdown: CancellationToken,
    running: Option<JoinHandle<Result<(), Error>>>,
}

impl TestRouter {
    /// Starts a router with nothing to serve.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a router whose configuration `change` has changed.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("router.sock");
        let state = directory.path().join("state");
        let mut config = Config::new(state, socket.clone(), NonZeroUsize::new(2).unwrap());
        config.limits.shutdown_grace = Duration::from_secs(5);
        change(&mut config);
        let mut router = Self {
            directory,
            client: RouterClient::new(socket),
            config,
            shutdown: CancellationToken::new(),
            running: None,
        };
        router.run().await;
        router
    }

    /// Starts a router with `table` in force.
    pub(crate) async fn serving(table: &RouteTable) -> Self {
        let router = Self::start().await;
        router.put(table).await;
        router
    }

    async fn run(&mut self) {
        self.shutdown = CancellationToken::new();
        let run = towpath_router::run(self.config.clone(), self.shutdown.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "the test owns the task and awaits it in stop"
        )]
        let running = tokio::spawn(run);
        self.running = Some(running);
        eventually("the router answers", || async {
            self.client.report().await.is_ok()
        })
        .await;
    }

    /// Puts `table` in force.
    pub(crate) async fn put(&self, table: &RouteTable) -> RouterReport {
        self.client.put_table(table).await.unwrap()
    }

    /// Returns the report of this moment.
    pub(crate) async fn report(&self) -> RouterReport {
        self.client.report().await.unwrap().report
    }

    /// Tells the router to stop, without waiting for it.
    pub(crate) fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    /// Stops the router and waits until it is gone.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(running) = self.running.take() {
            tokio::time::timeout(PATIENCE, running)
                .await
                .unwrap()
                .unwrap()
                .unwrap();
        }
    }

    /// Starts the router again on the same directory.
    pub(crate) async fn start_again(&mut self) {
        self.stop().await;
        self.run().await;
    }
}
