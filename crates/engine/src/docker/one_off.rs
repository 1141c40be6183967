//! One-off containers: made beside those of the platform, never observed as instances, and gone when
//! nobody is attached any more. Not what is asked of them ([`towpath_model::console`]).
//!
//! Each is written down before it is made, in a directory beside those of the instances, so that
//! another control plane finds what this one left.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::Arc;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, ContainerStateStatusEnum, NetworkConnectRequest};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use towpath_model::console::{
    Attachment, CommandEnd, Detached, NOT_EXECUTABLE, NOT_FOUND, OneOff, OneOffs, Session,
};
use towpath_model::id::{EnvironmentId, InstanceId, SecretName};
use towpath_model::port::PortError;
use towpath_model::workload::SecretValue;

use super::client::Trouble;
use super::hijack::{self, Form};
use super::join::{self, Joined};
use super::names;
use super::session::{Of, never_ran, resize, session};
use super::shared::{Shared, failed};
use super::start::{self, Order};
use super::{image, logs, network};
use crate::console::never_started;
use crate::shim::files;

/// The file that says what a one-off is.
const RUN: &str = "run.json";

/// What Docker takes for the wish to detach from a terminal. It cannot be told to detach for nothing,
/// and holds back the first of these bytes until the next one is typed: it is one that no key has.
const DETACH_KEYS: &str = "%FF,%FE,%FF,%FD,%FF,%FC";

/// The exit code of what was killed, as shells have it.
const KILLED: i32 = 137;

/// What is written down of a one-off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    id: InstanceId,
    /// Whether it runs with nobody attached.
    detached: bool,
}

/// Writes a one-off down. From now on [`see_to_its_end`] has to wait for it.
pub(super) fn begin(shared: &Shared, one: &OneOff) -> Result<(), PortError> {
    let id = &one.start.id;
    let run = Run {
        id: id.clone(),
        detached: one.attachment == Attachment::Detached,
    };
    shared.one_offs().insert(id.clone());
    let directory = shared.layout.run(id);
    let written =
        fs::create_dir_all(&directory).and_then(|()| files::write(&directory.join(RUN), &run));
    written.map_err(|error| {
        shared.one_offs().remove(id);
        failed(format!("start {id}"), &error)
    })
}

/// Makes and starts the container of a one-off. Whoever waits for `ended` removes it when that is
/// dropped.
pub(super) async fn run(
    shared: &Arc<Shared>,
    one: &OneOff,
    secrets: &BTreeMap<SecretName, SecretValue>,
    ended: oneshot::Sender<CommandEnd>,
) -> Result<Option<Session>, PortError> {
    let attempted = || format!("start {}", one.start.id);
    match attach_and_start(shared, one, secrets, ended).await {
        Ok(session) => Ok(session),
        Err(Trouble::Away(reason)) => Err(PortError::Failed {
            attempted: attempted(),
            reason,
        }),
        Err(trouble) => Err(PortError::Refused(format!(
            "cannot start {}: {}",
            one.start.id,
            trouble.words()
        ))),
    }
}

async fn attach_and_start(
    shared: &Arc<Shared>,
    one: &OneOff,
    secrets: &BTreeMap<SecretName, SecretValue>,
    ended: oneshot::Sender<CommandEnd>,
) -> Result<Option<Session>, Trouble> {
    let (docker, container) = make(shared, one, secrets).await?;
    let form = match one.attachment {
        Attachment::Detached => None,
        Attachment::Streams => Some(Form::Frames),
        Attachment::Terminal(_) => Some(Form::Raw),
    };
    // First the streams: what it says at once is not lost.
    let streams = match form {
        None => None,
        Some(form) => {
            let path = format!(
                "/containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1&detachKeys={DETACH_KEYS}"
            );
            Some(hijack::open(shared, &path, String::new(), form).await?)
        }
    };
    let started = docker.start_container(&container, None).await;
    if let Err(error) = started {
        let trouble = shared.client.trouble(&error);
        return match end_of_what_never_ran(&docker, &container, &trouble).await {
            Some(end) if streams.is_some() => Ok(Some(never_started(end))),
            _ => Err(trouble),
        };
    }
    let of = Of::Container(container);
    if let Attachment::Terminal(size) = one.attachment {
        resize(shared, &of, size).await?;
    }
    let Some(streams) = streams else {
        // It is nobody's now.
        drop(ended.send(CommandEnd {
            code: 0,
            error: None,
        }));
        return Ok(None);
    };
    Ok(Some(session(shared, of, streams, ended)))
}

