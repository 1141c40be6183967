//! What people run in containers. Not what the platform runs in them ([`super::exec`]), nor one-off
//! containers ([`super::one_off`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::exec::StartExecOptions;
use bollard::models::ExecConfig;
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::oneshot;
use towpath_model::console::{
    Attachment, CommandEnd, Console, ConsoleCommand, Detached, DetachedEnd, OneOff, OneOffs,
    Session, Usage,
};
use towpath_model::id::{EnvironmentId, InstanceId, SecretName};
use towpath_model::port::PortError;
use towpath_model::workload::SecretValue;

use super::client::Trouble;
use super::exec::variables;
use super::hijack::{self, Form};
use super::session::{Of, end_seen_every, resize, session};
use super::shared::Shared;
use super::state::Stage;
use super::{DockerEngine, one_off, usage};
use crate::procfs::{Identity, descendants, processes};

/// How often it is looked for the process of a command that was just started, and how often.
const LOOKS: usize = 50;
const INTERVAL: Duration = Duration::from_millis(20);

/// What Docker takes for the wish to detach from a terminal. It cannot be told to detach for nothing,
/// and here takes only what is ASCII, so one key has to wait for the next one: the rarest.
const DETACH_KEYS: &str = "ctrl-^,ctrl-@,ctrl-^,ctrl-],ctrl-^,ctrl-_";

/// How often it is looked whether a command ended that nobody is attached to.
const DETACHED_INTERVAL: Duration = Duration::from_millis(500);

#[async_trait]
impl Console for DockerEngine {
    async fn exec(
        &self,
        id: &InstanceId,
        command: &ConsoleCommand,
    ) -> Result<Option<Session>, PortError> {
        let (made, left) = make(&self.shared, id, command).await?;
        let (shared, exec) = (Arc::clone(&self.shared), made.exec.clone());
        self.spawn(end_when_left(shared, exec, left));
        if command.attachment == Attachment::Detached {
            let (shared, id, exec) = (Arc::clone(&self.shared), id.clone(), made.exec.clone());
            start(&self.shared, &id, made).await?;
            self.spawn(async move {
                let code = end_of_detached(&shared, exec).await;
                shared.untold.add(&id, Detached::Command, code);
            });
            return Ok(None);
        }
        let attached = attach(&self.shared, id, made, command.attachment).await;
        attached.map(Some)
    }

    async fn run(
        &self,
        one: &OneOff,
        secrets: &BTreeMap<SecretName, SecretValue>,
    ) -> Result<Option<Session>, PortError> {
        one_off::begin(&self.shared, one)?;
        let (ended, left) = oneshot::channel();
        let (shared, of) = (Arc::clone(&self.shared), one.clone());
        // A task of its own: whoever stops waiting leaves nothing behind.
        self.spawn(one_off::see_to_its_end(shared, of, left));
        let (shared, of, secrets) = (Arc::clone(&self.shared), one.clone(), secrets.clone());
        let (made, session) = oneshot::channel();
        self.spawn(async move {
            // A session that nobody waits for any more is left at once.
            drop(made.send(one_off::run(&shared, &of, &secrets, ended).await));
        });
        session.await.unwrap_or_else(|_| {
            Err(PortError::Failed {
                attempted: format!("start {}", one.start.id),
                reason: "the engine is shutting down".to_owned(),
            })
        })
    }

    async fn settle(
        &self,
        environment: &EnvironmentId,
        wanted: OneOffs,
    ) -> Result<Vec<DetachedEnd>, PortError> {
        one_off::settle(&self.shared, environment, wanted).await?;
        Ok(self.shared.untold.take(environment))
    }

    async fn usage(
        &self,
        environment: &EnvironmentId,
    ) -> Result<BTreeMap<InstanceId, Usage>, PortError> {
        usage::of_environment(&self.shared, environment).await
    }
}

/// A command that was made and does not run yet.
struct Made {
    exec: String,
    /// Whoever waits here ends it when it is left.
    ended: oneshot::Sender<CommandEnd>,
}

