//! What a run has to know of environments: those of its jobs, and those that it brings its release
//! to. Not what is made of it ([`super::step()`]).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::demand::Demands;
use super::steps::StepRecord;
use crate::deployment::Deployment;
use crate::id::{EnvironmentName, ReleaseNumber};

/// Everything that is known at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observation {
    /// The environments of jobs. Absent: it is not there, not yet or not any more.
    pub jobs: BTreeMap<EnvironmentName, JobEnvironment>,
    /// The environments that the release is brought to.
    pub targets: BTreeMap<EnvironmentName, TargetEnvironment>,
    /// The numbers of the jobs whose turn it is in their groups.
    pub turns: BTreeSet<u32>,
}

/// The environment of a job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobEnvironment {
    /// Its deployment; there is only ever one.
    pub deployment: Option<Deployment>,
    /// How its steps go, as its log says; none where nobody reads it now.
    pub steps: Vec<StepRecord>,
}

/// An environment that the release is brought to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TargetEnvironment {
    /// The deployment that this attempt of this run asked for.
    pub deployment: Option<Deployment>,
    /// The last release that was brought out completely.
    pub stable: Option<ReleaseNumber>,
    /// Why nothing may be deployed by itself, where that is so.
    pub hold: Option<String>,
    /// What the release demands that is stable there.
    pub demands: Option<Demands>,
    /// Since when the run's release is, or was, in the environment that comes right before, where the
    /// run itself does not bring it there.
    pub proven_at: Option<Timestamp>,
    /// Why the release must not take the place of the one that is there, where that is a hotfix whose
    /// commit it does not have.
    pub lost_fix: Option<String>,
    /// The environments that are behind when the release of a hotfix is there.
    pub behind: Vec<EnvironmentName>,
}