/// Returns how a command ended that is not there, or cannot be executed.
async fn end_of_what_never_ran(
    docker: &Docker,
    container: &str,
    trouble: &Trouble,
) -> Option<CommandEnd> {
    let found = docker.inspect_container(container, None).await.ok()?;
    let code = i32::try_from(found.state?.exit_code?).ok()?;
    matches!(code, NOT_FOUND | NOT_EXECUTABLE).then(|| never_ran(trouble.words()))
}

/// Makes the container of a one-off, and all that it needs.
async fn make(
    shared: &Arc<Shared>,
    one: &OneOff,
    secrets: &BTreeMap<SecretName, SecretValue>,
) -> Result<(Docker, String), Trouble> {
    let order = Order {
        start: one.start.clone(),
        secrets: secrets.clone(),
    };
    let start = &order.start;
    let id = &start.id;
    let docker = shared.client.get().await?;
    let Some(container) = start.spec.container.as_deref() else {
        return Err(Trouble::Refused(
            "its specification has no container".to_owned(),
        ));
    };
    let image = image::present(shared, &docker, start, &order.secrets).await?;
    let environment = &id.environment;
    network::ensure(shared, &docker, environment, &join::joins(container)).await?;
    network::ensure_volumes(shared, &docker, environment, &start.spec, container).await?;
    let mut joined = Joined::new(environment, &id.service, container);
    // Whoever asks for the service is not given this one.
    for (_, endpoint) in joined.first.iter_mut().chain(&mut joined.further) {
        endpoint.aliases = None;
    }
    let further = joined.further.clone();
    let configs = shared.layout.run(id).join("configs");
    let request = start::request(shared, &order, container, &image, joined, &configs);
    let request = as_one_off(request.map_err(Trouble::Refused)?, one);
    let mut options = CreateContainerOptionsBuilder::default().name(&names::container(id));
    if let Some(platform) = &container.platform {
        options = options.platform(platform);
    }
    let trouble = |error| shared.client.trouble(&error);
    let made = docker
        .create_container(Some(options.build()), request)
        .await;
    let made = made.map_err(trouble)?.id;
    for (name, endpoint) in further {
        let request = NetworkConnectRequest {
            container: made.clone(),
            endpoint_config: Some(endpoint),
        };
        let connected = docker.connect_network(&name, request).await;
        connected.map_err(trouble)?;
    }
    Ok((docker, made))
}

/// Takes what makes a container an instance, and gives it its streams.
fn as_one_off(mut request: ContainerCreateBody, one: &OneOff) -> ContainerCreateBody {
    let labels = request.labels.get_or_insert_default();
    for label in [
        names::INSTANCE,
        names::WORKLOAD,
        names::PORT,
        names::NETWORK,
    ] {
        labels.remove(label);
    }
    labels.insert(names::RUN.to_owned(), one.start.id.to_string());
    let attached = one.attachment != Attachment::Detached;
    request.tty = Some(matches!(one.attachment, Attachment::Terminal(_)));
    request.open_stdin = Some(attached);
    request.stdin_once = Some(attached);
    request.attach_stdin = Some(attached);
    request.attach_stdout = Some(attached);
    request.attach_stderr = Some(attached);
    request
}

/// Waits until a one-off ended or was left, and removes it. One that runs by itself is left alone
/// when it is started.
pub(super) async fn see_to_its_end(
    shared: Arc<Shared>,
    one: OneOff,
    left: oneshot::Receiver<CommandEnd>,
) {
    let ended = left.await;
    let id = &one.start.id;
    let goes_on = ended.is_ok() && one.attachment == Attachment::Detached;
    if !goes_on && let Err(trouble) = remove(&shared, id).await {
        // Whoever settles next tries again.
        tracing::warn!(instance = %id, reason = trouble.words(), "a one-off cannot be removed yet");
    }
    shared.one_offs().remove(id);
}

