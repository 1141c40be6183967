//! Stops an instance: asks it, and kills it after the grace period. Not the decision to.

use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{KillContainerOptionsBuilder, WaitContainerOptionsBuilder};
use futures_util::StreamExt as _;
use towpath_model::id::InstanceId;
use towpath_model::workload::Command;

use super::client::Trouble;
use super::exec;
use super::shared::{Shared, Work};
use super::state::{Stage, StopOrder};

/// How long a killed container may take to be gone before it is killed again.
const KILLED: Duration = Duration::from_secs(10);

/// Sees to the end of an instance that was asked to stop.
pub(super) async fn run(shared: Arc<Shared>, id: InstanceId) {
    if let Err(Trouble::Away(reason)) = end(&shared, &id).await {
        // The next observation that works takes it up again.
        tracing::warn!(instance = %id, reason, "a stop was interrupted and is tried again");
    }
    shared.set_work(&id, Work::None);
}

async fn end(shared: &Shared, id: &InstanceId) -> Result<(), Trouble> {
    let Some(instance) = shared.instance(id) else {
        return Ok(());
    };
    let (Some(order), Stage::Begun) = (&instance.record.stop, &instance.record.stage) else {
        return Ok(());
    };
    let docker = shared.client.get().await?;
    let name = instance.record.container();
    for hook in &instance.record.pre_stop {
        let left = order.left(shared.clock.now());
        let done = tokio::time::timeout(left, exec::hook(shared, &docker, &name, hook)).await;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => tracing::warn!(instance = %id, reason, "a pre_stop command failed"),
            Err(_) => {
                tracing::warn!(instance = %id, "a pre_stop command took the whole grace period");
            }
        }
    }
    ask(shared, &docker, &name, order).await
}

/// Sends the signal, waits for what is left of the grace period, and kills.
async fn ask(
    shared: &Shared,
    docker: &Docker,
    name: &str,
    order: &StopOrder,
) -> Result<(), Trouble> {
    let left = order.left(shared.clock.now());
    if !left.is_zero() {
        // A signal that Docker does not know ends as if there was no grace.
        let asked = match order.signal.as_str() {
            "" => image_signal(shared, docker, name).await?,
            named => named.to_owned(),
        };
        match signal(shared, docker, name, &asked).await {
            Ok(()) => {
                if gone(shared, docker, name, left).await? {
                    return Ok(());
                }
            }
            Err(Trouble::Conflict(_) | Trouble::Missing(_)) => return Ok(()),
            Err(Trouble::Refused(reason)) => {
                tracing::warn!(container = name, reason, "the stop signal was refused");
            }
            Err(away @ Trouble::Away(_)) => return Err(away),
        }
    }
    loop {
        match signal(shared, docker, name, "SIGKILL").await {
            Ok(()) if gone(shared, docker, name, KILLED).await? => return Ok(()),
            Ok(()) => tracing::warn!(container = name, "a killed container does not go away"),
            Err(Trouble::Conflict(_) | Trouble::Missing(_)) => return Ok(()),
            Err(trouble) => return Err(trouble),
        }
    }
}

/// Returns the signal that the image names.
async fn image_signal(shared: &Shared, docker: &Docker, name: &str) -> Result<String, Trouble> {
    let found = docker.inspect_container(name, None).await;
    let found = found.map_err(|error| shared.client.trouble(&error))?;
    let named = found.config.and_then(|config| config.stop_signal);
    Ok(named
        .filter(|signal| !signal.is_empty())
        .unwrap_or_else(|| "SIGTERM".to_owned()))
}

async fn signal(shared: &Shared, docker: &Docker, name: &str, signal: &str) -> Result<(), Trouble> {
    let options = KillContainerOptionsBuilder::default()
        .signal(signal)
        .build();
    let sent = docker.kill_container(name, Some(options)).await;
    sent.map_err(|error| shared.client.trouble(&error))
}

/// Waits until a container does not run. Tells whether that was in time.
async fn gone(
    shared: &Shared,
    docker: &Docker,
    name: &str,
    patience: Duration,
) -> Result<bool, Trouble> {
    let options = WaitContainerOptionsBuilder::default().condition("not-running");
    let mut waiting = std::pin::pin!(docker.wait_container(name, Some(options.build())));
    match tokio::time::timeout(patience, waiting.next()).await {
        Err(_) => Ok(false),
        // Every code but 0 is an error with this client, which says that it ended all the same.
        Ok(Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. }))) => Ok(true),
        Ok(Some(Err(error))) => match shared.client.trouble(&error) {
            Trouble::Missing(_) => Ok(true),
            trouble => Err(trouble),
        },
        Ok(None) => Err(Trouble::Away("Docker stopped to answer".to_owned())),
    }
}

/// Returns a command as the words that Docker runs.
pub(super) fn words(command: &Command) -> Vec<String> {
    match command {
        Command::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
        Command::Exec(words) => words.clone(),
    }
}
