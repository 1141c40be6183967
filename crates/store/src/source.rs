//! Which source trees were uploaded. Not the trees, which are files in the data directory.

use jiff::Timestamp;
use towpath_model::id::Digest;

use crate::{Error, Store, row};

/// An uploaded source tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The digest of its archive.
    pub digest: Digest,
    /// The size of its archive in bytes.
    pub size: u64,
    /// When it was first uploaded.
    pub created_at: Timestamp,
}

type Row = (String, i64, String);

impl Store {
    /// Records a source tree. Nothing happens when it is recorded already.
    pub async fn record_source(
        &self,
        digest: &Digest,
        size: u64,
        at: Timestamp,
    ) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        sqlx::query(
            "INSERT INTO sources (digest, size, created_at) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(digest.as_str())
        .bind(row::signed(size, "size")?)
        .bind(row::time(at))
        .execute(&mut *write)
        .await?;
        write.commit().await
    }

    /// Returns a source tree; `None` when it was never uploaded or is forgotten.
    pub async fn source(&self, digest: &Digest) -> Result<Option<Source>, Error> {
        let mut read = self.database.read().await;
        let row: Option<Row> =
            sqlx::query_as("SELECT digest, size, created_at FROM sources WHERE digest = $1")
                .bind(digest.as_str())
                .fetch_optional(&mut *read)
                .await?;
        row.map(from_row).transpose()
    }

    /// Returns the source trees that no release was made from, oldest first.
    pub async fn unused_sources(&self) -> Result<Vec<Source>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT digest, size, created_at FROM sources
             WHERE NOT EXISTS (SELECT 1 FROM releases WHERE releases.source = sources.digest)
             ORDER BY created_at, digest",
        )
        .fetch_all(&mut *read)
        .await?;
        rows.into_iter().map(from_row).collect()
    }

    /// Forgets a source tree, unless a release was made from it. Returns whether it is forgotten
    /// now.
    pub async fn forget_source(&self, digest: &Digest) -> Result<bool, Error> {
        let mut write = self.database.write().await?;
        let result = sqlx::query(
            "DELETE FROM sources WHERE digest = $1
             AND NOT EXISTS (SELECT 1 FROM releases WHERE releases.source = sources.digest)",
        )
        .bind(digest.as_str())
        .execute(&mut *write)
        .await?;
        write.commit().await?;
        Ok(result.rows_affected() == 1)
    }
}

fn from_row((digest, size, created_at): Row) -> Result<Source, Error> {
    Ok(Source {
        digest: row::text(&digest, "source")?,
        size: row::number(size, "size")?,
        created_at: row::text(&created_at, "time")?,
    })
}