/// Removes one-offs that ended or that nobody is attached to; all of them when asked.
pub(super) async fn settle(
    shared: &Shared,
    environment: &EnvironmentId,
    wanted: OneOffs,
) -> Result<(), PortError> {
    let attempted = || format!("end the one-offs of {environment}");
    let written = written_down(shared, environment);
    for run in written.map_err(|error| failed(attempted(), &error))? {
        let attached = shared.one_offs().contains(&run.id);
        let goes_on = match wanted {
            OneOffs::End => false,
            OneOffs::Keep => attached || (run.detached && runs(shared, &run.id).await?),
        };
        if goes_on {
            continue;
        }
        remove(shared, &run.id)
            .await
            .map_err(|trouble| trouble.failed(attempted()))?;
    }
    Ok(())
}

fn written_down(shared: &Shared, environment: &EnvironmentId) -> io::Result<Vec<Run>> {
    let entries = match fs::read_dir(shared.layout.runs(environment)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(id) = format!("{environment}/{name}").parse::<InstanceId>() else {
            continue;
        };
        // One that cannot be read belongs to nobody.
        let run = files::read(&entry.path().join(RUN)).ok().flatten();
        found.push(run.unwrap_or(Run {
            id,
            detached: false,
        }));
    }
    Ok(found)
}

/// Returns the one-offs of an environment that were started and that nobody is attached to.
pub(super) fn detached(shared: &Shared, environment: &EnvironmentId) -> Vec<InstanceId> {
    let mut found = written_down(shared, environment).unwrap_or_default();
    let seen_to = shared.one_offs();
    found.retain(|run| run.detached && !seen_to.contains(&run.id));
    found.into_iter().map(|run| run.id).collect()
}

async fn runs(shared: &Shared, id: &InstanceId) -> Result<bool, PortError> {
    let attempted = || format!("look at {id}");
    let docker = shared.client.get().await;
    let docker = docker.map_err(|trouble| trouble.failed(attempted()))?;
    let found = docker
        .inspect_container(&names::container(id), None)
        .await
        .map_err(|error| shared.client.trouble(&error));
    match found {
        Ok(found) => Ok(found.state.and_then(|state| state.running) == Some(true)),
        Err(Trouble::Missing(_)) => Ok(false),
        Err(trouble) => Err(trouble.failed(attempted())),
    }
}

/// Removes a one-off, whatever it does. What it wrote stays for a while where nobody was attached.
async fn remove(shared: &Shared, id: &InstanceId) -> Result<(), Trouble> {
    let docker = shared.client.get().await?;
    let name = names::container(id);
    let run: Option<Run> = files::read(&shared.layout.run(id).join(RUN)).ok().flatten();
    let mut code = None;
    if run.is_some_and(|run| run.detached) {
        logs::keep(shared, &docker, id).await;
        code = code_of_detached(&docker, &name).await;
    }
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true);
    let removed = docker.remove_container(&name, Some(options.build())).await;
    match removed.map_err(|error| shared.client.trouble(&error)) {
        Ok(()) | Err(Trouble::Missing(_)) => {}
        // Somebody else is at it: it is forgotten when it is gone.
        Err(Trouble::Conflict(_)) => return Ok(()),
        Err(trouble) => return Err(trouble),
    }
    shared.remove_secrets(id);
    match fs::remove_dir_all(shared.layout.run(id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Trouble::Refused(format!("cannot forget {id}: {error}")));
        }
        _ => {}
    }
    if let Some(code) = code {
        shared.untold.add(id, Detached::OneOff, code);
    }
    Ok(())
}

/// Returns how a one-off ends that ran by itself; nothing of one that never ran. What runs is about to
/// be killed.
async fn code_of_detached(docker: &Docker, container: &str) -> Option<i32> {
    let found = docker.inspect_container(container, None).await.ok()?;
    let state = found.state?;
    if state.running == Some(true) {
        return Some(KILLED);
    }
    let ran = state.status != Some(ContainerStateStatusEnum::CREATED);
    let code = state.exit_code.filter(|_| ran)?;
    i32::try_from(code).ok()
}
