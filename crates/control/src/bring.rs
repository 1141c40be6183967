//! What people bring to an environment by hand: at once where it demands nothing, behind its gates
//! where it does, past them where its owner says so and why. Not the gates, which are those of a run.

use towpath_model::id::{DeploymentNumber, EnvironmentId, ReleaseNumber, RunNumber};
use towpath_model::pipeline::Demands;
use towpath_model::rollout::Strategy;
use towpath_store::NewRelease;

use crate::command::{Deploy, Redeploy};
use crate::error::Error;
use crate::platform::Platform;
use crate::run::Promote;

/// What became of the wish to bring a release to an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brought {
    /// Its deployment is asked for.
    Deployment(ReleaseNumber, DeploymentNumber),
    /// The environment demands something: a run waits for it, and deploys.
    Run(ReleaseNumber, RunNumber),
}

/// A release that there is, and the wish to bring it to an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BringRelease {
    /// The release.
    pub release: ReleaseNumber,
    /// Another strategy than the release's own.
    pub strategy: Option<Strategy>,
    /// Who asks.
    pub actor: String,
    /// Why it passes the gates of the environment, where its owner says so.
    pub past_gates: Option<String>,
}

impl Platform {
    /// Brings a new release to an environment. Nothing is made of one that can never meet what the
    /// environment demands.
    pub async fn bring(
        &self,
        id: &EnvironmentId,
        mut deploy: Deploy,
        strategy: Option<Strategy>,
    ) -> Result<Brought, Error> {
        self.refuse_while_destroyed(id)?;
        let ruling = self.shared.ruling(id, &deploy.draft.demands);
        if ruling.is_empty() {
            deploy.past_gates = None;
        }
        if ruling.is_empty() || deploy.past_gates.is_some() {
            let (release, number) = self.deploy(id, deploy).await?;
            return Ok(Brought::Deployment(release, number));
        }
        refuse_working_tree(id, &ruling)?;
        let rendering = self.render(id, &deploy.draft).await?;
        self.check_ports(id, &rendering, &[])?;
        let store = &self.shared.ports.store;
        if let Some(digest) = &deploy.source
            && store.source(digest).await?.is_none()
        {
            return Err(Error::NoSource(digest.to_string()));
        }
        let new = NewRelease {
            source: deploy.source,
            commit: deploy.commit,
            message: deploy.message,
            created_at: self.shared.ports.clock.now(),
            created_by: deploy.actor.clone(),
        };
        let release = store.create_release(&id.app, new).await?;
        let number = release.number;
        store.insert_rendering(id, number, &rendering).await?;
        let run = self
            .begin_single(id, release, &ruling, strategy, deploy.actor)
            .await?;
        Ok(Brought::Run(number, run))
    }

    /// Brings a release that there is to an environment.
    pub async fn bring_release(
        &self,
        id: &EnvironmentId,
        bring: BringRelease,
    ) -> Result<Brought, Error> {
        self.refuse_while_destroyed(id)?;
        let BringRelease {
            release,
            strategy,
            actor,
            past_gates,
        } = bring;
        let rendering = self.rendering_for(id, release).await?;
        let ruling = self.shared.ruling(id, &rendering.demands);
        if !ruling.is_empty() && past_gates.is_none() {
            let promote = Promote {
                app: id.app.clone(),
                environment: id.name.clone(),
                release: Some(release),
                strategy,
                actor,
            };
            return Ok(Brought::Run(release, self.promote(promote).await?));
        }
        let past_gates = past_gates.filter(|_| !ruling.is_empty());
        let again = Redeploy {
            release,
            rendering,
            strategy,
            actor,
            past_gates,
        };
        let number = self.redeploy(id, again).await?;
        Ok(Brought::Deployment(release, number))
    }
}

/// Refuses what nobody can have seen before: the files of a directory, where the environment wants a
/// release that was somewhere, or that was checked.
fn refuse_working_tree(id: &EnvironmentId, demands: &Demands) -> Result<(), Error> {
    let name = &id.name;
    let (wants, instead) = match (demands.after(), demands.checks) {
        (Some(after), _) => (
            format!("that was in `{after}` before"),
            format!("`towpath promote {name}` brings the one that is there"),
        ),
        (None, true) => (
            "whose jobs passed".to_owned(),
            "push it, or `towpath runs start`".to_owned(),
        ),
        (None, false) => return Ok(()),
    };
    Err(Error::NeedsRelease {
        environment: id.clone(),
        wants,
        instead,
    })
}
