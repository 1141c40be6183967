//! What is known of the caches of an app's jobs. Not their files, which are archives in the data
//! directory, and not who is given which, which the model says.

use jiff::Timestamp;
use towpath_model::event::NewEvent;
use towpath_model::id::{AppName, Digest, RunNumber};
use towpath_model::pipeline::cache::{Cache, Identity};

use crate::{Error, Store, event, row};

type Row = (
    String,
    String,
    Option<String>,
    String,
    i64,
    i64,
    i64,
    String,
    String,
);

impl Store {
    /// Records a cache, in place of one with the same id.
    pub async fn put_cache(&self, app: &AppName, cache: &Cache) -> Result<(), Error> {
        let Identity { name, kind, key } = &cache.identity;
        let mut write = self.database.write().await?;
        sqlx::query(
            "INSERT OR REPLACE INTO caches
             (app, id, name, kind, content, scope, run, files, bytes, made_at, used_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(app.as_str())
        .bind(cache.id().as_str().to_owned())
        .bind(name)
        .bind(kind.as_str())
        .bind(key.as_ref().map(Digest::as_str))
        .bind(cache.scope.to_string())
        .bind(i64::from(cache.run.0))
        .bind(row::signed(cache.files, "files")?)
        .bind(row::signed(cache.bytes, "bytes")?)
        .bind(row::time(cache.made_at))
        .bind(row::time(cache.used_at))
        .execute(&mut *write)
        .await?;
        write.commit().await
    }

    /// Notes that a cache was given to a job. Nothing happens when it is not there any more.
    pub async fn use_cache(&self, app: &AppName, id: &Digest, at: Timestamp) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        sqlx::query("UPDATE caches SET used_at = $1 WHERE app = $2 AND id = $3")
            .bind(row::time(at))
            .bind(app.as_str())
            .bind(id.as_str())
            .execute(&mut *write)
            .await?;
        write.commit().await
    }

    /// Returns the caches of an app, by their names, newest first.
    pub async fn caches(&self, app: &AppName) -> Result<Vec<Cache>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT name, kind, content, scope, run, files, bytes, made_at, used_at FROM caches
             WHERE app = $1 ORDER BY name, made_at DESC, id",
        )
        .bind(app.as_str())
        .fetch_all(&mut *read)
        .await?;
        rows.into_iter().map(from_row).collect()
    }

    /// Forgets caches of an app, with what is to be said of it.
    pub async fn forget_caches(
        &self,
        app: &AppName,
        ids: &[Digest],
        events: &[NewEvent],
    ) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        for id in ids {
            sqlx::query("DELETE FROM caches WHERE app = $1 AND id = $2")
                .bind(app.as_str())
                .bind(id.as_str())
                .execute(&mut *write)
                .await?;
        }
        event::append(&mut write, &self.keys, None, events).await?;
        write.commit().await
    }
}

fn from_row(
    (name, kind, key, scope, run, files, bytes, made_at, used_at): Row,
) -> Result<Cache, Error> {
    Ok(Cache {
        identity: Identity {
            name,
            kind: row::text(&kind, "digest")?,
            key: row::optional(key.as_deref(), "digest")?,
        },
        scope: row::text(&scope, "scope")?,
        run: RunNumber(row::number(run, "run")?),
        files: row::number(files, "files")?,
        bytes: row::number(bytes, "bytes")?,
        made_at: row::text(&made_at, "time")?,
        used_at: row::text(&used_at, "time")?,
    })
}
