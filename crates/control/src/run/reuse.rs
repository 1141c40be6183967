//! Results of jobs that count in place of a run: what a job's inputs are is found out, and a result of
//! the same ones is looked for. Not which one counts, which is the model's.

use std::collections::BTreeMap;
use std::io;

use towpath_model::id::{Digest, RunId, SecretName, SecretVersion};
use towpath_model::pipeline::reuse::{self, Inputs, Lookup, Reused};
use towpath_model::pipeline::run::{Job, Run};

use super::KEPT_RUNS;
use super::act::Done;
use super::keeper::Task;
use super::look::unreadable;
use super::read;
use crate::error::Error;

impl Task {
    /// Looks for a result that counts in place of a run of a job, and has what was found written down.
    pub(super) async fn look_up(&mut self, index: usize) -> Result<Done, Error> {
        let Some(job) = self.run.jobs.get(index).cloned() else {
            return Ok(Done::Asked);
        };
        let Some(most) = job.reuse else {
            return Ok(Done::Asked);
        };
        let (inputs, secrets) = self.inputs_of(&job).await?;
        let stored = self
            .shared
            .ports
            .store
            .runs(&self.id.app, KEPT_RUNS)
            .await?;
        let others = stored.iter().filter(|one| one.id != self.id);
        let others: Vec<Run> = others.map(read).collect::<Result<_, _>>()?;
        let now = self.shared.ports.clock.now();
        let found = reuse::find(&others, &inputs, &self.run.reach, (most, now));
        let result = match found {
            Some(found) if self.take_artifacts(&job, &found).await? => Some(found),
            _ => None,
        };
        let lookup = Lookup {
            inputs,
            secrets,
            result,
        };
        Ok(Done::Edit(Box::new(move |run, _| {
            if let Some(job) = run.jobs.get_mut(index) {
                job.lookup = Some(lookup);
            }
            Vec::new()
        })))
    }

    /// Returns the digest of a job's inputs, and the versions of secrets among them.
    async fn inputs_of(
        &mut self,
        job: &Job,
    ) -> Result<(Digest, BTreeMap<SecretName, SecretVersion>), Error> {
        // What an attempt finds of caches is none.
        let job = Job {
            attempts: Vec::new(),
            ..job.clone()
        };
        let variables = self.variables(&job);
        let checkout = self.checkout().await?;
        let draft = checkout.draft_of_job(&job, variables, None).await?;
        let secrets = self.secrets_of(&job, &draft).await?;
        let mut artifacts = BTreeMap::new();
        for one in self.needed(&job) {
            if let Some(kept) = one.kept_artifacts() {
                // Where nobody knows what is in it nothing else has the same.
                let unknown = || Digest::of(format!("{} {}", self.id, one.number).as_bytes());
                let digest = kept.digest.clone().unwrap_or_else(unknown);
                artifacts.insert(one.label(), digest);
            }
        }
        let inputs = Inputs {
            draft: &draft,
            like: &job.like,
            secrets: &secrets,
            artifacts: &artifacts,
        };
        Ok((inputs.digest(), secrets))
    }

    /// Has the artifacts of a result be those of a job of this run, too. Returns whether they are
    /// there: they go with the logs of their run.
    async fn take_artifacts(&self, job: &Job, found: &Reused) -> Result<bool, Error> {
        if found.artifacts.is_none() {
            return Ok(true);
        }
        let theirs = RunId::new(self.id.app.clone(), found.run);
        let theirs = self.shared.artifacts_of(&theirs, found.job);
        let own = self.shared.artifacts_of(&self.id, job.number);
        if let Some(parent) = own.parent() {
            let made = tokio::fs::create_dir_all(parent).await;
            made.map_err(unreadable)?;
        }
        // What an earlier attempt of this run left is none of the result's.
        let linked = own.with_extension("part");
        drop(tokio::fs::remove_file(&linked).await);
        match tokio::fs::hard_link(&theirs, &linked).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(unreadable(error)),
        }
        let renamed = tokio::fs::rename(&linked, &own).await;
        // Where they are one file already nothing was renamed (rename(2)).
        drop(tokio::fs::remove_file(&linked).await);
        renamed.map_err(unreadable)?;
        Ok(true)
    }
}
