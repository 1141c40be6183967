//! The store itself: how it is opened and closed. What it can do is in the file of each aggregate.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use crate::database::{self, Database};
use crate::lock::DirectoryLock;
use crate::{Error, KeyError, MasterKey, event};

/// What is sealed to recognise the master key.
const KNOWN_TEXT: &[u8] = b"towpath";
const KNOWN_CONTEXT: &str = "towpath master key";

/// Everything that the control plane must not forget. Share it by `Arc`.
///
/// Calls are transactions: one that fails, or whose future is dropped before it commits, changed
/// nothing. (When the future is dropped during the commit itself, either may be the case; the
/// version check of [`Store::commit_environment`] tells.)
#[derive(Debug)]
pub struct Store {
    pub(crate) database: Database,
    pub(crate) keys: MasterKey,
    // After the database, so that nobody opens a database which is still open here.
    _lock: DirectoryLock,
}

impl Store {
    /// Opens the store in a data directory, both made when they are not there.
    ///
    /// Fails, and changes nothing, when another process has the directory ([`Error::Locked`]), the
    /// database is damaged or not ours ([`Error::Corrupt`]) or newer than this binary
    /// ([`Error::Newer`]), the key is another one ([`KeyError::Wrong`]), or the disk is full or
    /// read-only.
    pub async fn open(directory: &Path, keys: MasterKey) -> Result<Self, Error> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| Error::Directory {
                path: directory.to_owned(),
                source,
            })?;
        let lock = DirectoryLock::take(directory)?;
        let store = Self {
            database: Database::open(directory).await?,
            keys,
            _lock: lock,
        };
        store.check_key(directory).await?;
        Ok(store)
    }

    /// Closes the store in good order. Dropping it is as safe, and leaves a write-ahead log to be
    /// read at the next start.
    pub async fn close(self) {
        self.database.close().await;
    }

    /// Recognises the master key; the first key that a database meets is its own for ever.
    async fn check_key(&self, directory: &Path) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        let seal: Option<Vec<u8>> = sqlx::query_scalar("SELECT seal FROM master_key WHERE id = 1")
            .fetch_optional(&mut *write)
            .await?;
        if let Some(seal) = seal {
            let opened = self.keys.sealing().open(KNOWN_CONTEXT, &seal);
            return if opened.as_deref() == Some(KNOWN_TEXT) {
                Ok(())
            } else {
                Err(KeyError::Wrong {
                    file: database::file(directory),
                }
                .into())
            };
        }
        let seal = self.keys.sealing().seal(KNOWN_CONTEXT, KNOWN_TEXT)?;
        sqlx::query("INSERT INTO master_key (id, seal) VALUES (1, $1)")
            .bind(seal)
            .execute(&mut *write)
            .await?;
        event::begin_chain(&mut write, &self.keys).await?;
        write.commit().await
    }
}
