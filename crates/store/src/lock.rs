//! The lock on the data directory: one control plane at a time. Not a lock on rows.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::Error;

const FILE_NAME: &str = "towpath.lock";

/// How often, and how long apart, a lock that is held is tried again: for a second. A child that
/// was being started when its control plane was killed has the lock until it runs its own program.
const TRIES: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// A lock that is held until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    file: File,
}

impl DirectoryLock {
    /// Takes the lock, or says who has it.
    pub(crate) async fn take(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(FILE_NAME);
        let unusable = |error| Error::file(&path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(unusable)?;
        if !wait(&file).await.map_err(unusable)? {
            return Err(Error::Locked {
                directory: directory.to_owned(),
                pid: read_pid(&mut file),
            });
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(unusable)?;
        Ok(Self { file })
    }
}

impl Drop for DirectoryLock {
    /// Unlocks: to close the file is not enough while a child that is being started has it too.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(error = %error, "unlocking the data directory failed");
        }
    }
}

/// Tries to lock for a while. Returns whether it is locked now.
async fn wait(file: &File) -> std::io::Result<bool> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(BETWEEN_TRIES).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

/// Reads who has the lock; `None` in the moment before it is written.
fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
