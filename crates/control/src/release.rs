//! What releases need on disk, and what may be pruned. Nothing that a kept release needs is ever
//! removed.

use std::collections::BTreeSet;

use towpath_model::environment::Environment;
use towpath_model::id::ReleaseNumber;

use crate::error::Error;
use crate::platform::Shared;

impl Shared {
    /// Removes what no kept release needs. A failure is logged: the next deployment tries again.
    pub(crate) async fn prune(&self, environment: &Environment) {
        if let Err(error) = self.try_prune(environment).await {
            tracing::warn!(environment = %environment.id, error = %error, "pruning failed");
        }
    }

    async fn try_prune(&self, environment: &Environment) -> Result<(), Error> {
        let app = &environment.id.app;
        let in_play: BTreeSet<ReleaseNumber> = self
            .snapshots()
            .iter()
            .map(|snapshot| &snapshot.environment)
            .chain([environment])
            .filter(|one| &one.id.app == app)
            .flat_map(|one| {
                one.releases_in_play()
                    .into_iter()
                    .chain(one.history.clone())
            })
            .chain(self.runs.releases(app))
            .collect();
        self.ports
            .store
            .prune_releases(app, self.config.keep_releases, &in_play)
            .await?;
        let kept: Vec<ReleaseNumber> = self
            .ports
            .store
            .releases(app)
            .await?
            .into_iter()
            .map(|release| release.number)
            .collect();
        self.ports
            .engine
            .keep_artifacts(&environment.id, &kept)
            .await?;
        Ok(())
    }
}
