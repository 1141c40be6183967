//! What truly happened, as the checks need it. The system under test never sees it.

use std::collections::{BTreeMap, BTreeSet};

use towpath_model::deployment::{Deployment, State};
use towpath_model::environment::Environment;
use towpath_model::id::{DeploymentNumber, InstanceId, ReleaseNumber, ServiceName, WorkloadId};

use super::Figures;
use super::clock::Ms;

/// The truth of a whole simulation.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The record as it was last written down.
    pub(super) record: Environment,
    /// The deployments as they were last written down.
    pub(super) rows: BTreeMap<DeploymentNumber, Row>,
    /// Deployments that people asked for.
    pub(super) asked_for: BTreeSet<DeploymentNumber>,
    /// Instances that the engine was told to stop.
    pub(super) told_to_stop: BTreeSet<InstanceId>,
    /// How often each release job was truly started for a deployment.
    pub(super) job_launches: BTreeMap<(DeploymentNumber, ServiceName), u32>,
    /// The deployment of each instance of a release job.
    pub(super) job_of: BTreeMap<InstanceId, DeploymentNumber>,
    /// Release jobs that truly ended with code 0.
    pub(super) jobs_done: BTreeSet<(DeploymentNumber, ServiceName)>,
    /// Releases that truly had all the traffic.
    pub(super) brought_out: BTreeSet<ReleaseNumber>,
    /// Requests given to each workload, and those that it failed.
    pub(super) given: BTreeMap<WorkloadId, Given>,
    /// The same when the workload's share last changed.
    pub(super) given_at_share: BTreeMap<WorkloadId, Given>,
    /// The active deployment's phase and since when it is in it.
    pub(super) phase_since: Option<(DeploymentNumber, String, Ms)>,
    /// When somebody last waited for old instances to go: the environment was down, or recreated.
    pub(super) waited_for_at: Ms,
    /// When the record last changed.
    pub(super) changed_at: Ms,
    /// Since when everything works.
    pub(super) calm_since: Option<Ms>,
    /// What was counted for the summary.
    pub(super) figures: Figures,
}

/// A deployment as it was written down.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) deployment: Deployment,
    pub(super) aborted: bool,
}

impl Row {
    pub(super) fn is_over(&self) -> bool {
        self.deployment.outcome().is_some()
    }

    pub(super) fn is_active(&self) -> bool {
        !self.is_over() && self.deployment.state() != State::Queued
    }
}

/// Requests given to a workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) requests: u64,
    pub(super) failures: u64,
}

impl Ledger {
    pub(super) fn new(record: &Environment) -> Self {
        Self {
            record: record.clone(),
            rows: BTreeMap::new(),
            asked_for: BTreeSet::new(),
            told_to_stop: BTreeSet::new(),
            job_launches: BTreeMap::new(),
            job_of: BTreeMap::new(),
            jobs_done: BTreeSet::new(),
            brought_out: BTreeSet::new(),
            given: BTreeMap::new(),
            given_at_share: BTreeMap::new(),
            phase_since: None,
            waited_for_at: 0,
            changed_at: 0,
            calm_since: None,
            figures: Figures::default(),
        }
    }

    /// Returns what a workload was given since its share last changed.
    pub(super) fn given_since_share(&self, workload: &WorkloadId) -> Given {
        let now = self.given.get(workload).copied().unwrap_or_default();
        let then = self
            .given_at_share
            .get(workload)
            .copied()
            .unwrap_or_default();
        Given {
            requests: now.requests - then.requests,
            failures: now.failures - then.failures,
        }
    }
}
