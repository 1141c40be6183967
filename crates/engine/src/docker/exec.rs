//! Runs commands in containers: hooks and health checks. Not a person's `exec`.

use std::collections::BTreeMap;

use bollard::Docker;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures_util::StreamExt as _;
use towpath_model::container::Hook;
use towpath_model::id::InstanceId;
use towpath_model::workload::Command;

use super::names;
use super::shared::Shared;
use super::stop::words;

/// How much of a command's output is kept to say what it met.
const OUTPUT_BYTES: usize = 4096;

/// Runs the command of a health check.
pub(super) async fn check(
    shared: &Shared,
    id: &InstanceId,
    command: &Command,
) -> Result<(), String> {
    let docker = shared.client.get().await;
    let docker = docker.map_err(|trouble| trouble.words().to_owned())?;
    let config = ExecConfig {
        cmd: Some(words(command)),
        ..ExecConfig::default()
    };
    run(shared, &docker, &names::container(id), config).await
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
    run(shared, docker, container, config).await
}

fn variables(environment: &BTreeMap<String, String>) -> Vec<String> {
    environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

async fn run(
    shared: &Shared,
    docker: &Docker,
    container: &str,
    config: ExecConfig,
) -> Result<(), String> {
    let said = |error: bollard::errors::Error| shared.client.trouble(&error).words().to_owned();
    let config = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..config
    };
    let made = docker.create_exec(container, config).await.map_err(said)?;
    let started = docker.start_exec(&made.id, None).await.map_err(said)?;
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
    let ended = docker.inspect_exec(&made.id).await.map_err(said)?;
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
