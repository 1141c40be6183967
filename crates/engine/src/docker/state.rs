//! What is written down of instances and releases: what Docker itself does not keep. Not what a
//! container's labels say.
//!
//! ```text
//! environments/<app>/<environment>/docker/
//!   instances/<service>-<n>/   instance.json, configs/
//!   runs/<service>-<n>/        run.json, configs/: a one-off
//!   releases/<n>/              release.json, context.tar while it is built
//!   logs/<service>-<n>         the end of a removed instance's log
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use towpath_model::container::{Hook, NetworkJoin};
use towpath_model::id::{EnvironmentId, InstanceId, ReleaseNumber, ServiceName};
use towpath_model::observation::{ArtifactState, Exit};
use towpath_model::port::{Artifacts, DataDirectory, Stop};
use towpath_model::workload::Command;

use super::limits::Limits;
use super::names::{self, Labelled};

/// What is written down of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// What its labels say.
    #[serde(flatten)]
    pub(super) labelled: Labelled,
    /// The container, where it was taken over: one that was made here is found by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<String>,
    /// How far it is.
    pub(super) stage: Stage,
    /// The request to stop.
    pub(super) stop: Option<StopOrder>,
    /// The health check of the image, where it is the one to try.
    #[serde(default)]
    pub(super) check: Option<Command>,
    /// The networks that it is in, by their names in the Compose file.
    #[serde(default)]
    pub(super) networks: BTreeMap<String, NetworkJoin>,
    /// There is never a second one beside it: its names are Docker's.
    #[serde(default)]
    pub(super) exclusive: bool,
    /// The limits that it was made with, once it was seen to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<Limits>,
    /// Commands to run after its start.
    pub(super) post_start: Vec<Hook>,
    /// Commands to run before its stop.
    pub(super) pre_stop: Vec<Hook>,
}

impl Record {
    /// Returns what Docker knows the instance's container by.
    pub(super) fn container(&self) -> String {
        let adopted = self.container.clone();
        adopted.unwrap_or_else(|| names::container(&self.labelled.id))
    }
}

/// How far an instance is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// It was asked for. There may be a container, which was never started.
    Asked,
    /// Docker was or is about to be told to start its container: it is never made again.
    Begun,
    /// It ended, or cannot start.
    Ended(Exit),
}

/// A request to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StopOrder {
    pub(super) signal: String,
    pub(super) grace_ms: u64,
    pub(super) at: Timestamp,
}

impl StopOrder {
    pub(super) fn new(stop: &Stop, at: Timestamp) -> Self {
        Self {
            signal: stop.signal.clone(),
            grace_ms: u64::try_from(stop.grace.as_millis()).unwrap_or(u64::MAX),
            at,
        }
    }

    /// Returns how much of the grace period is left.
    pub(super) fn left(&self, now: Timestamp) -> Duration {
        let over = Duration::try_from(now.duration_since(self.at)).unwrap_or_default();
        Duration::from_millis(self.grace_ms).saturating_sub(over)
    }
}

/// What is written down of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ReleaseFile {
    /// What was asked for: an image that somebody removed is made again of it.
    pub(super) artifacts: Artifacts,
    /// How the making ended.
    pub(super) state: ArtifactState,
    /// The images, by service.
    pub(super) images: BTreeMap<ServiceName, PinnedImage>,
}

/// An image that a release has, whatever its tags say later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PinnedImage {
    /// Its id, `sha256:...`.
    pub(super) id: String,
    /// What a registry knows it by (`name@sha256:...`), where it came from one.
    pub(super) digest: Option<String>,
    /// The reference that was not on the machine before it was pulled for us.
    pub(super) brought: Option<String>,
    /// The port that it says it listens on, the first of them.
    pub(super) port: Option<u16>,
    /// Its own health check.
    #[serde(default)]
    pub(super) check: Option<Command>,
}

/// The paths of the engine's files.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) data: DataDirectory,
}

/// The file that says what an instance is.
pub(super) const INSTANCE: &str = "instance.json";
/// The file that says what a release has.
pub(super) const RELEASE: &str = "release.json";

impl Layout {
    /// What there is of an environment.
    pub(super) fn environment(&self, id: &EnvironmentId) -> PathBuf {
        own(&self.data.environment(id))
    }

    pub(super) fn instance(&self, id: &InstanceId) -> PathBuf {
        instances(&self.environment(&id.environment)).join(id.local())
    }

    /// What there is of a one-off.
    pub(super) fn run(&self, id: &InstanceId) -> PathBuf {
        self.runs(&id.environment).join(id.local())
    }

    pub(super) fn runs(&self, id: &EnvironmentId) -> PathBuf {
        self.environment(id).join("runs")
    }

    pub(super) fn release(&self, id: &EnvironmentId, release: ReleaseNumber) -> PathBuf {
        releases(&self.environment(id)).join(release.to_string())
    }

    pub(super) fn old_logs(&self, id: &EnvironmentId) -> PathBuf {
        self.environment(id).join("logs")
    }
}

/// The engine's own directory in an environment's.
pub(super) fn own(environment: &Path) -> PathBuf {
    environment.join("docker")
}

pub(super) fn instances(own: &Path) -> PathBuf {
    own.join("instances")
}

pub(super) fn releases(own: &Path) -> PathBuf {
    own.join("releases")
}
