//! The task of one instance: from its start or adoption to its end. Not its removal.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use towpath_model::id::InstanceId;
use towpath_model::observation::InstanceState;
use towpath_model::port::{PortError, Stop};
use towpath_model::workload::Command;

use super::runner::Supervisor;
use super::shared::{Shared, failed, unknown_signal};
use super::start::{self, Order};
use super::state::{StateFile, exit};
use super::{cgroup, layout, secrets, signals, sweep, variables};
use crate::log;
use crate::procfs::{Identity, boot_id};
use crate::secret_place;
use crate::shim::files;
use crate::shim::launch::{End, Launch, Program, Report, Run, StopRequest, Streams};

/// Lines of the log that go with an end.
pub(super) const TAIL_LINES: usize = 20;

/// A supervisor that has not ended so long after the grace period is killed itself.
const SUPERVISOR_PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether an adopted instance's program was started meanwhile.
const STARTING_INTERVAL: Duration = Duration::from_millis(20);

/// An instance that runs and was started by an earlier control plane.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) file: Arc<StateFile>,
    pub(super) supervisor: Identity,
    pub(super) stop: watch::Receiver<Option<Stop>>,
}

/// Starts an instance and sees it to its end. `recorded` is told as soon as it is written down.
pub(super) async fn start(
    shared: Arc<Shared>,
    order: Order,
    recorded: oneshot::Sender<Result<(), PortError>>,
) {
    let id = order.start.id.clone();
    let mut stop = order.stop.clone();
    let work = {
        let shared = Arc::clone(&shared);
        move || start::prepare(&shared, &order, &shared.layout.instance(&order.start.id))
    };
    let prepared = super::blocking(work).await;
    let (file, launch) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            shared.forget(&id);
            drop(recorded.send(Err(error)));
            return;
        }
    };
    let file = Arc::new(file);
    shared.update(&id, |instance| instance.file = Some(Arc::clone(&file)));
    // The caller may have given up; the instance is written down and goes on.
    drop(recorded.send(Ok(())));
    let directory = shared.layout.instance(&id);
    if let Some(request) = stop.borrow_and_update().clone() {
        drop(request_stop(&directory, &request));
    }
    let error = match launch {
        Ok(launch) => supervise(&shared, &file, &launch, &mut stop).await,
        Err(error) => error,
    };
    finish(&shared, file, error).await;
}

/// Runs the supervisor to its end. Returns what it complained of.
async fn supervise(
    shared: &Arc<Shared>,
    file: &StateFile,
    launch: &Launch,
    stop: &mut watch::Receiver<Option<Stop>>,
) -> String {
    let directory = shared.layout.instance(&file.id);
    let name = file.id.to_string();
    let started = Supervisor::start(&shared.config, &directory, &name, launch, Vec::new()).await;
    let mut supervisor = match started {
        Ok(supervisor) => supervisor,
        Err(error) => return format!("cannot start the supervisor: {error}"),
    };
    let to_the_end = async {
        while let Some(report) = supervisor.report().await {
            if let Report::Started(run) = report {
                running(shared, file, &run);
            }
        }
        supervisor.gone().await
    };
    tokio::select! {
        complaint = to_the_end => complaint,
        () = overdue(&directory, stop) => String::new(),
    }
}

/// Sees an instance to its end that an earlier control plane started.
pub(super) async fn adopt(shared: Arc<Shared>, mut adopted: Adopted) {
    let directory = shared.layout.instance(&adopted.file.id);
    let to_the_end = async {
        wait_for_start(&shared, &adopted.file, adopted.supervisor).await;
        wait_for_end(adopted.supervisor).await;
    };
    tokio::select! {
        () = to_the_end => {}
        () = overdue(&directory, &mut adopted.stop) => {}
    }
    finish(&shared, adopted.file, String::new()).await;
}

async fn wait_for_start(shared: &Shared, file: &StateFile, supervisor: Identity) {
    let path = shared.layout.instance(&file.id).join(files::RUN);
    while supervisor.is_alive() {
        if let Ok(Some(run)) = files::read::<Run>(&path)
            && run.program.is_some()
        {
            return running(shared, file, &run);
        }
        tokio::time::sleep(STARTING_INTERVAL).await;
    }
}

