//! What can go wrong with the store. Not how it is shown to people beyond one line: exit codes and
//! HTTP statuses are mapped where they are used.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use sqlx::migrate::MigrateError;
use towpath_model::id::{EnvironmentId, ReleaseNumber};

use crate::database::FILE_NAME;

/// Any failure of the store. None carries a secret's value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another control plane has the data directory.
    #[error(
        "the data directory {} is in use by another control plane{}; stop that one, or name another directory",
        directory.display(), holder(*pid)
    )]
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// The process that has it, where it wrote that down.
        pid: Option<u32>,
    },
    /// The data directory cannot be made, read or written.
    #[error("cannot use {}: the data directory and what is in it must be readable and writable", path.display())]
    Directory {
        /// The file or directory that was tried.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The database file is not a database of ours, or is damaged.
    #[error(
        "the database {} is damaged ({reason}); nothing was changed: move it away together with its -wal and -shm files, and restore a backup",
        file.display()
    )]
    Corrupt {
        /// The database file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The database was written by a newer Towpath.
    #[error(
        "the database {} has schema {found}, and this towpath knows schemas up to {known}: use the newer towpath that wrote it",
        file.display()
    )]
    Newer {
        /// The database file.
        file: PathBuf,
        /// The version of its schema.
        found: i64,
        /// The newest version that this binary knows.
        known: i64,
    },
    /// There is no room to write.
    #[error("no room to write {}; the change was not made: make room on that disk and try again", file.display())]
    Full {
        /// The database file, or another file of the data directory.
        file: PathBuf,
    },
    /// The data directory cannot be written for want of permission.
    #[error("{} cannot be written: the file or its disk is read-only", file.display())]
    ReadOnly {
        /// The database file, or another file of the data directory.
        file: PathBuf,
    },
    /// The system failed to read or write the database.
    #[error("reading or writing the database {} failed", file.display())]
    Database {
        /// The database file.
        file: PathBuf,
        /// What `SQLite` said.
        #[source]
        source: sqlx::Error,
    },
    /// Rows contradict the model: a bug, or a hand in the database.
    #[error("the database contradicts itself: {what}: {reason}")]
    Inconsistent {
        /// What was read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What was asked for is not there.
    #[error("there is no {0}")]
    NotFound(String),
    /// What was to be made is there.
    #[error("{0} exists already")]
    AlreadyExists(String),
    /// Somebody else changed the environment since it was loaded.
    #[error(
        "environment {environment} changed meanwhile: version {expected} was expected, {found} was found"
    )]
    Stale {
        /// The environment.
        environment: EnvironmentId,
        /// The version that the change was based on.
        expected: u64,
        /// The version that is there.
        found: u64,
    },
    /// A release was rendered before for this environment, and to something else.
    #[error("release {release} is already rendered for {environment}, to something else")]
    Differs {
        /// The environment.
        environment: EnvironmentId,
        /// The release.
        release: ReleaseNumber,
    },
    /// Every port of the range is taken.
    #[error("no free port in {}-{}", range.start(), range.end())]
    NoPort {
        /// The ports that were tried.
        range: RangeInclusive<u16>,
    },
    /// A secret is larger than is kept.
    #[error("a secret may have {limit} bytes at most, this one has {size}")]
    SecretTooLarge {
        /// Its size in bytes.
        size: usize,
        /// The most that is kept.
        limit: usize,
    },
    /// Something is wrong with the master key.
    #[error(transparent)]
    Key(#[from] crate::KeyError),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl Error {
    pub(crate) fn inconsistent(what: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self::Inconsistent {
            what: what.into(),
            reason: reason.to_string(),
        }
    }

    /// Sorts an error of the system on a file of the data directory.
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        let file = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull => Self::Full { file },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { file },
            _ => Self::Directory { path: file, source },
        }
    }

    /// Sorts an error of `SQLite` by its primary result code (sqlite.org/rescode.html).
    pub(crate) fn sqlite(file: &Path, error: sqlx::Error) -> Self {
        let file = file.to_owned();
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .and_then(|code: Cow<'_, str>| code.parse::<u32>().ok());
        match code.map(|code| code & 0xff) {
            Some(8) => Self::ReadOnly { file },
            Some(11 | 26) => Self::Corrupt {
                file,
                reason: error
                    .as_database_error()
                    .map_or_else(String::new, |error| error.message().to_owned()),
            },
            Some(13) => Self::Full { file },
            _ => Self::Database {
                file,
                source: error,
            },
        }
    }

    pub(crate) fn migration(file: &Path, known: i64, error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                Self::sqlite(file, error)
            }
            MigrateError::VersionMissing(found) => Self::Newer {
                file: file.to_owned(),
                found,
                known,
            },
            other => Self::Corrupt {
                file: file.to_owned(),
                reason: other.to_string(),
            },
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::sqlite(Path::new(FILE_NAME), error)
    }
}
