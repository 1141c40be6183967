//! The deployments of an environment. They are written only together with its document.

use sqlx::SqliteConnection;
use towpath_model::id::{DeploymentNumber, EnvironmentId, ReleaseNumber};

use super::DeploymentRow;
use crate::{Error, Store, row};

type Row = (i64, i64, String, String, String, Option<String>, String);

impl Store {
    /// Returns a deployment; `None` when there is none of that number.
    pub async fn deployment(
        &self,
        environment: &EnvironmentId,
        number: DeploymentNumber,
    ) -> Result<Option<DeploymentRow>, Error> {
        let mut read = self.database.read().await;
        let row: Option<Row> = sqlx::query_as(
            "SELECT number, release, kind, state, started_at, finished_at, document
             FROM deployments WHERE app = $1 AND environment = $2 AND number = $3",
        )
        .bind(environment.app.as_str())
        .bind(environment.name.as_str())
        .bind(i64::from(number.0))
        .fetch_optional(&mut *read)
        .await?;
        row.map(|row| from_row(environment, row)).transpose()
    }

    /// Returns the newest `limit` deployments of an environment, newest first.
    pub async fn deployments(
        &self,
        environment: &EnvironmentId,
        limit: u32,
    ) -> Result<Vec<DeploymentRow>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT number, release, kind, state, started_at, finished_at, document
             FROM deployments WHERE app = $1 AND environment = $2
             ORDER BY number DESC LIMIT $3",
        )
        .bind(environment.app.as_str())
        .bind(environment.name.as_str())
        .bind(i64::from(limit))
        .fetch_all(&mut *read)
        .await?;
        rows.into_iter()
            .map(|row| from_row(environment, row))
            .collect()
    }
}

/// Writes a deployment over what was there of it. Its release, kind and start never change.
pub(super) async fn upsert(
    connection: &mut SqliteConnection,
    environment: &EnvironmentId,
    deployment: &DeploymentRow,
) -> Result<(), Error> {
    let what = format!("deployment {} of {environment}", deployment.number);
    if deployment.environment != *environment {
        let other = &deployment.environment;
        return Err(Error::inconsistent(what, format!("it is of {other}")));
    }
    let result = sqlx::query(
        "INSERT INTO deployments
             (app, environment, number, release, kind, state, started_at, finished_at, document)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (app, environment, number) DO UPDATE SET
             state = excluded.state, finished_at = excluded.finished_at,
             document = excluded.document
         WHERE release = excluded.release AND kind = excluded.kind
             AND started_at = excluded.started_at",
    )
    .bind(environment.app.as_str())
    .bind(environment.name.as_str())
    .bind(i64::from(deployment.number.0))
    .bind(i64::from(deployment.release.0))
    .bind(deployment.kind.as_str())
    .bind(deployment.state.as_str())
    .bind(row::time(deployment.started_at))
    .bind(deployment.finished_at.map(row::time))
    .bind(deployment.document.to_string())
    .execute(connection)
    .await?;
    if result.rows_affected() == 0 {
        let reason = "its release, kind and start cannot change";
        return Err(Error::inconsistent(what, reason));
    }
    row::one(&result, &what)
}

fn from_row(environment: &EnvironmentId, row: Row) -> Result<DeploymentRow, Error> {
    let (number, release, kind, state, started_at, finished_at, document) = row;
    Ok(DeploymentRow {
        environment: environment.clone(),
        number: DeploymentNumber(row::number(number, "deployment")?),
        release: ReleaseNumber(row::number(release, "release")?),
        kind,
        state,
        started_at: row::text(&started_at, "time")?,
        finished_at: row::optional(finished_at.as_deref(), "time")?,
        document: row::document(&document, "deployment")?,
    })
}
