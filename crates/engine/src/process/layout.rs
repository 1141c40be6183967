//! Where things are under the data directory. Not what is in them.
//!
//! ```text
//! environments/<app>/<environment>/
//!   releases/<n>/release.json   how the making of the artifacts ended; written last
//!   releases/<n>/tree/          the source tree, built
//!   releases/<n>/log/           the build's log
//!   releases/<n>/build-<i>/     who runs build i
//!   instances/<service>-<n>/    state.json, run.json, stop.json, exit.json, log/, configs/, tmp/
//!   runs/<service>-<n>/         the same of a one-off
//!   logs/<service>-<n>/         the log of a removed instance
//!   cache/                      what builds keep for the next one (TOWPATH_CACHE)
//! ```

use std::path::{Path, PathBuf};

use towpath_model::id::{EnvironmentId, InstanceId, ReleaseNumber};
use towpath_model::port::DataDirectory;

/// The paths of the engine's files.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) data: DataDirectory,
}

impl Layout {
    /// The directory that has all apps.
    pub(super) fn apps(&self) -> PathBuf {
        self.data.0.join("environments")
    }

    /// The directory of an environment.
    pub(super) fn environment(&self, id: &EnvironmentId) -> PathBuf {
        self.data.environment(id)
    }

    /// The directory of an instance.
    pub(super) fn instance(&self, id: &InstanceId) -> PathBuf {
        instances(&self.environment(&id.environment)).join(id.local())
    }

    /// The directory of a one-off.
    pub(super) fn run(&self, id: &InstanceId) -> PathBuf {
        runs(&self.environment(&id.environment)).join(id.local())
    }

    /// Where the log of an instance is kept after its removal.
    pub(super) fn old_log(&self, id: &InstanceId) -> PathBuf {
        old_logs(&self.environment(&id.environment)).join(id.local())
    }

    /// The directory of a release.
    pub(super) fn release(&self, id: &EnvironmentId, release: ReleaseNumber) -> PathBuf {
        releases(&self.environment(id)).join(release.to_string())
    }

    /// The release's files.
    pub(super) fn tree(&self, id: &EnvironmentId, release: ReleaseNumber) -> PathBuf {
        self.release(id, release).join(TREE)
    }

    /// Where an environment's volumes are.
    pub(super) fn volumes(&self, id: &EnvironmentId) -> PathBuf {
        let mut path = self.data.volume(id, "x");
        path.pop();
        path
    }

    /// What builds of the environment keep.
    pub(super) fn cache(&self, id: &EnvironmentId) -> PathBuf {
        self.environment(id).join("cache")
    }
}

/// Where an environment's instances are.
pub(super) fn instances(environment: &Path) -> PathBuf {
    environment.join("instances")
}

/// Where an environment's one-offs are.
pub(super) fn runs(environment: &Path) -> PathBuf {
    environment.join("runs")
}

/// Where an environment's releases are.
pub(super) fn releases(environment: &Path) -> PathBuf {
    environment.join("releases")
}

/// Where the logs of an environment's removed instances are.
pub(super) fn old_logs(environment: &Path) -> PathBuf {
    environment.join("logs")
}

/// The file that says what an instance is.
pub(super) const STATE: &str = "state.json";
/// The file that says how the making of a release's artifacts ended.
pub(super) const RELEASE: &str = "release.json";
/// The directory of a log.
pub(super) const LOG: &str = "log";
/// The directory of a release's files.
pub(super) const TREE: &str = "tree";
