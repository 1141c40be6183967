//! One-off instances: started beside those of the platform, never observed as instances, and gone
//! when nobody is attached any more. Not what is asked of them ([`towpath_model::console`]).
//!
//! One that somebody is attached to ends with this process; one that runs by itself goes on, and is
//! found again by its directory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use towpath_model::console::{Attachment, Detached, OneOff, OneOffs, Session};
use towpath_model::id::{EnvironmentId, InstanceId, SecretName};
use towpath_model::port::PortError;
use towpath_model::workload::SecretValue;

use super::console::{begun, see, with_code};
use super::instance::conclude_in;
use super::open::lives;
use super::runner::Supervisor;
use super::session::Ends;
use super::shared::{Shared, failed};
use super::start::{self, Order};
use super::state::StateFile;
use super::{blocking, layout, sweep, tree};
use crate::procfs::boot_id;
use crate::shim::files;
use crate::shim::launch::{End, Run};

/// The exit code of what was killed, as shells have it.
const KILLED: i32 = 137;

type Begun = oneshot::Sender<Result<Option<Session>, PortError>>;

/// Starts a one-off and sees it to its end. Whoever asked is told of the session.
pub(super) async fn run(
    shared: Arc<Shared>,
    one: OneOff,
    secrets: BTreeMap<SecretName, SecretValue>,
    told: Begun,
) {
    let id = one.start.id.clone();
    shared.one_offs().insert(id.clone());
    match start(&shared, one, secrets).await {
        Err(error) => drop(told.send(Err(error))),
        Ok((supervisor, None)) => {
            drop(told.send(Ok(None)));
            drop(see(supervisor, std::future::pending(), std::future::pending()).await);
        }
        Ok((supervisor, Some(ours))) => {
            let (mut ended, end) = oneshot::channel();
            drop(told.send(Ok(Some(ours.session(end)))));
            let seen = see(supervisor, ended.closed(), std::future::pending()).await;
            // Removed first: whoever hears of the end finds nothing left.
            forget(&shared, &id).await;
            drop(ended.send(seen));
            return;
        }
    }
    forget(&shared, &id).await;
}

async fn start(
    shared: &Arc<Shared>,
    one: OneOff,
    secrets: BTreeMap<SecretName, SecretValue>,
) -> Result<(Supervisor, Option<super::session::Ours>), PortError> {
    let id = one.start.id.clone();
    let attempted = || format!("start {id}");
    let attachment = one.attachment;
    let (_, stop) = watch::channel(None);
    let order = Order {
        start: one.start,
        secrets,
        stop,
    };
    let work = {
        let shared = Arc::clone(shared);
        move || start::prepare(&shared, &order, &shared.layout.run(&order.start.id))
    };
    let (file, launch) = blocking(work).await?;
    let mut launch = launch.map_err(PortError::Refused)?;
    let ends = Ends::new(attachment, file.user.as_ref());
    let ends = ends.map_err(|error| failed(attempted(), &error))?;
    launch.program.streams = ends.streams;
    if attachment != Attachment::Detached {
        // It is nobody's without this process, and whoever is attached has what it writes.
        launch.recorded = false;
        launch.lifeline = true;
        launch.log = None;
    }
    let directory = shared.layout.run(&id);
    let (config, name) = (&shared.config, format!("{id} (run)"));
    let started = Supervisor::start(config, &directory, &name, &launch, ends.theirs).await;
    let mut supervisor = started.map_err(|error| failed(attempted(), &error))?;
    if ends.ours.is_none() {
        begun(&mut supervisor).await?;
    }
    Ok((supervisor, ends.ours))
}

/// Removes a one-off that ended.
async fn forget(shared: &Arc<Shared>, id: &InstanceId) {
    let work = {
        let (shared, id) = (Arc::clone(shared), id.clone());
        move || remove(&shared, &id).map_err(|error| failed(format!("remove {id}"), &error))
    };
    if let Err(error) = blocking(work).await {
        // Whoever settles next tries again.
        tracing::warn!(instance = %id, %error, "a one-off cannot be removed yet");
    }
    shared.one_offs().remove(id);
}

