//! Runs commands in containers: hooks and health checks. Not a person's `exec`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bollard::Docker;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures_util::StreamExt as _;
use rustix::process::Signal;
use tokio::sync::oneshot;
use towpath_model::container::Hook;
use towpath_model::id::InstanceId;
use towpath_model::workload::Command;

use super::shared::Shared;
use super::stop::words;
use crate::procfs::Identity;

/// How much of a command's output is kept to say what it met.
const OUTPUT_BYTES: usize = 4096;

/// Runs the command of a health check until it ended or nobody waits for it any more. Then it is
/// killed: Docker would let it run, and the next one beside it.
pub(super) async fn check(
    shared: Arc<Shared>,
    id: InstanceId,
    command: Command,
    mut outcome: oneshot::Sender<Result<(), String>>,
) {
    let config = ExecConfig {
        cmd: Some(words(&command)),
        ..ExecConfig::default()
    };
    let container = shared.container_of(&id);
    let made = match shared.client.get().await {
        Ok(docker) => make(&shared, &docker, &container, config)
            .await
            .map(|exec| (docker, exec)),
        Err(trouble) => Err(trouble.words().to_owned()),
    };
    let (docker, exec) = match made {
        Ok(made) => made,
        Err(reason) => {
            drop(outcome.send(Err(reason)));
            return;
        }
    };
    let ended = tokio::select! {
        ended = run(&shared, &docker, &exec) => Some(ended),
        () = outcome.closed() => None,
    };
    match ended {
        Some(ended) => drop(outcome.send(ended)),
        None => kill(&docker, &exec).await,
    }
}

/// Kills what an exec runs: Docker has no call for it, but says which process it is.
async fn kill(docker: &Docker, exec: &str) {
    let Ok(found) = docker.inspect_exec(exec).await else {
        return;
    };
    let (Some(pid), Some(container)) = (found.pid, found.container_id) else {
        return;
    };
    let process = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    let Some(process) = process.and_then(Identity::of) else {
        return;
    };
    // Where Docker is in a machine of its own, the number is another process's here.
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    if found.running == Some(true) && groups.contains(&container) {
        process.signal(Signal::KILL);
    }
}

/// Returns the health check that an instance has from its image.
pub(super) fn own_check(shared: &Shared, id: &InstanceId) -> Option<Command> {
    shared.instance(id)?.record.check
}

/// Runs the command of a moment in a container's life.
pub(super) async fn hook(
    shared: &Shared,
    docker: &Docker,
    container: &str,
    hook: &Hook,
) -> Result<(), String> {
    let config = ExecConfig {
        cmd: Some(hook.command.clone()),
        user: hook.user.clone(),
        privileged: Some(hook.privileged),
        working_dir: hook.working_directory.clone(),
        env: Some(variables(&hook.environment)),
        ..ExecConfig::default()
    };
    let exec = make(shared, docker, container, config).await?;
    run(shared, docker, &exec).await
}

pub(super) fn variables(environment: &BTreeMap<String, String>) -> Vec<String> {
    environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

async fn make(
    shared: &Shared,
    docker: &Docker,
    container: &str,
    config: ExecConfig,
) -> Result<String, String> {
    let config = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..config
    };
    let made = docker.create_exec(container, config).await;
    made.map(|made| made.id)
        .map_err(|error| shared.client.trouble(&error).words().to_owned())
}

async fn run(shared: &Shared, docker: &Docker, exec: &str) -> Result<(), String> {
    let said = |error: bollard::errors::Error| shared.client.trouble(&error).words().to_owned();
    let started = docker.start_exec(exec, None).await.map_err(said)?;
    let mut output = Vec::new();
    if let StartExecResults::Attached {
        output: mut pieces, ..
    } = started
    {
        while let Some(piece) = pieces.next().await {
            output.extend_from_slice(piece.map_err(said)?.as_ref());
            output.truncate(OUTPUT_BYTES);
        }
    }
    let ended = docker.inspect_exec(exec).await.map_err(said)?;
    match ended.exit_code {
        Some(0) => Ok(()),
        code => {
            let code = code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
            let output = String::from_utf8_lossy(&output);
            Err(match output.trim() {
                "" => format!("it exited with {code}"),
                output => format!("it exited with {code}: {output}"),
            })
        }
    }
}