fn running(shared: &Shared, file: &StateFile, run: &Run) {
    shared.update(&file.id, |instance| {
        if instance.state == InstanceState::Starting {
            instance.state = InstanceState::Running {
                address: file.address,
                since: run.at,
            };
        }
    });
}

/// Waits until a process ended, whoever's child it is.
#[expect(
    deprecated,
    reason = "the replacement is unsafe: it asks the caller to promise what an owned descriptor is"
)]
async fn wait_for_end(process: Identity) {
    let Some(fd) = Pid::from_raw(process.pid)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        .and_then(|fd| AsyncFd::with_interest(fd, Interest::READABLE).ok())
    else {
        return;
    };
    // The descriptor stands for our process only if that still has the number.
    if process.is_alive() {
        drop(fd.readable().await);
    }
}

/// Returns when a supervisor that was asked to stop did not in time; it was killed then.
async fn overdue(directory: &Path, stop: &mut watch::Receiver<Option<Stop>>) {
    let mut deadline: Option<Instant> = None;
    loop {
        let asked = stop.borrow_and_update().as_ref().map(|stop| stop.grace);
        if let Some(grace) = asked {
            let wanted = Instant::now() + grace + SUPERVISOR_PATIENCE;
            deadline = Some(deadline.map_or(wanted, |known| known.min(wanted)));
        }
        let over = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = stop.changed() => if changed.is_err() {
                return std::future::pending().await;
            },
            () = over => break,
        }
    }
    tracing::warn!(directory = %directory.display(), "a supervisor does not stop: it is killed");
    if let Ok(Some(run)) = files::read::<Run>(&directory.join(files::RUN)) {
        sweep::kill(run.supervisor);
    }
}

/// Notes how an instance ended, after whatever is left of it was killed.
async fn finish(shared: &Arc<Shared>, file: Arc<StateFile>, complaint: String) {
    let work = {
        let (shared, file) = (Arc::clone(shared), Arc::clone(&file));
        move || Ok(conclude(&shared, &file, &complaint))
    };
    let end = super::blocking(work).await;
    shared.update(&file.id, |instance| match end {
        Ok(exit) => instance.state = InstanceState::Exited(exit),
        Err(error) => tracing::error!(instance = %file.id, %error, "an end could not be noted"),
    });
}

/// Returns how an instance ended whose supervisor is gone, and cleans up behind it.
pub(super) fn conclude(
    shared: &Shared,
    file: &StateFile,
    complaint: &str,
) -> towpath_model::observation::Exit {
    conclude_in(shared, file, &shared.layout.instance(&file.id), complaint)
}

/// Returns how what is written down in `directory` ended, whose supervisor is gone, and cleans up
/// behind it.
pub(super) fn conclude_in(
    shared: &Shared,
    file: &StateFile,
    directory: &Path,
    complaint: &str,
) -> towpath_model::observation::Exit {
    let written: Option<End> = files::read(&directory.join(files::EXIT)).ok().flatten();
    let end = written.unwrap_or_else(|| {
        // The supervisor was killed: nobody else ends what it left behind.
        let run: Option<Run> = files::read(&directory.join(files::RUN)).ok().flatten();
        let this_boot = run.as_ref().filter(|run| run.boot == boot_id());
        let supervisor = this_boot.map(|run| run.supervisor);
        if let Err(error) = sweep::kill_all(|mark| mark == file.mark, supervisor) {
            tracing::error!(instance = %file.id, %error, "processes are left behind");
        }
        let never_started = run.is_none_or(|run| run.program.is_none());
        let end = End {
            code: None,
            signal: None,
            error: never_started.then(|| match complaint {
                "" => "its supervisor was killed before it started".to_owned(),
                complaint => complaint.to_owned(),
            }),
            at: shared.clock.now(),
        };
        if let Err(error) = files::write(&directory.join(files::EXIT), &end) {
            tracing::warn!(instance = %file.id, %error, "an end could not be written down");
        }
        end
    });
    if let Err(error) = secret_place::remove(&file.secrets) {
        tracing::warn!(instance = %file.id, %error, "secrets could not be removed");
    }
    let mut tail = log::tail(&directory.join(layout::LOG), TAIL_LINES);
    if let Some(group) = &file.cgroup {
        match cgroup::remove(group) {
            Ok(true) => {
                tail.push("[killed by the kernel: its memory limit was reached]".to_owned());
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(instance = %file.id, %error, "a control group could not be removed");
            }
        }
    }
    exit(end, tail)
}

