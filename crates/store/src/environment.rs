//! Environments, each one document with a version, and their deployments. Not what is in the
//! documents, which is the owner's.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::SqliteConnection;
use towpath_model::event::NewEvent;
use towpath_model::id::{DeploymentNumber, EnvironmentId, ReleaseNumber};

use crate::{Error, Store, app, event, row};

mod deployment;

/// An environment as it was last committed.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEnvironment {
    /// Which one.
    pub id: EnvironmentId,
    /// The name of the engine it runs on.
    pub engine: String,
    /// The version of the document, from 1, one higher after each commit.
    pub version: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// The state, as its owner wrote it.
    pub document: Value,
}

/// A deployment as it is listed; all else about it is in its document.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentRow {
    /// The environment.
    pub environment: EnvironmentId,
    /// The number within the environment.
    pub number: DeploymentNumber,
    /// The release that it deploys.
    pub release: ReleaseNumber,
    /// What kind of deployment it is, such as `deploy` or `rollback`.
    pub kind: String,
    /// The state it is in.
    pub state: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, if it did.
    pub finished_at: Option<Timestamp>,
    /// Everything else, as its owner wrote it.
    pub document: Value,
}

type Row = (String, String, String, i64, String, String);

impl Store {
    /// Makes an environment, with its events, and returns the version of its document, which is 1.
    pub async fn create_environment(
        &self,
        id: &EnvironmentId,
        engine: &str,
        document: &Value,
        at: Timestamp,
        events: &[NewEvent],
    ) -> Result<u64, Error> {
        let mut write = self.database.write().await?;
        app::expect(&mut write, &id.app).await?;
        let result = sqlx::query(
            "INSERT INTO environments (app, name, engine, version, created_at, document)
             VALUES ($1, $2, $3, 1, $4, $5) ON CONFLICT DO NOTHING",
        )
        .bind(id.app.as_str())
        .bind(id.name.as_str())
        .bind(engine)
        .bind(row::time(at))
        .bind(document.to_string())
        .execute(&mut *write)
        .await?;
        if result.rows_affected() == 0 {
            return Err(Error::AlreadyExists(format!("environment `{id}`")));
        }
        event::append(&mut write, &self.keys, Some(id), events).await?;
        write.commit().await?;
        Ok(1)
    }

    /// Returns an environment; `None` when there is no such one.
    pub async fn load_environment(
        &self,
        id: &EnvironmentId,
    ) -> Result<Option<StoredEnvironment>, Error> {
        let mut read = self.database.read().await;
        let row: Option<Row> = sqlx::query_as(
            "SELECT app, name, engine, version, created_at, document FROM environments
             WHERE app = $1 AND name = $2",
        )
        .bind(id.app.as_str())
        .bind(id.name.as_str())
        .fetch_optional(&mut *read)
        .await?;
        row.map(from_row).transpose()
    }

    /// Returns all environments by app and name.
    pub async fn environments(&self) -> Result<Vec<StoredEnvironment>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT app, name, engine, version, created_at, document FROM environments
             ORDER BY app, name",
        )
        .fetch_all(&mut *read)
        .await?;
        rows.into_iter().map(from_row).collect()
    }

    /// Replaces the document of an environment, writes its changed deployments and appends events,
    /// all or nothing. Returns the new version of the document.
    ///
    /// Fails with [`Error::Stale`] when the document is not at `expected`: somebody else committed
    /// since it was loaded, so whoever calls must load again and think again.
    pub async fn commit_environment(
        &self,
        id: &EnvironmentId,
        expected: u64,
        document: &Value,
        deployments: &[DeploymentRow],
        events: &[NewEvent],
    ) -> Result<u64, Error> {
        let version = expected
            .checked_add(1)
            .ok_or_else(|| Error::inconsistent(id.to_string(), "there are no more versions"))?;
        let mut write = self.database.write().await?;
        expect_version(&mut write, id, expected).await?;
        let result = sqlx::query(
            "UPDATE environments SET document = $1, version = $2 WHERE app = $3 AND name = $4",
        )
        .bind(document.to_string())
        .bind(row::signed(version, "version")?)
        .bind(id.app.as_str())
        .bind(id.name.as_str())
        .execute(&mut *write)
        .await?;
        row::one(&result, "environment")?;
        for deployment in deployments {
            deployment::upsert(&mut write, id, deployment).await?;
        }
        event::append(&mut write, &self.keys, Some(id), events).await?;
        write.commit().await?;
        Ok(version)
    }

    /// Deletes an environment with its deployments, renderings, secrets and ports. Its events stay,
    /// and `events` are added to them. Fails with [`Error::Stale`] as a commit does.
    pub async fn delete_environment(
        &self,
        id: &EnvironmentId,
        expected: u64,
        events: &[NewEvent],
    ) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        expect_version(&mut write, id, expected).await?;
        for statement in [
            "DELETE FROM environments WHERE app = $1 AND name = $2",
            "DELETE FROM renderings WHERE app = $1 AND environment = $2",
            "DELETE FROM secrets WHERE app = $1 AND environment = $2",
            "DELETE FROM ports WHERE app = $1 AND environment = $2",
        ] {
            sqlx::query(statement)
                .bind(id.app.as_str())
                .bind(id.name.as_str())
                .execute(&mut *write)
                .await?;
        }
        event::append(&mut write, &self.keys, Some(id), events).await?;
        write.commit().await
    }
}

async fn expect_version(
    connection: &mut SqliteConnection,
    id: &EnvironmentId,
    expected: u64,
) -> Result<(), Error> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT version FROM environments WHERE app = $1 AND name = $2")
            .bind(id.app.as_str())
            .bind(id.name.as_str())
            .fetch_optional(connection)
            .await?;
    let found = found.ok_or_else(|| Error::NotFound(format!("environment `{id}`")))?;
    let found = row::number(found, "version")?;
    if found == expected {
        return Ok(());
    }
    Err(Error::Stale {
        environment: id.clone(),
        expected,
        found,
    })
}

fn from_row(row: Row) -> Result<StoredEnvironment, Error> {
    let (app, name, engine, version, created_at, document) = row;
    let id = EnvironmentId::new(row::text(&app, "app")?, row::text(&name, "environment")?);
    let what = format!("environment {id}");
    Ok(StoredEnvironment {
        engine,
        version: row::number(version, "version")?,
        created_at: row::text(&created_at, "time")?,
        document: row::document(&document, &what)?,
        id,
    })
}
