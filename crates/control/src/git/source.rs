//! The source tree of a commit: taken out of its repository, checked, kept. Not when.

use towpath_compose::Diagnostic;
use towpath_model::id::{AppName, Digest};
use towpath_model::port::PortError;
use towpath_model::repository::{Commit, CommitId, Objects};

use crate::error::Error;
use crate::platform::Platform;
use crate::source::app::{AppTree, AppTreeError};
use crate::source::{blocking, unpack_tar};

/// The source tree of a commit.
#[derive(Debug)]
pub(super) struct CommitSource {
    pub(super) commit: Commit,
    pub(super) digest: Digest,
    pub(super) warnings: Vec<Diagnostic>,
}

impl Platform {
    /// Returns the source tree of a commit, made and checked when it is not there.
    pub(super) async fn commit_source(
        &self,
        app: &AppName,
        directory: &str,
        id: &CommitId,
        objects: &Objects,
    ) -> Result<CommitSource, Error> {
        let ports = &self.shared.ports;
        let commit = ports.repositories.commit(app, id, objects).await;
        let commit = commit.map_err(Error::Git)?;
        if let Some(digest) = ports.store.commit_source(app, &commit.id).await? {
            return Ok(CommitSource {
                commit,
                digest,
                warnings: Vec::new(),
            });
        }
        let submodules = ports.repositories.submodules(app, id, directory, objects);
        let submodules = submodules.await.map_err(Error::Git)?;
        if let Some(first) = submodules.first() {
            let message = format!(
                "{first} is a Git submodule, whose files are not in the commit: add the files themselves, or take the submodule out"
            );
            return Err(Error::Git(PortError::Refused(message)));
        }
        let (digest, bytes, warnings) = self
            .unpack_commit(app, directory, &commit.id, objects)
            .await?;
        let now = ports.clock.now();
        ports
            .store
            .record_commit_source(app, &commit.id, &digest, bytes, now)
            .await?;
        Ok(CommitSource {
            commit,
            digest,
            warnings,
        })
    }

    async fn unpack_commit(
        &self,
        app: &AppName,
        directory: &str,
        id: &CommitId,
        objects: &Objects,
    ) -> Result<(Digest, u64, Vec<Diagnostic>), Error> {
        let incoming = self.incoming()?;
        let repositories = &self.shared.ports.repositories;
        let archive = repositories.archive(app, id, directory, objects);
        let archive = archive.map_err(Error::Git)?;
        let (app, data) = (app.clone(), self.data().clone());
        blocking(move || {
            let unpacked = unpack_tar(archive, &incoming.tree())?;
            let tree = AppTree::open(&app, &incoming.tree(), unpacked.digest.clone())?;
            let warnings = tree.check().map_err(AppTreeError::from)?;
            incoming.install(&data.source(&unpacked.digest))?;
            Ok::<_, Error>((unpacked.digest, unpacked.bytes, warnings))
        })
        .await
    }
}
