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
            .map_err(|error| Error::file(directory, error))?;
        let lock = DirectoryLock::take(directory).await?;
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    /// Limits the size of the database to what it has now and some pages more.
    async fn limit(store: &Store, more_pages: i64) {
        let mut lease = store.database.write().await.unwrap();
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
            .fetch_one(&mut *lease)
            .await
            .unwrap();
        let pragma = format!("PRAGMA max_page_count = {}", pages + more_pages);
        sqlx::raw_sql(sqlx::AssertSqlSafe(pragma))
            .execute(&mut *lease)
            .await
            .unwrap();
        lease.commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_commit_without_room_changes_nothing_and_the_next_one_with_room_succeeds() {
        let directory = tempfile::tempdir().unwrap();
        let key = MasterKey::random().unwrap();
        let store = Store::open(directory.path(), key).await.unwrap();
        let id = "shop/dev".parse().unwrap();
        let at = Timestamp::UNIX_EPOCH;
        store
            .create_app(&"shop".parse().unwrap(), "ann", at)
            .await
            .unwrap();
        store
            .create_environment(&id, "process", &json!(0), at, &[])
            .await
            .unwrap();
        limit(&store, 2).await;
        let large = json!("x".repeat(100_000));
        for _ in 0..3 {
            let error = store
                .commit_environment(&id, 1, &large, &[], &[])
                .await
                .unwrap_err();
            assert!(matches!(error, Error::Full { .. }), "{error:?}");
        }
        let loaded = store.load_environment(&id).await.unwrap().unwrap();
        assert_eq!((loaded.version, loaded.document), (1, json!(0)));
        limit(&store, 1000).await;
        let version = store
            .commit_environment(&id, 1, &large, &[], &[])
            .await
            .unwrap();
        assert_eq!(version, 2);
    }
}
