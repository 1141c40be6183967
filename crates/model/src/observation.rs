//! What there is, as the engine, the prober and the router report it. Not what should be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::adoption::takeover::Redirect;
use crate::id::{InstanceId, ReleaseNumber, WorkloadId};
use crate::routing::RouterReport;

/// Everything that is known of one environment at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When the engine was asked. Its answer has everything that was done before.
    pub at: Timestamp,
    /// Every instance that the engine has, whoever asked for it, ended ones until they are removed.
    pub instances: Vec<ObservedInstance>,
    /// The state of each release's artifacts. Absent: nobody asked for them yet.
    pub artifacts: BTreeMap<ReleaseNumber, ArtifactState>,
    /// What the prober found, by instance.
    pub probes: BTreeMap<InstanceId, ProbeRecord>,
    /// The router's last report; `None` when it does not answer.
    pub router: Option<RouterReport>,
    /// The redirects of published ports that are in force; `None` when nobody looked.
    #[serde(default)]
    pub redirects: Option<BTreeSet<Redirect>>,
    /// The networks in which instances ask for one another by name, by what they are called on the
    /// machine.
    #[serde(default)]
    pub networks: BTreeMap<String, Network>,
}

/// A network of an environment in which instances ask for one another by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The machine's own address in it, at which the router is asked for names; or why the engine
    /// answers for them itself.
    pub server: Result<IpAddr, String>,
    /// The addresses of the instances that run in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<InstanceId, Vec<IpAddr>>,
    /// The addresses of the environment's other containers in it, such as those that somebody runs
    /// by hand.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub guests: BTreeSet<IpAddr>,
}

/// One instance as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedInstance {
    /// Its id.
    pub id: InstanceId,
    /// What it was started as.
    pub workload: WorkloadId,
    /// What it does.
    pub state: InstanceState,
    /// What somebody made of its limits, as long as they are not those that it was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ChangedLimits>,
}

impl ObservedInstance {
    /// Makes one with the limits that it was started with.
    pub fn new(id: InstanceId, workload: WorkloadId, state: InstanceState) -> Self {
        Self {
            id,
            workload,
            state,
            limits: None,
        }
    }
}

/// Limits of an instance that somebody changed as it ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedLimits {
    /// What was found, and what it should be, for people.
    pub found: String,
    /// Whether the engine puts them back.
    pub is_put_back: bool,
}

/// What an instance does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// It was asked for and does not run yet.
    Starting,
    /// It runs.
    Running {
        /// Where it was told to listen.
        address: SocketAddr,
        /// Since when.
        since: Timestamp,
    },
    /// It was told to stop and still runs.
    Stopping,
    /// It ended. The record stays until the engine is told to remove it.
    Exited(Exit),
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; `None` when a signal ended it, or it never started.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why it never started, where it did not.
    pub error: Option<String>,
    /// What else is known of why it ended: that it was killed for want of memory, that somebody
    /// removed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether somebody ended it who was not asked to by the platform.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_by_hand: bool,
    /// When.
    pub at: Timestamp,
    /// The last lines that it wrote, newest last.
    pub log_tail: Vec<String>,
}

impl Exit {
    /// Tells whether it ended with exit code 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// Tells whether somebody removed it, so that nobody saw how it ended.
    pub fn was_removed(&self) -> bool {
        self.code.is_none() && self.signal.is_none() && self.error.is_none() && self.note.is_some()
    }

    /// Describes the end in a few words.
    pub fn summary(&self) -> String {
        let ended = match (&self.error, self.code, self.signal) {
            (Some(error), _, _) => return format!("could not start: {error}"),
            (None, Some(code), _) => format!("exited with code {code}"),
            (None, None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None, None) => match &self.note {
                Some(note) => return format!("ended: {note}"),
                None => return "ended, nobody saw how".to_owned(),
            },
        };
        match &self.note {
            Some(note) => format!("{ended} ({note})"),
            None => ended,
        }
    }
}

/// The state of what a release needs on the engine before an instance can start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactState {
    /// It is being made.
    Building,
    /// It is there.
    Ready,
    /// It cannot be made.
    Failed {
        /// Why.
        reason: String,
        /// The last lines of the build, newest last.
        log_tail: Vec<String>,
        /// When it was given up.
        at: Timestamp,
    },
}

/// What the prober found of one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRecord {
    /// Good tries in a row, up to now.
    pub successes: u32,
    /// Failed tries in a row, up to now.
    pub failures: u32,
    /// Failed tries in a row that fell after the check's start period.
    pub counted_failures: u32,
    /// What the last failed try met.
    pub last_error: Option<String>,
    /// When the last try ended.
    pub last_at: Option<Timestamp>,
}
