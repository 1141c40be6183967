//! Runs of pipelines, each one document with a version. Not what is in the documents, which is the
//! owner's.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::SqliteConnection;
use towpath_model::event::NewEvent;
use towpath_model::id::{AppName, ReleaseNumber, RunId, RunNumber};
use towpath_model::release::Release;
use towpath_model::repository::status::Status;

use crate::repository::status;
use crate::{Error, NewRelease, Store, app, event, release, row};

/// A run as it was last committed.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    /// Which one.
    pub id: RunId,
    /// The version of the document, from 1, one higher after each commit.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// The state, as its owner wrote it.
    pub document: Value,
}

/// The release of a new run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseOfRun {
    /// One that is made with it.
    New(NewRelease),
    /// One that there is.
    Present(ReleaseNumber),
}

/// Whether something is still to be done for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is: it is taken up again when the control plane starts.
    Unsettled,
    /// It is not.
    Settled,
}

/// What a change of a run says to others.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// When.
    pub at: Timestamp,
    /// To the audit trail.
    pub events: &'a [NewEvent],
    /// To the forge, of the commit: what is so from then on, each in its matter.
    pub statuses: &'a [Status],
}

type Row = (String, i64, i64, String, String);

impl Store {
    /// Makes a run with the next number of its app, and its release, with their events, all or
    /// nothing. `write` makes the document of the numbers. The version of the document is 1.
    pub async fn create_run(
        &self,
        app: &AppName,
        release: ReleaseOfRun,
        at: Timestamp,
        write: impl FnOnce(
            RunNumber,
            ReleaseNumber,
        ) -> Result<(Value, Vec<NewEvent>), serde_json::Error>
        + Send,
    ) -> Result<StoredRun, Error> {
        let mut transaction = self.database.write().await?;
        let number = next_number(&mut transaction, app).await?;
        let release = match release {
            ReleaseOfRun::New(new) => {
                let made: Release = release::insert(&mut transaction, &self.keys, app, new).await?;
                made.number
            }
            ReleaseOfRun::Present(number) => number,
        };
        let what = format!("run {number} of {app}");
        let (document, events) =
            write(number, release).map_err(|error| Error::inconsistent(what, error))?;
        sqlx::query(
            "INSERT INTO runs (app, number, version, created_at, unsettled, document)
             VALUES ($1, $2, 1, $3, 1, $4)",
        )
        .bind(app.as_str())
        .bind(i64::from(number.0))
        .bind(row::time(at))
        .bind(document.to_string())
        .execute(&mut *transaction)
        .await?;
        event::append(&mut transaction, &self.keys, None, &events).await?;
        transaction.commit().await?;
        Ok(StoredRun {
            id: RunId::new(app.clone(), number),
            version: 1,
            created_at: at,
            document,
        })
    }

    /// Replaces the document of a run, appends events and writes down what the forge is to be told, all
    /// or nothing. Returns the new version of the document. Fails when the document is not at
    /// `expected`.
    pub async fn commit_run(
        &self,
        id: &RunId,
        expected: u64,
        document: &Value,
        progress: Progress,
        said: Said<'_>,
    ) -> Result<u64, Error> {
        let what = || id.to_string();
        let version = expected
            .checked_add(1)
            .ok_or_else(|| Error::inconsistent(what(), "there are no more versions"))?;
        let mut write = self.database.write().await?;
        let result = sqlx::query(
            "UPDATE runs SET document = $1, version = $2, unsettled = $3
             WHERE app = $4 AND number = $5 AND version = $6",
        )
        .bind(document.to_string())
        .bind(row::signed(version, "version")?)
        .bind(i64::from(progress == Progress::Unsettled))
        .bind(id.app.as_str())
        .bind(i64::from(id.number.0))
        .bind(row::signed(expected, "version")?)
        .execute(&mut *write)
        .await?;
        if result.rows_affected() != 1 {
            let reason = format!("it is not at version {expected}");
            return Err(Error::inconsistent(what(), reason));
        }
        event::append(&mut write, &self.keys, None, said.events).await?;
        status::want(&mut write, &id.app, Some(id.number), said.statuses, said.at).await?;
        write.commit().await?;
        Ok(version)
    }

    /// Returns a run; `None` when there is none of that number.
    pub async fn run(&self, id: &RunId) -> Result<Option<StoredRun>, Error> {
        let mut read = self.database.read().await;
        let row: Option<Row> = sqlx::query_as(
            "SELECT app, number, version, created_at, document FROM runs
             WHERE app = $1 AND number = $2",
        )
        .bind(id.app.as_str())
        .bind(i64::from(id.number.0))
        .fetch_optional(&mut *read)
        .await?;
        row.map(from_row).transpose()
    }

    /// Returns the newest `limit` runs of an app, newest first.
    pub async fn runs(&self, app: &AppName, limit: u32) -> Result<Vec<StoredRun>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT app, number, version, created_at, document FROM runs
             WHERE app = $1 ORDER BY number DESC LIMIT $2",
        )
        .bind(app.as_str())
        .bind(i64::from(limit))
        .fetch_all(&mut *read)
        .await?;
        rows.into_iter().map(from_row).collect()
    }

    /// Returns the runs of all apps for which something is still to be done, oldest first.
    pub async fn unsettled_runs(&self) -> Result<Vec<StoredRun>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT app, number, version, created_at, document FROM runs
             WHERE unsettled = 1 ORDER BY app, number",
        )
        .fetch_all(&mut *read)
        .await?;
        rows.into_iter().map(from_row).collect()
    }
}

async fn next_number(connection: &mut SqliteConnection, app: &AppName) -> Result<RunNumber, Error> {
    app::expect(connection, app).await?;
    let number: i64 = sqlx::query_scalar(
        "UPDATE apps SET last_run = last_run + 1 WHERE name = $1 RETURNING last_run",
    )
    .bind(app.as_str())
    .fetch_one(connection)
    .await?;
    Ok(RunNumber(row::number(number, "run")?))
}

fn from_row((app, number, version, created_at, document): Row) -> Result<StoredRun, Error> {
    let what = format!("run {number} of {app}");
    Ok(StoredRun {
        id: RunId::new(
            row::text(&app, "app")?,
            RunNumber(row::number(number, "run")?),
        ),
        version: row::number(version, "version")?,
        created_at: row::text(&created_at, "time")?,
        document: row::document(&document, &what)?,
    })
}
