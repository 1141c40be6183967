//! Results of jobs that count in place of a run: of which inputs a result is, and which one is taken.
//! Never for a deployment: what is brought to an environment is always done.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cache::{Reach, Scope};
use super::run::{Artifacts, Job, JobState, Run};
use crate::id::{Digest, EnvironmentName, RunNumber, SecretName, SecretVersion};
use crate::instance::elapsed;
use crate::render::Draft;

/// Everything that the result of a job depends on.
#[derive(Debug, Clone, Serialize)]
pub struct Inputs<'a> {
    /// The job and the services beside it, rendered without what differs from run to run: what it runs,
    /// in which image, with which variables, of which source tree.
    pub draft: &'a Draft,
    /// The environment that the job's own is like: whose secrets these are versions of.
    pub like: &'a EnvironmentName,
    /// The versions of the secrets that it is given.
    pub secrets: &'a BTreeMap<SecretName, SecretVersion>,
    /// The digests of the artifacts that it finds, by their jobs.
    pub artifacts: &'a BTreeMap<String, Digest>,
}

impl Inputs<'_> {
    /// Returns the digest: jobs whose inputs have the same one have the same inputs.
    pub fn digest(&self) -> Digest {
        let text = serde_json::to_vec(self).expect("its maps have texts as keys");
        Digest::of(&text)
    }
}

/// What was found when a result was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// The digest of the job's inputs.
    pub inputs: Digest,
    /// The versions of secrets among them, which the job is given where it runs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<SecretName, SecretVersion>,
    /// The result that counts, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Reused>,
}

/// A result that counts in place of a run of the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reused {
    /// The run in which the job ran.
    pub run: RunNumber,
    /// The number of the job in that run.
    pub job: u32,
    /// The files that are kept of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Artifacts>,
}

impl std::fmt::Display for Reused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "as in run {}: the same inputs", self.run)
    }
}

/// Looks in runs of the app, newest first, for the newest result of these inputs that is not older
/// than that. What a run within reach did not leave does not count.
pub fn find<'r>(
    runs: impl IntoIterator<Item = &'r Run>,
    inputs: &Digest,
    reach: &Reach,
    (most, now): (Duration, Timestamp),
) -> Option<Reused> {
    let near = runs.into_iter().filter(|run| {
        let scope = Scope::of(&run.push.reference);
        scope.is_some_and(|scope| reach.distance(&scope).is_some())
    });
    let mut jobs = near.flat_map(|run| run.jobs.iter().map(move |job| (run, job)));
    let (run, job) = jobs.find(|(_, job)| {
        let is_same = job.lookup.as_ref().is_some_and(|own| &own.inputs == inputs);
        is_same && passed_at(job).is_some_and(|at| elapsed(at, now) <= most)
    })?;
    Some(Reused {
        run: run.number,
        job: job.number,
        artifacts: job.kept_artifacts().cloned(),
    })
}

/// Returns when a job passed that really ran: a result is as old as its run, however often it counted.
fn passed_at(job: &Job) -> Option<Timestamp> {
    let last = job.attempts.last()?;
    let passed = job.state == JobState::Succeeded;
    passed.then_some(last.ended_at).flatten()
}
