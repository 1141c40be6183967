//! What was taken in of the Git repositories of apps: the commit of each branch and tag, and the source
//! tree of each commit. Not the repositories, which are files in the data directory.

mod outside;
pub(crate) mod status;

use std::collections::BTreeMap;

use jiff::Timestamp;
use towpath_model::event::NewEvent;
use towpath_model::id::{AppName, Digest};
use towpath_model::repository::CommitId;

use crate::{Error, Store, app, event, row};

impl Store {
    /// Returns the commits of branches and tags, by their whole names, that were taken in.
    pub async fn taken_references(
        &self,
        app: &AppName,
    ) -> Result<BTreeMap<String, CommitId>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT name, commit_id FROM repository_references WHERE app = $1")
                .bind(app.as_str())
                .fetch_all(&mut *read)
                .await?;
        rows.into_iter()
            .map(|(name, commit)| Ok((name, row::text(&commit, "commit")?)))
            .collect()
    }

    /// Records that a branch or tag was taken in at a commit, or that it is gone, with the event that
    /// tells of it.
    pub async fn record_reference(
        &self,
        app: &AppName,
        name: &str,
        commit: Option<&CommitId>,
        taken: &NewEvent,
    ) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        app::expect(&mut write, app).await?;
        let query = match commit {
            Some(commit) => sqlx::query(
                "INSERT INTO repository_references (app, name, commit_id, taken_at)
                 VALUES ($1, $2, $3, $4)
                 ON CONFLICT (app, name) DO UPDATE
                 SET commit_id = excluded.commit_id, taken_at = excluded.taken_at",
            )
            .bind(app.as_str())
            .bind(name)
            .bind(commit.as_str())
            .bind(row::time(taken.at)),
            None => sqlx::query("DELETE FROM repository_references WHERE app = $1 AND name = $2")
                .bind(app.as_str())
                .bind(name),
        };
        query.execute(&mut *write).await?;
        event::append(&mut write, &self.keys, None, std::slice::from_ref(taken)).await?;
        write.commit().await
    }

    /// Records what branches and tags have that are nobody's concern.
    pub async fn note_references(
        &self,
        app: &AppName,
        references: &[(&str, &CommitId)],
        at: Timestamp,
    ) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        app::expect(&mut write, app).await?;
        for (name, commit) in references {
            sqlx::query(
                "INSERT INTO repository_references (app, name, commit_id, taken_at)
                 VALUES ($1, $2, $3, $4)
                 ON CONFLICT (app, name) DO UPDATE
                 SET commit_id = excluded.commit_id, taken_at = excluded.taken_at",
            )
            .bind(app.as_str())
            .bind(*name)
            .bind(commit.as_str())
            .bind(row::time(at))
            .execute(&mut *write)
            .await?;
        }
        write.commit().await
    }

    /// Returns the source tree of a commit, where it was recorded and is still there.
    pub async fn commit_source(
        &self,
        app: &AppName,
        commit: &CommitId,
    ) -> Result<Option<Digest>, Error> {
        let mut read = self.database.read().await;
        let source: Option<String> = sqlx::query_scalar(
            "SELECT source FROM commit_sources JOIN sources ON digest = source
             WHERE app = $1 AND commit_id = $2",
        )
        .bind(app.as_str())
        .bind(commit.as_str())
        .fetch_optional(&mut *read)
        .await?;
        row::optional(source.as_deref(), "source")
    }

    /// Records a source tree of so many bytes, and that it is a commit's.
    pub async fn record_commit_source(
        &self,
        app: &AppName,
        commit: &CommitId,
        source: &Digest,
        size: u64,
        at: Timestamp,
    ) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        app::expect(&mut write, app).await?;
        sqlx::query(
            "INSERT INTO sources (digest, size, created_at) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(source.as_str())
        .bind(row::signed(size, "size")?)
        .bind(row::time(at))
        .execute(&mut *write)
        .await?;
        sqlx::query(
            "INSERT INTO commit_sources (app, commit_id, source) VALUES ($1, $2, $3)
             ON CONFLICT (app, commit_id) DO UPDATE SET source = excluded.source",
        )
        .bind(app.as_str())
        .bind(commit.as_str())
        .bind(source.as_str())
        .execute(&mut *write)
        .await?;
        write.commit().await
    }
}
