//! Opens the engine on a data directory: finds what an earlier control plane left and sorts it
//! into what runs, what ended and what never began. Not the tasks of what runs.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::process::geteuid;
use tokio::sync::watch;
use towpath_model::id::{AppName, Digest, EnvironmentId, EnvironmentName, ReleaseNumber};
use towpath_model::observation::InstanceState;
use towpath_model::port::{Clock, DataDirectory, Stop};

use super::cgroup::Cgroups;
use super::config::{ProcessConfig, SecretPlace};
use super::instance::{Adopted, conclude};
use super::layout::{self, Layout};
use super::ports::Ports;
use super::shared::{Artifact, Environment, Instance, Shared};
use super::state::{ReleaseFile, StateFile};
use super::{one_off, plan, release, sweep, tree};
use crate::changes::Changes;
use crate::console::Untold;
use crate::procfs::{Identity, boot_id};
use crate::secret_place;
use crate::shim::files;
use crate::shim::launch::{Run, StopRequest};

/// Why the engine cannot work on a data directory.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or directory cannot be read or made.
    #[error("cannot use {}", path.display())]
    Files {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its path goes into variables, which are text.
    #[error("the path of the data directory {} is not UTF-8", .0.display())]
    NotText(PathBuf),
}

/// An engine, and the instances that it has to see to their ends.
pub(super) struct Opened {
    pub(super) shared: Shared,
    pub(super) adopted: Vec<Adopted>,
}

/// An instance that an earlier control plane wrote down.
type Found = (Arc<StateFile>, Instance);

/// Reads everything. Blocks: it is called once, at the start.
pub(super) fn open(
    data: &DataDirectory,
    clock: Arc<dyn Clock>,
    config: ProcessConfig,
) -> Result<Opened, OpenError> {
    let files = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Files { path, source }
    };
    DirBuilder::new()
        .mode(0o711)
        .recursive(true)
        .create(&data.0)
        .map_err(files(&data.0))?;
    let root = data.0.canonicalize().map_err(files(&data.0))?;
    let text = root
        .to_str()
        .ok_or_else(|| OpenError::NotText(root.clone()))?;
    let data_id = Digest::of(text.as_bytes()).short().to_owned();
    let layout = Layout {
        data: DataDirectory(root.clone()),
    };
    let apps = layout.apps();
    DirBuilder::new()
        .mode(0o711)
        .recursive(true)
        .create(&apps)
        .map_err(files(&apps))?;
    let secret_place = match config.secrets {
        SecretPlace::Memory => secret_place::place_in_memory(&data_id),
        SecretPlace::InstanceDirectory => None,
    };
    let seed = u64::from_str_radix(&data_id, 16).unwrap_or_default();
    let shared = Shared {
        users: users(&root),
        cgroups: Cgroups::find(&data_id),
        layout,
        clock,
        config,
        ports: Ports::new(seed),
        data_id,
        secret_place,
        known: Mutex::default(),
        changes: Changes::default(),
        one_offs: Mutex::default(),
        untold: Untold::default(),
    };
    let mut adopted = Vec::new();
    for (app, app_name) in named(&apps).map_err(files(&apps))? {
        for (directory, name) in named(&app).map_err(files(&app))? {
            let id = AppName::new(app_name.clone())
                .and_then(|app| Ok(EnvironmentId::new(app, EnvironmentName::new(name)?)));
            let Ok(id) = id else { continue };
            let environment = read_environment(&shared, &id, &directory, &mut adopted)
                .map_err(files(&directory))?;
            shared.lock().insert(id, environment);
        }
    }
    forget_lost_secrets(&shared);
    Ok(Opened { shared, adopted })
}

/// Tells whether instances may run as another user.
fn users(data: &Path) -> Result<(), String> {
    if !geteuid().is_root() {
        return Err("only root may change the user".to_owned());
    }
    // Every directory above has to let others pass too.
    let closed = data.ancestors().find(|directory| {
        let mode = directory
            .metadata()
            .map(|metadata| metadata.permissions().mode());
        !mode.is_ok_and(|mode| mode & 0o001 != 0)
    });
    match closed {
        None => Ok(()),
        Some(directory) => Err(format!(
            "other users cannot pass through {}: chmod o+x would let them",
            directory.display()
        )),
    }
}

/// Returns the directories in a directory, which may not be there.
fn named(directory: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push((
                entry.path(),
                entry.file_name().to_string_lossy().into_owned(),
            ));
        }
    }
    Ok(found)
}

fn read_environment(
    shared: &Shared,
    id: &EnvironmentId,
    directory: &Path,
    adopted: &mut Vec<Adopted>,
) -> io::Result<Environment> {
    let mut environment = Environment::default();
    for (path, name) in named(&layout::releases(directory))? {
        let Ok(number) = name.parse().map(ReleaseNumber) else {
            continue;
        };
        if let Ok(Some(file)) = files::read::<ReleaseFile>(&path.join(layout::RELEASE)) {
            let artifact = Artifact {
                state: file.state,
                making: None,
            };
            environment.releases.insert(number, artifact);
        } else {
            // Its making was interrupted: it is begun anew when it is asked for again.
            end_builds(&path, &release::mark(shared, id, number))?;
            tree::remove(&path)?;
        }
    }
    for (path, _) in named(&layout::instances(directory))? {
        if let Some((file, instance)) = read_instance(shared, &path, adopted)? {
            shared.ports.remember(file.address.port());
            environment.instances.insert(file.id.clone(), instance);
        }
    }
    Ok(environment)
}

