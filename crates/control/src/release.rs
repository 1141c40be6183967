//! What releases need on disk: source trees that were uploaded, and what may be pruned. Nothing
//! that a kept release needs is ever removed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use towpath_model::environment::Environment;
use towpath_model::id::{Digest, ReleaseNumber};

use crate::error::Error;
use crate::platform::{Platform, Shared};

impl Platform {
    /// Tells whether a source tree was uploaded.
    pub async fn source_exists(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.shared.ports.store.source(digest).await?.is_some())
    }

    /// Returns where a source tree is unpacked.
    pub fn source_directory(&self, digest: &Digest) -> PathBuf {
        self.shared.config.data.source(digest)
    }

    /// Writes down that a source tree of so many bytes is there, whole.
    pub async fn record_source(&self, digest: &Digest, size: u64) -> Result<(), Error> {
        let now = self.shared.ports.clock.now();
        Ok(self
            .shared
            .ports
            .store
            .record_source(digest, size, now)
            .await?)
    }
}

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
