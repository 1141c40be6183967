//! The files by which a supervisor and the control plane know of one another, in the instance's
//! directory. Not the log.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::procfs::random_name;

/// Who runs here; made once by whoever claims the directory.
pub(crate) const RUN: &str = "run.json";
/// How it ended.
pub(crate) const EXIT: &str = "exit.json";
/// The request to stop.
pub(crate) const STOP: &str = "stop.json";
/// The named pipe that wakes the supervisor.
const CONTROL: &str = "control";

/// Reads a file of JSON. `None` when it is not there.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(io::Error::from)
}

/// Writes a file of JSON as a whole: a reader sees the old content or the new one.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let temporary = write_beside(path, value)?;
    fs::rename(temporary, path)
}

/// Writes a file of JSON if there is none. Tells whether it did: of several that try, one does.
pub(crate) fn claim<T: Serialize>(path: &Path, value: &T) -> io::Result<bool> {
    let temporary = write_beside(path, value)?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_beside<T: Serialize>(path: &Path, value: &T) -> io::Result<std::path::PathBuf> {
    let temporary = path.with_extension(format!("{}.tmp", random_name()?));
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = file.write_all(&serde_json::to_vec(value)?);
    if let Err(error) = written {
        // A disk that is full stays as it was.
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    Ok(temporary)
}

/// Opens the supervisor's end of the pipe that wakes it, made if it is not there.
pub(crate) fn open_control(directory: &Path) -> io::Result<fs::File> {
    let path = directory.join(CONTROL);
    match mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    // Open for writing too, so that it never reads as closed.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(fs::File::from(open(&path, flags, Mode::empty())?))
}

/// Wakes the supervisor, if there is one.
pub(crate) fn wake(directory: &Path) {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    if let Ok(pipe) = open(directory.join(CONTROL), flags, Mode::empty()) {
        // A pipe that is full wakes it as well.
        rustix::io::write(&pipe, b"!").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_claim_succeeds_and_its_content_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(RUN);
        assert!(claim(&path, &1).unwrap());
        assert!(!claim(&path, &2).unwrap());
        assert_eq!(read::<i32>(&path).unwrap(), Some(1));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_claim_in_a_directory_that_is_gone_fails() {
        let directory = tempfile::tempdir().unwrap();
        assert!(claim(&directory.path().join("gone").join(RUN), &1).is_err());
    }

    #[test]
    fn a_file_that_is_not_there_is_none_and_a_broken_one_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(EXIT);
        assert_eq!(read::<i32>(&path).unwrap(), None);
        fs::write(&path, "{").unwrap();
        assert!(read::<i32>(&path).is_err());
    }
}