/// Tells whether there may be a one-off of an environment.
pub(super) fn are_there(shared: &Shared, environment: &EnvironmentId) -> bool {
    layout::runs(&shared.layout.environment(environment)).exists()
}

/// Removes one-offs that ended or that nobody is attached to; ends all of them when asked.
pub(super) fn settle(
    shared: &Shared,
    environment: &EnvironmentId,
    wanted: OneOffs,
) -> Result<(), PortError> {
    let attempted = || format!("end the one-offs of {environment}");
    let written = written_down(shared, environment);
    for id in written.map_err(|error| failed(attempted(), &error))? {
        let seen_to = shared.one_offs().contains(&id);
        let settled = match wanted {
            OneOffs::Keep if seen_to || runs(shared, &id) => Ok(()),
            // Its own task sees that it ended, and removes it.
            OneOffs::End if seen_to => end(shared, &id),
            OneOffs::Keep | OneOffs::End => remove(shared, &id),
        };
        settled.map_err(|error| failed(attempted(), &error))?;
    }
    Ok(())
}

/// Returns the one-offs of an environment that are written down.
pub(super) fn written_down(
    shared: &Shared,
    environment: &EnvironmentId,
) -> io::Result<Vec<InstanceId>> {
    let entries = match fs::read_dir(layout::runs(&shared.layout.environment(environment))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        found.extend(format!("{environment}/{name}").parse::<InstanceId>().ok());
    }
    Ok(found)
}

/// Tells whether a one-off runs by itself.
fn runs(shared: &Shared, id: &InstanceId) -> bool {
    let directory = shared.layout.run(id);
    let run: Option<Run> = files::read(&directory.join(files::RUN)).ok().flatten();
    run.is_some_and(|run| lives(&run)) && !directory.join(files::EXIT).exists()
}

/// Kills a one-off.
fn end(shared: &Shared, id: &InstanceId) -> io::Result<()> {
    let directory = shared.layout.run(id);
    let file: Option<StateFile> = files::read(&directory.join(layout::STATE))?;
    let run: Option<Run> = files::read(&directory.join(files::RUN))?;
    let supervisor = run
        .filter(|run| run.boot == boot_id())
        .map(|run| run.supervisor);
    if let Some(supervisor) = supervisor {
        sweep::kill(supervisor);
    }
    let mark = file.map(|file| file.mark);
    sweep::kill_all(|found| mark.as_deref() == Some(found), supervisor)
}

/// Removes all that there is of a one-off, and ends what runs of it. Its log stays for a while.
fn remove(shared: &Shared, id: &InstanceId) -> io::Result<()> {
    let directory = shared.layout.run(id);
    let code = code_of_detached(&directory);
    if !directory.join(files::EXIT).exists() {
        end(shared, id)?;
    }
    if let Some(file) = files::read::<StateFile>(&directory.join(layout::STATE))? {
        conclude_in(shared, &file, &directory, "");
    }
    shared.keep_log(id, &directory)?;
    tree::remove(&directory)?;
    // Where there is no place in memory, its secrets were in a directory of an instance.
    drop(fs::remove_dir(shared.layout.instance(id)));
    // The directory of all one-offs stays as long as there is another.
    drop(fs::remove_dir(layout::runs(
        &shared.layout.environment(&id.environment),
    )));
    if let Some(code) = code? {
        shared.untold.add(id, Detached::OneOff, code);
    }
    Ok(())
}

/// Returns how a one-off ends that ran by itself; nothing of one that did not, or never ran. What runs
/// is about to be killed.
fn code_of_detached(directory: &Path) -> io::Result<Option<i32>> {
    let run: Option<Run> = files::read(&directory.join(files::RUN))?;
    let ended: Option<End> = files::read(&directory.join(files::EXIT))?;
    Ok(match (run, ended) {
        (_, Some(end)) if end.error.is_some() => None,
        (_, Some(end)) => Some(with_code(end, None).code),
        (Some(_), None) => Some(KILLED),
        (None, None) => None,
    })
}
