//! The part of a run's record that is of its jobs: how far each is, its attempts, and what they left
//! behind. Not the rules by which they move.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::delivery::pipeline::{ArtifactSettings, CacheSettings};
use crate::duration;
use crate::id::{Digest, EnvironmentName, JobName};
use crate::pipeline::cache::Given;
use crate::pipeline::junit::Tests;
use crate::pipeline::reuse::{Lookup, Reused};
use crate::pipeline::steps::StepRecord;

/// One job of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The name in the delivery file.
    pub name: JobName,
    /// The number within the run, from 1.
    pub number: u32,
    /// The values of the matrix.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variant: BTreeMap<String, String>,
    /// The jobs that have to pass before.
    pub needs: Vec<JobName>,
    /// The environment that the release has to be in before.
    pub after: Option<EnvironmentName>,
    /// The longest that it may run.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How often it is tried again.
    pub retries: u32,
    /// The group of jobs of which one runs at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<String>,
    /// The environment that its own is like.
    pub like: EnvironmentName,
    /// The names of its steps; none where it is a single command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// The test reports that it leaves behind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<String>,
    /// The files that it makes for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<ArtifactSettings>,
    /// The files that it leaves for later runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSettings>,
    /// How old a result may be that counts in place of a run of it.
    #[serde(
        default,
        with = "duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub reuse: Option<Duration>,
    /// What was found when such a result was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Lookup>,
    /// How far it is.
    pub state: JobState,
    /// The attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

impl Job {
    /// Returns the name, with the values of the matrix.
    pub fn label(&self) -> String {
        let values: Vec<&str> = self.variant.values().map(String::as_str).collect();
        if values.is_empty() {
            return self.name.to_string();
        }
        format!("{} ({})", self.name, values.join(", "))
    }

    /// Tells whether something is to be looked at when its program is over.
    pub fn leaves_something(&self) -> bool {
        !self.steps.is_empty()
            || !self.reports.is_empty()
            || self.artifacts.is_some()
            || self.cache.is_some()
    }

    /// Returns the result that counts in place of a run of it.
    pub fn reused(&self) -> Option<&Reused> {
        self.lookup.as_ref()?.result.as_ref()
    }

    /// Returns the files that are kept of it.
    pub fn kept_artifacts(&self) -> Option<&Artifacts> {
        if let Some(reused) = self.reused() {
            return reused.artifacts.as_ref();
        }
        let attempts = self.attempts.iter().rev();
        let mut left = attempts.filter_map(|one| one.left.as_ref());
        left.find_map(|left| left.artifacts.as_ref())
    }

    /// Tells whether it is over.
    pub fn has_ended(&self) -> bool {
        match self.state {
            JobState::Waiting | JobState::Active => false,
            JobState::Succeeded
            | JobState::Failed { .. }
            | JobState::Skipped { .. }
            | JobState::Cancelled => true,
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Something has to be true before.
    Waiting,
    /// Its last attempt is under way.
    Active,
    /// It passed.
    Succeeded,
    /// It did not.
    Failed {
        /// Why, in one sentence.
        reason: String,
    },
    /// It was never begun.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It was stopped.
    Cancelled,
}

/// One attempt at a job: an environment of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The number within the job, from 1.
    pub number: u32,
    /// The environment, which nothing else ever has.
    pub environment: EnvironmentName,
    /// When it was decided on.
    pub asked_at: Timestamp,
    /// When the job's own program was started.
    pub started_at: Option<Timestamp>,
    /// What it was given of the job's caches, once that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Given>,
    /// How its steps went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepRecord>,
    /// How its program ended, while what it leaves behind is still being looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Verdict>,
    /// What it left behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
    /// How it ended.
    pub verdict: Option<Verdict>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Whether its log is kept and its environment is gone.
    pub is_cleared: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The program ended with exit code 0.
    Passed,
    /// It did not, or never began.
    Failed {
        /// Why, in one sentence.
        reason: String,
    },
    /// It was stopped.
    Cancelled,
}

/// What an attempt left behind, as far as the job says that somebody wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// What its test reports say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<Tests>,
    /// The files that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Artifacts>,
    /// The cache that it left for later runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Amount>,
    /// Why the files cannot be kept: the job fails with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What is good to know of it, each in one sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The files that are kept of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifacts {
    /// How many.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
    /// The digest of what they are: paths, content, and whether they may be executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// How much something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// How many files.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}
