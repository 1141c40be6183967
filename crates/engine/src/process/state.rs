//! What is written down of an instance before it starts: enough for another control plane to go
//! on with it. Not the values of its secrets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use towpath_model::id::{InstanceId, ReleaseNumber, WorkloadId};
use towpath_model::observation::{ArtifactState, Exit};
use towpath_model::port::Artifacts;

use crate::shim::launch::{Credentials, End};

/// The variable that tells the processes of one start from all others on the machine.
pub(super) const MARK: &str = "TOWPATH_RUN";

/// The content of `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StateFile {
    /// Its id.
    pub(super) id: InstanceId,
    /// What it is a copy of.
    pub(super) workload: WorkloadId,
    /// The release that it runs.
    pub(super) release: ReleaseNumber,
    /// Where it was told to listen.
    pub(super) address: SocketAddr,
    /// The value of [`MARK`] for all of its processes.
    pub(super) mark: String,
    /// Its variables, without those that hold secrets.
    pub(super) environment: BTreeMap<String, String>,
    /// Where its secrets are.
    pub(super) secrets: PathBuf,
    /// Where it runs.
    pub(super) directory: PathBuf,
    /// Who it runs as.
    pub(super) user: Option<Credentials>,
    /// The control group that limits it.
    pub(super) cgroup: Option<PathBuf>,
    /// When it was asked for.
    pub(super) created_at: Timestamp,
}

/// The content of `release.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ReleaseFile {
    /// What was asked for.
    pub(super) artifacts: Artifacts,
    /// How it ended.
    pub(super) state: ArtifactState,
}

/// Joins how an instance ended with the last lines of its log.
pub(super) fn exit(end: End, log_tail: Vec<String>) -> Exit {
    Exit {
        code: end.code,
        signal: end.signal,
        error: end.error,
        is_by_hand: false,
        note: None,
        at: end.at,
        log_tail,
    }
}
