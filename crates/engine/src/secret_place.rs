//! Where the values of secrets are while instances have them: a directory for each instance, in
//! memory where there is a file system for it, that nobody else can write to or look into. Not what
//! is in the directories, which each engine lays out by itself.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statfs};
use rustix::process::geteuid;
use towpath_model::id::InstanceId;

/// What statfs(2) calls a file system in memory.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Makes an instance's directory anew so often: the place may be removed by another one that ends.
const ATTEMPTS: usize = 10;

/// Finds where a place in memory can be. It is made when the first secret is written, and removed
/// with the last.
pub(crate) fn place_in_memory(data_id: &str) -> Option<PathBuf> {
    ["/run", "/dev/shm"].iter().map(Path::new).find_map(|base| {
        let in_memory = statfs(base).ok()?.f_type == TMPFS_MAGIC;
        let place = base.join(format!("towpath-{}-{data_id}", geteuid().as_raw()));
        let writable = access(base, Access::WRITE_OK | Access::EXEC_OK).is_ok();
        (in_memory && writable).then_some(place)
    })
}

/// Makes an instance's directory in a place that nobody else can write to.
pub(crate) fn make_directory(secrets: &Path) -> io::Result<()> {
    let Some(place) = secrets.parent() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    for attempt in 1.. {
        // Whoever runs as another user must be able to pass, not to look.
        DirBuilder::new()
            .mode(0o711)
            .recursive(true)
            .create(place)?;
        let found = fs::symlink_metadata(place)?;
        if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
            let place = place.display();
            return Err(io::Error::other(format!("others may write to {place}")));
        }
        match DirBuilder::new().mode(0o711).create(secrets) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {}
            made => return made,
        }
    }
    Ok(())
}

/// Returns the name of an instance's directory in such a place.
pub(crate) fn directory_name(id: &InstanceId) -> String {
    format!(
        "{}.{}.{}",
        id.environment.app,
        id.environment.name,
        id.local()
    )
}

/// Removes all of an instance's secrets, and the place when it is empty.
pub(crate) fn remove(secrets: &Path) -> io::Result<()> {
    match fs::remove_dir_all(secrets) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed?,
    }
    if let Some(place) = secrets.parent() {
        // It is not empty as long as another instance has secrets.
        drop(fs::remove_dir(place));
    }
    Ok(())
}
