//! Source trees: taken apart, verified, moved into place in one step, written down. Not what is in
//! them ([`app`]), and not where they come from.

pub(crate) mod app;
mod unpack;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use towpath_model::id::Digest;

use crate::error::Error;
use crate::platform::Platform;
pub use unpack::Error as SourceError;
pub(crate) use unpack::{Unpacked, unpack, unpack_tar};

/// How the name of a tree begins that is not in its place yet.
const INCOMING: &str = ".incoming-";

/// Tells those of this process apart.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A directory for one tree that comes in. It is removed with everything in it when it is dropped.
#[derive(Debug)]
pub struct Incoming(PathBuf);

impl Incoming {
    /// Returns where an archive that is uploaded is to be written.
    pub fn archive(&self) -> PathBuf {
        self.0.join("archive.tar.gz")
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }

    /// Moves the tree into place. Blocks.
    pub(crate) fn install(&self, target: &Path) -> Result<(), SourceError> {
        // What is there without a record of it was left by a crash, or is the same tree.
        if target.exists() {
            std::fs::remove_dir_all(target).map_err(SourceError::files(target))?;
        }
        std::fs::rename(self.tree(), target).map_err(SourceError::files(target))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a tree that came in was not cleared away");
        }
    }
}

impl Platform {
    /// Tells whether a source tree is there.
    pub async fn source_exists(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.shared.ports.store.source(digest).await?.is_some())
    }

    /// Returns where a source tree is unpacked.
    pub fn source_directory(&self, digest: &Digest) -> PathBuf {
        self.shared.config.data.source(digest)
    }

    /// Makes a directory for a tree that comes in.
    pub fn incoming(&self) -> Result<Incoming, Error> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{INCOMING}{}-{number}", std::process::id());
        let path = self.shared.config.data.sources().join(name);
        std::fs::create_dir_all(&path).map_err(SourceError::files(&path))?;
        Ok(Incoming(path))
    }

    /// Takes the archive that was uploaded apart, and keeps the tree. Refused when it is another one
    /// than was said.
    pub async fn install_upload(&self, incoming: Incoming, wanted: &Digest) -> Result<(), Error> {
        let (target, said) = (self.source_directory(wanted), wanted.clone());
        let unpacked = blocking(move || {
            let archive = incoming.archive();
            let file = std::fs::File::open(&archive).map_err(SourceError::files(&archive))?;
            let unpacked = unpack(std::io::BufReader::new(file), &incoming.tree())?;
            if unpacked.digest != said {
                let (wanted, found) = (said, unpacked.digest);
                return Err(SourceError::Digest { wanted, found });
            }
            incoming.install(&target)?;
            Ok(unpacked)
        });
        let Unpacked { bytes, .. } = unpacked.await?;
        let now = self.shared.ports.clock.now();
        Ok(self
            .shared
            .ports
            .store
            .record_source(wanted, bytes, now)
            .await?)
    }
}

/// Does work that blocks where it holds nobody up.
pub(crate) async fn blocking<T: Send + 'static, E: Into<Error> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        // It is only cancelled when the runtime ends.
        Err(_) => Err(Error::Stopping),
    }
}

/// Removes what came in half when an earlier control plane was killed. Blocks. Call it while nothing
/// comes in.
pub(crate) fn clear_leftovers(sources: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(sources) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let is_left = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(INCOMING));
        if is_left {
            std::fs::remove_dir_all(entry.path())?;
            tracing::info!(path = %entry.path().display(), "an unfinished source tree was removed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_trees_are_removed_and_whole_ones_stay() {
        let directory = tempfile::tempdir().unwrap();
        let sources = directory.path().join("sources");
        clear_leftovers(&sources).unwrap();
        for name in [".incoming-1-1/tree/src", "0123abcd/src"] {
            std::fs::create_dir_all(sources.join(name)).unwrap();
        }
        clear_leftovers(&sources).unwrap();
        let left = std::fs::read_dir(&sources).unwrap().map(|entry| {
            let name = entry.unwrap().file_name();
            name.into_string().unwrap()
        });
        assert_eq!(left.collect::<Vec<_>>(), ["0123abcd"]);
    }
}
