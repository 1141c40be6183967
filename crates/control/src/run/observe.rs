//! Gathers what a run has to know of environments. Not what is made of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use towpath_model::deployment::{Deployment, Origin};
use towpath_model::id::{EnvironmentId, EnvironmentName};
use towpath_model::pipeline::Demands;
use towpath_model::pipeline::observation::{JobEnvironment, Observation, TargetEnvironment};
use towpath_model::pipeline::run::{Target, TargetState};
use towpath_store::DeploymentRow;

use super::keeper::Task;
use crate::error::Error;
use crate::platform::Shared;

/// Deployments that are looked through for that of a run: later ones than so many cannot have been
/// asked for while the run looked away.
const RECENT: u32 = 50;

impl Task {
    /// Observes the environments of the run.
    pub(super) async fn observe(&self) -> Result<Observation, Error> {
        let mut jobs = BTreeMap::new();
        let mut attempts = Vec::new();
        for job in &self.run.jobs {
            let own = job.attempts.iter().filter(|one| !one.is_cleared);
            attempts.extend(own.map(|attempt| (job.number, attempt)));
        }
        for (job, attempt) in attempts {
            let id = self.run.environment(&attempt.environment);
            if self.shared.keeper(&id).is_ok() {
                let origin = self.origin(attempt.number);
                let deployment = self.shared.deployment_for(&id, origin).await?;
                let log = self.logs.get(&(job, attempt.number));
                let steps = log.map(|log| log.heard().steps()).unwrap_or_default();
                let seen = JobEnvironment { deployment, steps };
                jobs.insert(attempt.environment.clone(), seen);
            }
        }
        let mut targets: BTreeMap<EnvironmentName, TargetEnvironment> = BTreeMap::new();
        for target in self.run.targets.iter().filter(|one| !one.has_ended()) {
            let seen = self.observe_target(target).await?;
            targets.insert(target.environment.clone(), seen);
        }
        let turns = self.shared.groups.turns(&self.run).into_iter().collect();
        Ok(Observation {
            jobs,
            targets,
            turns,
        })
    }

    async fn observe_target(&self, target: &Target) -> Result<TargetEnvironment, Error> {
        let id = self.run.environment(&target.environment);
        let mut seen = TargetEnvironment::default();
        if let Ok(keeper) = self.shared.keeper(&id) {
            seen.deployment = self.deployment_of(target, &id).await?;
            let snapshot = keeper.watch().borrow().clone();
            seen.stable = snapshot.environment.stable;
            let hold = snapshot.environment.hold.as_ref();
            seen.hold = hold.map(|hold| hold.reason.clone());
        }
        let (release, commit) = (self.run.release, &self.run.push.commit);
        match target.state {
            TargetState::Waiting | TargetState::Gated { .. } => {
                seen.demands = self.demands(&id);
                seen.proven_at = self.proven_at(target, &seen, &id).await?;
                seen.lost_fix = self.shared.lost_fix(&id, release, commit).await;
            }
            TargetState::Deploying { .. } | TargetState::Delivered if self.run.is_hotfix => {
                seen.behind = self.shared.behind_with(&id, release, commit).await?;
            }
            TargetState::Deploying { .. }
            | TargetState::Delivered
            | TargetState::Succeeded
            | TargetState::Failed { .. }
            | TargetState::Skipped { .. }
            | TargetState::Cancelled => {}
        }
        Ok(seen)
    }

    /// Returns what counts in an environment. An environment that is gone is none that a release could
    /// be brought to before.
    fn demands(&self, id: &EnvironmentId) -> Option<Demands> {
        let mut demands = self.shared.stable_demands(id)?;
        let is_there = |name: &EnvironmentName| self.shared.keeper(&self.run.environment(name));
        demands.before.retain(|name| is_there(name).is_ok());
        Some(demands)
    }

    /// Returns since when the release is in the environment that comes right before, or was in the
    /// environment itself, where the run itself does not bring it there.
    async fn proven_at(
        &self,
        target: &Target,
        seen: &TargetEnvironment,
        id: &EnvironmentId,
    ) -> Result<Option<Timestamp>, Error> {
        let ruling = seen.demands.as_ref().and_then(Demands::after);
        let Some(from) = ruling.or(target.comes_after()) else {
            return Ok(None);
        };
        let brings = |one: &Target| &one.environment == from;
        if self.run.is_hotfix || self.run.targets.iter().any(brings) {
            return Ok(None);
        }
        let release = self.run.release;
        let from = self.run.environment(from);
        let there = self.shared.in_since(&from, release).await?;
        let here = self.shared.in_since(id, release).await?;
        Ok(there.into_iter().chain(here).min())
    }

    /// Returns the deployment of a target. Nothing is read for one that waits: it has none.
    async fn deployment_of(
        &self,
        target: &Target,
        id: &EnvironmentId,
    ) -> Result<Option<Deployment>, Error> {
        if matches!(
            target.state,
            TargetState::Waiting | TargetState::Gated { .. }
        ) {
            return Ok(None);
        }
        let Some(number) = target.deployment else {
            return self
                .shared
                .deployment_for(id, self.origin(target.attempt))
                .await;
        };
        let row = self.shared.ports.store.deployment(id, number).await?;
        row.map(|row| read(id, row)).transpose()
    }

    /// Names an attempt of this run.
    pub(super) fn origin(&self, attempt: u32) -> Origin {
        Origin {
            run: self.run.number,
            attempt,
        }
    }
}

impl Shared {
    /// Returns the deployment that an attempt of a run asked for. What was written down is what
    /// counts: whoever looks at the environment alone may look too early.
    pub(super) async fn deployment_for(
        &self,
        id: &EnvironmentId,
        origin: Origin,
    ) -> Result<Option<Deployment>, Error> {
        let rows = self.ports.store.deployments(id, RECENT).await?;
        for row in rows {
            let deployment = read(id, row)?;
            if deployment.origin == Some(origin) {
                return Ok(Some(deployment));
            }
        }
        Ok(None)
    }
}

pub(super) fn read(id: &EnvironmentId, row: DeploymentRow) -> Result<Deployment, Error> {
    serde_json::from_value(row.document).map_err(|source| Error::Unreadable {
        environment: id.clone(),
        source,
    })
}