/// Makes a command. What is returned beside it is to be handed to [`end_when_left`].
async fn make(
    shared: &Shared,
    id: &InstanceId,
    command: &ConsoleCommand,
) -> Result<(Made, oneshot::Receiver<CommandEnd>), PortError> {
    let attempted = || format!("run a command in {id}");
    let known = shared.instance(id);
    let runs = known.is_some_and(|known| known.record.stage == Stage::Begun);
    if !runs {
        return Err(PortError::Refused(format!("{id} does not run")));
    }
    let attached = command.attachment != Attachment::Detached;
    let config = ExecConfig {
        attach_stdin: Some(attached),
        attach_stdout: Some(attached),
        attach_stderr: Some(attached),
        tty: Some(matches!(command.attachment, Attachment::Terminal(_))),
        env: Some(variables(&command.variables)),
        cmd: Some(command.words.clone()),
        user: command.user.clone(),
        working_dir: command.directory.clone(),
        detach_keys: Some(DETACH_KEYS.to_owned()),
        ..ExecConfig::default()
    };
    let docker = shared.client.get().await;
    let docker = docker.map_err(|trouble| trouble.failed(attempted()))?;
    let made = docker.create_exec(&shared.container_of(id), config).await;
    let made = made.map_err(|error| said(shared.client.trouble(&error), attempted()))?;
    let (ended, left) = oneshot::channel();
    let exec = made.id;
    Ok((Made { exec, ended }, left))
}

/// Starts a command and leaves it alone.
async fn start(shared: &Shared, id: &InstanceId, made: Made) -> Result<(), PortError> {
    let attempted = || format!("run a command in {id}");
    let docker = shared.client.get().await;
    let docker = docker.map_err(|trouble| trouble.failed(attempted()))?;
    let options = StartExecOptions {
        detach: true,
        ..StartExecOptions::default()
    };
    let started = docker.start_exec(&made.exec, Some(options)).await;
    started.map_err(|error| said(shared.client.trouble(&error), attempted()))?;
    // It is nobody's now.
    drop(made.ended.send(CommandEnd {
        code: 0,
        error: None,
    }));
    Ok(())
}

/// Waits for the end of a command that nobody is attached to, whatever Docker does meanwhile.
async fn end_of_detached(shared: &Shared, exec: String) -> i32 {
    let of = Of::Exec(exec);
    loop {
        match end_seen_every(DETACHED_INTERVAL, shared, &of).await {
            Ok(end) => return end.code,
            Err(_) => tokio::time::sleep(DETACHED_INTERVAL).await,
        }
    }
}

/// Starts a command with somebody attached to it.
async fn attach(
    shared: &Arc<Shared>,
    id: &InstanceId,
    made: Made,
    attachment: Attachment,
) -> Result<Session, PortError> {
    let attempted = || format!("run a command in {id}");
    let Made { exec, ended } = made;
    let terminal = match attachment {
        Attachment::Terminal(size) => Some(size),
        Attachment::Detached | Attachment::Streams => None,
    };
    let form = terminal.map_or(Form::Frames, |_| Form::Raw);
    let body = json!({ "Detach": false, "Tty": terminal.is_some() });
    let path = format!("/exec/{exec}/start");
    let streams = hijack::open(shared, &path, body.to_string(), form).await;
    let streams = streams.map_err(|trouble| said(trouble, attempted()))?;
    let of = Of::Exec(exec);
    if let Some(size) = terminal {
        let resized = resize(shared, &of, size).await;
        resized.map_err(|trouble| trouble.failed(attempted()))?;
    }
    Ok(session(shared, of, streams, ended))
}

/// Returns what Docker said: what it refuses will never work, the rest may.
fn said(trouble: Trouble, attempted: String) -> PortError {
    match trouble {
        Trouble::Refused(words) | Trouble::Conflict(words) | Trouble::Missing(words) => {
            PortError::Refused(words)
        }
        away @ Trouble::Away(_) => away.failed(attempted),
    }
}

/// Waits until a command ended or was left. One that was left is killed, with all that it started:
/// Docker would let it run.
async fn end_when_left(shared: Arc<Shared>, exec: String, left: oneshot::Receiver<CommandEnd>) {
    if left.await.is_ok() {
        return;
    }
    for _ in 0..LOOKS {
        let Ok(docker) = shared.client.get().await else {
            return;
        };
        let Ok(found) = docker.inspect_exec(&exec).await else {
            return;
        };
        let container = found.container_id.unwrap_or_default();
        match (
            found.running,
            found.pid.and_then(|pid| i32::try_from(pid).ok()),
        ) {
            (Some(true), Some(pid)) if pid > 0 => return kill(pid, &container),
            _ if found.exit_code.is_some() => return,
            // It is on its way, or was never started.
            _ => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// Kills a process of a container and all that descends from it. Docker has no call for it, but
/// says which process it is.
fn kill(pid: i32, container: &str) {
    // Where Docker is in a machine of its own, the number is another process's here.
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let Some(process) = Identity::of(pid).filter(|_| groups.contains(container)) else {
        return;
    };
    // First the parent, which would start others.
    process.signal(Signal::STOP);
    for descendant in descendants(&processes(), pid) {
        descendant.identity.signal(Signal::KILL);
    }
    process.signal(Signal::KILL);
}
