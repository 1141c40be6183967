//! The files of workspaces in a world: all have the same, and what they are given is kept to be looked
//! at. Not the reading and writing of a real one.

use std::path::{Path, PathBuf};

use towpath_model::id::{EnvironmentId, ServiceName};
use towpath_model::port::{FilesTaken, FilesWanted, PortError};

use super::World;

impl World {
    /// Has every workspace hold these files from now on, by their paths.
    pub fn set_left(&self, files: &[(&str, &[u8])]) {
        let files = files.iter();
        let files = files.map(|(path, content)| ((*path).to_owned(), content.to_vec()));
        self.change(|state| state.left = files.collect());
    }

    /// Returns the archives that a service was given.
    pub fn given_files(&self, environment: &EnvironmentId, service: &ServiceName) -> Vec<Vec<u8>> {
        let key = (environment.clone(), service.clone());
        self.change(|state| state.given.get(&key).cloned().unwrap_or_default())
    }

    pub(super) fn keep_given(
        &self,
        environment: &EnvironmentId,
        service: &ServiceName,
        archives: &[PathBuf],
    ) -> Result<(), PortError> {
        let read = archives.iter().map(std::fs::read);
        let read = read.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let key = (environment.clone(), service.clone());
        self.change(|state| state.given.insert(key, read));
        Ok(())
    }

    pub(super) fn pack_left(
        &self,
        wanted: &FilesWanted,
        archive: &Path,
    ) -> Result<FilesTaken, PortError> {
        let left = self.change(|state| state.left.clone());
        let mut builder = tar::Builder::new(std::fs::File::create(archive).map_err(failed)?);
        let mut taken = FilesTaken::default();
        for (path, content) in left.iter().filter(|(path, _)| wanted.wants(path)) {
            let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(size);
            let added = builder.append_data(&mut header, path, content.as_slice());
            added.map_err(failed)?;
            taken.files += 1;
            taken.bytes += size;
        }
        if taken.bytes > wanted.most_bytes {
            return Err(PortError::Refused("the files are too large".to_owned()));
        }
        builder.finish().map_err(failed)?;
        Ok(taken)
    }
}

fn failed(error: impl std::fmt::Display) -> PortError {
    PortError::Failed {
        attempted: "handle files of a workspace".to_owned(),
        reason: error.to_string(),
    }
}
