//! Releases: numbered, immutable, kept until they are pruned. Not what they render to.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::SqliteConnection;
use towpath_model::event::NewEvent;
use towpath_model::id::{AppName, Digest, ReleaseNumber};
use towpath_model::release::Release;

use crate::{Error, MasterKey, Store, app, event, row, secret};

/// What a release is made of; the store gives it its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRelease {
    /// The digest of the source tree it is made from, where it has one.
    pub source: Option<Digest>,
    /// The commit that the source tree is at, where it is a clean checkout.
    pub commit: Option<String>,
    /// What the maker says of it.
    pub message: Option<String>,
    /// When it is made.
    pub created_at: Timestamp,
    /// Who makes it.
    pub created_by: String,
}

type Row = (
    String,
    i64,
    Option<String>,
    Option<String>,
    Option<String>,
    String,
    String,
);

impl Store {
    /// Makes a release with the next number of its app and records `release.created`. Numbers are
    /// never used twice, not even those of pruned releases.
    pub async fn create_release(&self, app: &AppName, new: NewRelease) -> Result<Release, Error> {
        let mut write = self.database.write().await?;
        let release = insert(&mut write, &self.keys, app, new).await?;
        write.commit().await?;
        Ok(release)
    }

    /// Returns a release; `None` when there is none of that number (any more).
    pub async fn release(
        &self,
        app: &AppName,
        number: ReleaseNumber,
    ) -> Result<Option<Release>, Error> {
        let mut read = self.database.read().await;
        let row: Option<Row> = sqlx::query_as(
            "SELECT app, number, source, commit_hash, message, created_at, created_by
             FROM releases WHERE app = $1 AND number = $2",
        )
        .bind(app.as_str())
        .bind(i64::from(number.0))
        .fetch_optional(&mut *read)
        .await?;
        row.map(from_row).transpose()
    }

    /// Returns the releases of an app, newest first.
    pub async fn releases(&self, app: &AppName) -> Result<Vec<Release>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT app, number, source, commit_hash, message, created_at, created_by
             FROM releases WHERE app = $1 ORDER BY number DESC",
        )
        .bind(app.as_str())
        .fetch_all(&mut *read)
        .await?;
        rows.into_iter().map(from_row).collect()
    }

    /// Removes the releases of an app, with their renderings and the secret values that only they
    /// need, but the `newest` so many and those `named`. Returns the numbers that were removed.
    pub async fn prune_releases(
        &self,
        app: &AppName,
        newest: u32,
        named: &BTreeSet<ReleaseNumber>,
    ) -> Result<Vec<ReleaseNumber>, Error> {
        let mut write = self.database.write().await?;
        let old: Vec<i64> = sqlx::query_scalar(
            "SELECT number FROM releases WHERE app = $1 AND number NOT IN (
                 SELECT number FROM releases WHERE app = $1 ORDER BY number DESC LIMIT $2)
             ORDER BY number",
        )
        .bind(app.as_str())
        .bind(i64::from(newest))
        .fetch_all(&mut *write)
        .await?;
        let mut removed = Vec::new();
        for number in old {
            let release = ReleaseNumber(row::number(number, "release")?);
            if named.contains(&release) {
                continue;
            }
            let result = sqlx::query("DELETE FROM releases WHERE app = $1 AND number = $2")
                .bind(app.as_str())
                .bind(number)
                .execute(&mut *write)
                .await?;
            row::one(&result, "release")?;
            removed.push(release);
        }
        secret::wipe_unneeded(&mut write, app).await?;
        write.commit().await?;
        Ok(removed)
    }
}

/// Makes a release within a transaction, with its event.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    keys: &MasterKey,
    app: &AppName,
    new: NewRelease,
) -> Result<Release, Error> {
    let number = next_number(connection, app).await?;
    let result = sqlx::query(
        "INSERT INTO releases (app, number, source, commit_hash, message, created_at, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(app.as_str())
    .bind(i64::from(number.0))
    .bind(new.source.as_ref().map(Digest::as_str))
    .bind(new.commit.as_deref())
    .bind(new.message.as_deref())
    .bind(row::time(new.created_at))
    .bind(new.created_by.as_str())
    .execute(&mut *connection)
    .await?;
    row::one(&result, "release")?;
    let created = NewEvent {
        at: new.created_at,
        actor: new.created_by.clone(),
        what: "release.created".to_owned(),
        subject: format!("{app} release {number}"),
        from: None,
        to: new.commit.clone(),
        reason: new.message.clone(),
    };
    event::append(connection, keys, None, &[created]).await?;
    Ok(Release {
        app: app.clone(),
        number,
        source: new.source,
        commit: new.commit,
        message: new.message,
        created_at: new.created_at,
        created_by: new.created_by,
    })
}

async fn next_number(
    connection: &mut SqliteConnection,
    app: &AppName,
) -> Result<ReleaseNumber, Error> {
    app::expect(connection, app).await?;
    let number: i64 = sqlx::query_scalar(
        "UPDATE apps SET last_release = last_release + 1 WHERE name = $1 RETURNING last_release",
    )
    .bind(app.as_str())
    .fetch_one(connection)
    .await?;
    Ok(ReleaseNumber(row::number(number, "release")?))
}

fn from_row(row: Row) -> Result<Release, Error> {
    let (app, number, source, commit, message, created_at, created_by) = row;
    Ok(Release {
        app: row::text(&app, "app")?,
        number: ReleaseNumber(row::number(number, "release")?),
        source: row::optional(source.as_deref(), "source")?,
        commit,
        message,
        created_at: row::text(&created_at, "time")?,
        created_by,
    })
}