/// Ends what an interrupted build left running. Its supervisors end by themselves without the
/// control plane; they may have been killed too.
fn end_builds(release: &Path, mark: &str) -> io::Result<()> {
    for (build, _) in named(release)? {
        if let Ok(Some(run)) = files::read::<Run>(&build.join(files::RUN))
            && run.boot == boot_id()
        {
            sweep::kill(run.supervisor);
            sweep::kill_all(|_| false, Some(run.supervisor))?;
        }
    }
    sweep::kill_all(|found| found == mark, None)
}

fn read_instance(
    shared: &Shared,
    path: &Path,
    adopted: &mut Vec<Adopted>,
) -> io::Result<Option<Found>> {
    let file: Arc<StateFile> = match files::read(&path.join(layout::STATE)) {
        Ok(Some(file)) => Arc::new(file),
        // The start was interrupted before it was written down.
        Ok(None) => return tree::remove(path).map(|()| None),
        Err(error) => {
            tracing::error!(path = %path.display(), %error, "an instance cannot be read");
            return set_aside(path).map(|()| None);
        }
    };
    let (stop, asked) = watch::channel(None);
    let mut instance = Instance {
        workload: file.workload.clone(),
        release: file.release,
        state: InstanceState::Starting,
        file: Some(Arc::clone(&file)),
        stop,
    };
    let ended = path.join(files::EXIT).exists();
    let Some(run) = claim_or_read(path)? else {
        if ended {
            instance.state = InstanceState::Exited(conclude(shared, &file, ""));
            return Ok(Some((file, instance)));
        }
        // It never began, and with the claim it never will: it may be asked for again.
        secret_place::remove(&file.secrets)?;
        return tree::remove(path).map(|()| None);
    };
    if ended || !lives(&run) {
        instance.state = InstanceState::Exited(conclude(shared, &file, ""));
        return Ok(Some((file, instance)));
    }
    if let Ok(Some(request)) = files::read::<StopRequest>(&path.join(files::STOP)) {
        instance.state = InstanceState::Stopping;
        instance.stop.send_replace(Some(Stop {
            signal: request.signal.to_string(),
            grace: std::time::Duration::from_millis(request.grace_ms),
        }));
    } else if run.program.is_some() {
        instance.state = InstanceState::Running {
            address: file.address,
            since: run.at,
        };
    }
    adopted.push(Adopted {
        file: Arc::clone(&file),
        supervisor: run.supervisor,
        stop: asked,
    });
    Ok(Some((file, instance)))
}

/// Reads who runs in an instance's directory. `None` when nobody ever did: the claim is this
/// process's now, so that a supervisor that is still on its way finds it taken.
fn claim_or_read(path: &Path) -> io::Result<Option<Run>> {
    let own = Run {
        boot: boot_id(),
        supervisor: Identity { pid: 0, started: 0 },
        program: None,
        at: jiff::Timestamp::UNIX_EPOCH,
    };
    let path = path.join(files::RUN);
    if files::claim(&path, &own)? {
        return Ok(None);
    }
    Ok(files::read::<Run>(&path)?.filter(|run| run.supervisor.pid != 0))
}

pub(super) fn lives(run: &Run) -> bool {
    run.boot == boot_id() && run.supervisor.is_alive()
}

/// Ends what runs in a directory that nobody can make sense of, and keeps the directory for a
/// person to look at.
fn set_aside(path: &Path) -> io::Result<()> {
    if let Ok(Some(run)) = files::read::<Run>(&path.join(files::RUN)) {
        if lives(&run) {
            sweep::kill(run.supervisor);
        }
        if run.boot == boot_id() {
            sweep::kill_all(|_| false, Some(run.supervisor))?;
        }
    }
    let (Some(parent), Some(name)) = (path.parent().and_then(Path::parent), path.file_name())
    else {
        return Ok(());
    };
    let aside = parent.join("unreadable");
    fs::create_dir_all(&aside)?;
    tree::remove(&aside.join(name))?;
    fs::rename(path, aside.join(name))
}

/// Removes the secrets of instances that are gone: a crash may leave them behind.
fn forget_lost_secrets(shared: &Shared) {
    let Some(place) = &shared.secret_place else {
        return;
    };
    let wanted: BTreeSet<PathBuf> = {
        let known = shared.lock();
        let instances = known
            .values()
            .flat_map(|environment| environment.instances.keys().cloned());
        let one_offs = known
            .keys()
            .flat_map(|id| one_off::written_down(shared, id).unwrap_or_default());
        let all = instances.chain(one_offs);
        all.map(|id| plan::secrets_of(shared, &id)).collect()
    };
    for (path, _) in named(place).unwrap_or_default() {
        if !wanted.contains(&path)
            && let Err(error) = secret_place::remove(&path)
        {
            tracing::warn!(path = %path.display(), %error, "secrets could not be removed");
        }
    }
}