impl Shared {
    /// Asks an instance to stop. Its task sees to it that it does.
    pub(super) fn stop(&self, id: &InstanceId, stop: &Stop) -> Result<(), PortError> {
        if signals::parse(&stop.signal).is_none() {
            return Err(unknown_signal(&stop.signal));
        }
        let asked = self.update(id, |instance| {
            if matches!(instance.state, InstanceState::Exited(_)) {
                return false;
            }
            instance.state = InstanceState::Stopping;
            instance.stop.send_replace(Some(stop.clone()));
            true
        });
        if asked != Some(true) {
            return Ok(());
        }
        request_stop(&self.layout.instance(id), stop)
            .map_err(|error| failed(format!("stop {id}"), &error))
    }
}

/// Hands a request to stop to the supervisor. Before the directory is there it is the starting
/// task that does this.
fn request_stop(directory: &Path, stop: &Stop) -> std::io::Result<()> {
    let Some(signal) = signals::parse(&stop.signal) else {
        return Ok(());
    };
    let request = StopRequest {
        signal: signal.as_raw(),
        grace_ms: u64::try_from(stop.grace.as_millis()).unwrap_or(u64::MAX),
    };
    match files::write(&directory.join(files::STOP), &request) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            // A full disk must not keep anything running: the task kills it after the grace.
            let run: Option<Run> = files::read(&directory.join(files::RUN)).ok().flatten();
            match run.and_then(|run| run.program) {
                Some(program) if program.signal(signal) => Ok(()),
                _ => Err(error),
            }
        }
        Ok(()) => {
            files::wake(directory);
            Ok(())
        }
    }
}

/// Runs a command in the surroundings of a running instance. An error says what was met. Whoever
/// drops the future ends the command.
pub(super) async fn run_beside(
    shared: &Arc<Shared>,
    id: &InstanceId,
    command: &Command,
) -> Result<(), String> {
    let file = shared
        .look(id, |instance| instance.file.clone())
        .flatten()
        .ok_or_else(|| format!("{id} is not there"))?;
    let secret_variables = secrets::variables(&file.secrets).map_err(|error| error.to_string())?;
    let mut environment = file.environment.clone();
    let (words, shell) = variables::words(command, &environment);
    environment.extend(secret_variables);
    let launch = Launch {
        stage: start::stage(shared)?,
        program: Program {
            words,
            shell,
            environment,
            directory: file.directory.clone(),
            user: start::switch_to(file.user.as_ref()),
            rlimits: std::collections::BTreeMap::new(),
            cgroup: file.cgroup.clone(),
            streams: Streams::Supervised,
        },
        recorded: false,
        log: None,
        lifeline: true,
    };
    let directory = shared.layout.instance(id);
    let name = format!("{id} (health check)");
    let mut supervisor = Supervisor::start(&shared.config, &directory, &name, &launch, Vec::new())
        .await
        .map_err(|error| error.to_string())?;
    let mut ended = None;
    while let Some(report) = supervisor.report().await {
        if let Report::Ended { end, tail } = report {
            ended = Some(exit(end, tail));
        }
    }
    supervisor.cut();
    let complaint = supervisor.gone().await;
    match ended {
        Some(exit) if exit.is_success() => Ok(()),
        Some(exit) => Err(match exit.log_tail.last() {
            Some(line) => format!("the command {}: {line}", exit.summary()),
            None => format!("the command {}", exit.summary()),
        }),
        None => Err(format!("the command did not start: {complaint}")),
    }
}
