//! What every service does alike: log lines, and stopping when it is asked to.

use std::io::Write;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Writes a line to standard error, where logs are collected from.
pub(crate) fn say(line: &str) {
    // A log that cannot be written must not end the service.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// When a service was asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop(CancellationToken);

impl Stop {
    /// Completes once the service was asked to stop.
    pub(crate) async fn asked(&self) {
        self.0.cancelled().await;
    }
}

/// Listens for SIGTERM and SIGINT from now on.
pub(crate) fn stop_on_signal() -> std::io::Result<Stop> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let stop = Stop(token.clone());
    let tasks = tokio_util::task::TaskTracker::new();
    // It lives as long as the runtime, which ends with the service.
    tasks.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => say("launches: asked to stop"),
            _ = interrupt.recv() => say("launches: interrupted"),
        }
        token.cancel();
    });
    Ok(stop)
}
