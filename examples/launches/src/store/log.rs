//! The append-only file behind the store. It decides nothing about what is written.
//!
//! Each line is one batch of changes: 16 hexadecimal digits of the SHA-256 of the rest, a space, and
//! the batch as JSON, which contains no line feed. A batch is acknowledged after `fsync`, so only the
//! last line can be incomplete: it is cut off at the next start. A line that is bad anywhere else
//! means that the disk lost what was acknowledged, and the store refuses to start. The file only
//! grows.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::data::Change;
use crate::keyed::{hex, sha256};

const NAME: &str = "store.log";
const CHECKSUM: usize = 16;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot open {path} (LAUNCHES_DATA_DIR)")]
    Open {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{0} is in use by another store")]
    InUse(PathBuf),
    #[error("{path} is damaged at line {line}: restore it from a backup")]
    Damaged { path: PathBuf, line: usize },
    #[error("cannot write, and what was written before is in doubt")]
    InDoubt(#[source] std::io::Error),
}

/// The file, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    length: u64,
}

/// What was found when the file was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) log: Log,
    /// All changes in it, in order.
    pub(super) changes: Vec<Change>,
    /// Bytes of an incomplete last line that were cut off.
    pub(super) torn: u64,
}

impl Log {
    /// Opens the file in a directory, reads it, and cuts off an incomplete last line.
    pub(super) fn open(directory: &Path) -> Result<Opened, Error> {
        let path = directory.join(NAME);
        let failed = |source| Error::Open {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(directory).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(path)),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed)?;
        let (changes, good) = read(&content).map_err(|line| Error::Damaged {
            path: path.clone(),
            line,
        })?;
        let length = u64::try_from(good).unwrap_or(u64::MAX);
        let torn = u64::try_from(content.len() - good).unwrap_or(u64::MAX);
        file.set_len(length).map_err(failed)?;
        file.seek(SeekFrom::Start(length)).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        // The file's name is in the directory, which has to be on disk too.
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed)?;
        Ok(Opened {
            log: Self { file, length },
            changes,
            torn,
        })
    }

    /// Writes a batch and waits until it is on the disk. `Ok(false)` when there was no room and the
    /// file is as before.
    pub(super) fn append(&mut self, batch: &[Change]) -> Result<bool, Error> {
        let line = line(batch).map_err(|error| Error::InDoubt(error.into()))?;
        if self.file.write_all(&line).is_err() {
            self.file.set_len(self.length).map_err(Error::InDoubt)?;
            self.file
                .seek(SeekFrom::Start(self.length))
                .map_err(Error::InDoubt)?;
            return Ok(false);
        }
        // After a failed sync nobody knows what is on the disk; trying again would only hide it.
        self.file.sync_data().map_err(Error::InDoubt)?;
        self.length += u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(true)
    }
}

fn line(batch: &[Change]) -> Result<Vec<u8>, serde_json::Error> {
    let json = serde_json::to_vec(batch)?;
    let mut line = checksum(&json);
    line.push(b' ');
    line.extend_from_slice(&json);
    line.push(b'\n');
    Ok(line)
}

fn checksum(json: &[u8]) -> Vec<u8> {
    let mut digits = hex(&sha256(json));
    digits.truncate(CHECKSUM);
    digits.into_bytes()
}

/// Reads all batches; returns the changes and how many bytes are good, or the number of the first
/// line that is bad and not the last.
fn read(content: &[u8]) -> Result<(Vec<Change>, usize), usize> {
    let mut changes = Vec::new();
    let mut good = 0;
    let mut number = 0;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        number += 1;
        match parse(line) {
            Some(batch) => {
                changes.extend(batch);
                good += line.len();
            }
            None if good + line.len() == content.len() => break,
            None => return Err(number),
        }
    }
    Ok((changes, good))
}

fn parse(line: &[u8]) -> Option<Vec<Change>> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, json) = line.split_at_checked(CHECKSUM)?;
    let json = json.strip_prefix(b" ")?;
    if sum != checksum(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str) -> Change {
        Change::Set {
            key: key.to_owned(),
            value: format!("value of {key}\n"),
        }
    }

    fn written(directory: &Path, batches: &[&[Change]]) -> Vec<u8> {
        let Opened { mut log, .. } = Log::open(directory).expect("a new log");
        for batch in batches {
            assert!(log.append(batch).expect("the disk is fine"));
        }
        std::fs::read(directory.join(NAME)).expect("it was written")
    }

    #[test]
    fn what_was_appended_is_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        written(directory.path(), &[&[set("a"), set("b")], &[set("c")]]);
        let Opened { changes, torn, .. } = Log::open(directory.path()).expect("a good log");
        assert_eq!(changes, [set("a"), set("b"), set("c")]);
        assert_eq!(torn, 0);
    }

    #[test]
    fn a_last_line_torn_at_any_byte_is_cut_off_and_the_rest_is_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let one = written(directory.path(), &[&[set("a")]]).len();
        let content = written(directory.path(), &[&[set("b")]]);
        for end in one..content.len() {
            std::fs::write(directory.path().join(NAME), &content[..end]).expect("written");
            let Opened {
                mut log,
                changes,
                torn,
            } = Log::open(directory.path()).expect("recovered");
            assert_eq!(changes, [set("a")], "torn at {end}");
            assert_eq!(torn, u64::try_from(end - one).expect("small"));
            assert!(log.append(&[set("c")]).expect("the disk is fine"));
            drop(log);
            let Opened { changes, .. } = Log::open(directory.path()).expect("a good log");
            assert_eq!(changes, [set("a"), set("c")], "torn at {end}");
        }
    }

    #[test]
    fn a_hole_in_the_last_line_is_cut_off_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let one = written(directory.path(), &[&[set("a")]]).len();
        let mut content = written(directory.path(), &[&[set("b")]]);
        content[one..one + 8].fill(0);
        std::fs::write(directory.path().join(NAME), content).expect("written");
        let Opened { changes, .. } = Log::open(directory.path()).expect("recovered");
        assert_eq!(changes, [set("a")]);
    }

    #[test]
    fn damage_before_the_end_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut content = written(directory.path(), &[&[set("a")], &[set("b")], &[set("c")]]);
        let line = content.len() / 3;
        content[line + 20] ^= 1;
        std::fs::write(directory.path().join(NAME), &content).expect("written");
        let error = Log::open(directory.path()).expect_err("damaged");
        assert!(matches!(error, Error::Damaged { line: 2, .. }), "{error:?}");
        assert_eq!(
            std::fs::read(directory.path().join(NAME)).expect("there"),
            content
        );
    }

    #[test]
    fn two_stores_cannot_have_one_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Log::open(directory.path()).expect("a new log");
        let error = Log::open(directory.path()).expect_err("in use");
        assert!(matches!(error, Error::InUse(_)), "{error:?}");
        drop(first);
        Log::open(directory.path()).expect("free again");
    }
}
