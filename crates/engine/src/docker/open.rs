//! Opens the engine on a data directory: reads what an earlier control plane wrote down. Docker is
//! not asked yet.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use towpath_model::id::{AppName, Digest, EnvironmentId, EnvironmentName};
use towpath_model::observation::ArtifactState;
use towpath_model::port::{Clock, DataDirectory};

use super::client::Client;
use super::config::DockerConfig;
use super::shared::{Environment, Instance, Release, Shared, Work};
use super::state::{self, Layout, Record, ReleaseFile};
use crate::changes::Changes;
use crate::console::Untold;
use crate::secret_place;
use crate::shim::files;

/// Why the engine cannot work on a data directory.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}", path.display())]
pub struct OpenError {
    /// The file or directory that cannot be read.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Reads everything. Blocks: it is called once, at the start.
pub(super) fn open(
    data: &DataDirectory,
    clock: Arc<dyn Clock>,
    config: DockerConfig,
) -> Result<Shared, OpenError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError { path, source }
    };
    fs::create_dir_all(&data.0).map_err(at(&data.0))?;
    let root = data.0.canonicalize().map_err(at(&data.0))?;
    let data_id = Digest::of(root.to_string_lossy().as_bytes())
        .short()
        .to_owned();
    // Beside the process engine's place: each removes what it does not know.
    let secret_place = secret_place::place_in_memory(&format!("{data_id}-docker"));
    let layout = Layout {
        data: DataDirectory(root.clone()),
    };
    let apps = root.join("environments");
    let known = read(&apps).map_err(at(&apps))?;
    Ok(Shared {
        layout,
        clock,
        client: Client::new(config.host.clone()),
        config,
        data_id,
        secret_place,
        networks: Semaphore::new(1),
        known: Mutex::new(known),
        changes: Changes::default(),
        one_offs: Mutex::default(),
        untold: Untold::default(),
    })
}

fn read(apps: &Path) -> io::Result<BTreeMap<EnvironmentId, Environment>> {
    let mut known = BTreeMap::new();
    for (app, app_name) in directories(apps)? {
        for (environment, name) in directories(&app)? {
            let id = AppName::new(app_name.clone())
                .and_then(|app| Ok(EnvironmentId::new(app, EnvironmentName::new(name)?)));
            let own = state::own(&environment);
            let Some(id) = id.ok().filter(|_| own.is_dir()) else {
                continue;
            };
            known.insert(id, read_environment(&own)?);
        }
    }
    Ok(known)
}

fn read_environment(own: &Path) -> io::Result<Environment> {
    let mut environment = Environment::default();
    for (path, _) in directories(&state::releases(own))? {
        match files::read::<ReleaseFile>(&path.join(state::RELEASE)) {
            Ok(Some(file)) if file.state != ArtifactState::Building => {
                let number = file.artifacts.release;
                let release = Release { file, making: None };
                environment.releases.insert(number, release);
            }
            // Its making was interrupted: it is begun anew when it is asked for again.
            Ok(_) => fs::remove_dir_all(&path)?,
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a release cannot be read");
                fs::remove_dir_all(&path)?;
            }
        }
    }
    for (path, _) in directories(&state::instances(own))? {
        match files::read::<Record>(&path.join(state::INSTANCE)) {
            Ok(Some(record)) => {
                let instance = Instance {
                    work: Work::None,
                    seen: None,
                    paused: false,
                    hand: None,
                    limits: None,
                    record,
                };
                let id = instance.record.labelled.id.clone();
                environment.instances.insert(id, instance);
            }
            // It was never written down.
            Ok(None) => fs::remove_dir_all(&path)?,
            // Its container, where there is one, is adopted by its labels.
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "an instance cannot be read");
                fs::remove_dir_all(&path)?;
            }
        }
    }
    Ok(environment)
}

/// Returns the directories in a directory, which may not be there.
fn directories(path: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.push((entry.path(), name));
        }
    }
    Ok(found)
}
