//! What forges are to be told of commits, and how it goes with each. Not what a status says.

use jiff::Timestamp;
use sqlx::SqliteConnection;
use towpath_model::id::{AppName, RunNumber};
use towpath_model::repository::status::Status;

use crate::{Error, Store, app, row};

/// The most statuses that are kept of an app, told ones too: one that comes again is not told again.
const MOST_KEPT: i64 = 5_000;

/// A status that the forge does not have yet: the oldest of its app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UntoldStatus {
    /// The app.
    pub app: AppName,
    /// What is to be told.
    pub status: Status,
    /// Which one it is in its matter.
    pub revision: u64,
    /// How it goes with the forge.
    pub lane: ForgeLane,
}

/// How it goes with the forge of an app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForgeLane {
    /// How often it was tried in vain since it last went well.
    pub attempts: u32,
    /// When it is tried next; at once when absent, unless it stands still.
    pub next_at: Option<Timestamp>,
    /// What the forge said last that was not good.
    pub fault: Option<String>,
    /// How many statuses wait.
    pub waiting: u64,
}

impl ForgeLane {
    /// Tells whether nothing is tried until somebody mends something.
    pub fn is_stopped(&self) -> bool {
        self.attempts > 0 && self.next_at.is_none()
    }
}

type UntoldRow = (String, String, i64);
type LaneRow = (i64, Option<String>, Option<String>);

impl Store {
    /// Writes down what the forge of an app is to be told. What is the same as before is left alone, and
    /// so is what a newer run said already.
    pub async fn want_statuses(
        &self,
        app: &AppName,
        run: Option<RunNumber>,
        statuses: &[Status],
        at: Timestamp,
    ) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        app::expect(&mut write, app).await?;
        want(&mut write, app, run, statuses, at).await?;
        write.commit().await
    }

    /// Returns the oldest status of each app that its forge does not have, but where it stands still.
    pub async fn untold_statuses(&self) -> Result<Vec<UntoldStatus>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<UntoldRow> = sqlx::query_as(
            "SELECT app, document, revision FROM commit_statuses
             WHERE (app, revision) IN (
                 SELECT app, min(revision) FROM commit_statuses WHERE told <> revision GROUP BY app)
             ORDER BY app",
        )
        .fetch_all(&mut *read)
        .await?;
        let mut untold = Vec::new();
        for (app, document, revision) in rows {
            let app: AppName = row::text(&app, "app")?;
            let lane = lane(&mut read, &app).await?;
            if lane.is_stopped() {
                continue;
            }
            untold.push(UntoldStatus {
                status: row::document(&document, "status of a commit")?,
                revision: row::number(revision, "revision")?,
                app,
                lane,
            });
        }
        Ok(untold)
    }

    /// Notes that the forge has a status, or will never take it: then why.
    pub async fn status_told(
        &self,
        untold: &UntoldStatus,
        fault: Option<&str>,
    ) -> Result<(), Error> {
        let UntoldStatus {
            app,
            status,
            revision,
            ..
        } = untold;
        let mut write = self.database.write().await?;
        // A newer one in the same matter stays untold.
        sqlx::query(
            "UPDATE commit_statuses SET told = $1
             WHERE app = $2 AND commit_id = $3 AND context = $4 AND revision = $1",
        )
        .bind(row::signed(*revision, "revision")?)
        .bind(app.as_str())
        .bind(status.commit.as_str())
        .bind(&status.context)
        .execute(&mut *write)
        .await?;
        set_lane(&mut write, app, 0, None, fault).await?;
        write.commit().await
    }

    /// Notes that the forge of an app could not be told, and when it is tried again; `None` when that is
    /// of no use until somebody mends something.
    pub async fn statuses_wait(
        &self,
        app: &AppName,
        attempts: u32,
        next_at: Option<Timestamp>,
        fault: &str,
    ) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        set_lane(&mut write, app, attempts.max(1), next_at, Some(fault)).await?;
        write.commit().await
    }

    /// Has the forge of an app told at once again, whatever it said.
    pub async fn resume_statuses(&self, app: &AppName) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        sqlx::query("DELETE FROM forge_lanes WHERE app = $1")
            .bind(app.as_str())
            .execute(&mut *write)
            .await?;
        write.commit().await
    }

    /// Forgets what the forge of an app was to be told.
    pub async fn forget_statuses(&self, app: &AppName) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        for statement in [
            "DELETE FROM commit_statuses WHERE app = $1",
            "DELETE FROM forge_lanes WHERE app = $1",
        ] {
            sqlx::query(statement)
                .bind(app.as_str())
                .execute(&mut *write)
                .await?;
        }
        write.commit().await
    }

    /// Returns how it goes with the forge of an app.
    pub async fn forge_lane(&self, app: &AppName) -> Result<ForgeLane, Error> {
        let mut read = self.database.read().await;
        lane(&mut read, app).await
    }
}

/// Writes down what the forge of an app is to be told, within a change of something else.
pub(crate) async fn want(
    connection: &mut SqliteConnection,
    app: &AppName,
    run: Option<RunNumber>,
    statuses: &[Status],
    at: Timestamp,
) -> Result<(), Error> {
    for status in statuses {
        let document = serde_json::to_string(status)
            .map_err(|error| Error::inconsistent("status of a commit", error))?;
        sqlx::query(
            "INSERT INTO commit_statuses (app, commit_id, context, run, document, revision, changed_at)
             VALUES ($1, $2, $3, $4, $5,
                 (SELECT coalesce(max(revision), 0) + 1 FROM commit_statuses WHERE app = $1), $6)
             ON CONFLICT (app, commit_id, context) DO UPDATE
             SET run = excluded.run, document = excluded.document, revision = excluded.revision,
                 changed_at = excluded.changed_at
             WHERE excluded.run >= commit_statuses.run
               AND excluded.document <> commit_statuses.document",
        )
        .bind(app.as_str())
        .bind(status.commit.as_str())
        .bind(&status.context)
        .bind(i64::from(run.map_or(0, |run| run.0)))
        .bind(document)
        .bind(row::time(at))
        .execute(&mut *connection)
        .await?;
    }
    if !statuses.is_empty() {
        sqlx::query(
            "DELETE FROM commit_statuses WHERE app = $1 AND revision <= (
                 SELECT revision FROM commit_statuses WHERE app = $1
                 ORDER BY revision DESC LIMIT 1 OFFSET $2)",
        )
        .bind(app.as_str())
        .bind(MOST_KEPT)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn lane(connection: &mut SqliteConnection, app: &AppName) -> Result<ForgeLane, Error> {
    let row: Option<LaneRow> =
        sqlx::query_as("SELECT attempts, next_at, fault FROM forge_lanes WHERE app = $1")
            .bind(app.as_str())
            .fetch_optional(&mut *connection)
            .await?;
    let waiting: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM commit_statuses WHERE app = $1 AND told <> revision",
    )
    .bind(app.as_str())
    .fetch_one(&mut *connection)
    .await?;
    let (attempts, next_at, fault) = row.unwrap_or_default();
    Ok(ForgeLane {
        attempts: row::number(attempts, "attempts")?,
        next_at: row::optional(next_at.as_deref(), "time")?,
        fault,
        waiting: row::number(waiting, "statuses")?,
    })
}

async fn set_lane(
    connection: &mut SqliteConnection,
    app: &AppName,
    attempts: u32,
    next_at: Option<Timestamp>,
    fault: Option<&str>,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO forge_lanes (app, attempts, next_at, fault) VALUES ($1, $2, $3, $4)
         ON CONFLICT (app) DO UPDATE
         SET attempts = excluded.attempts, next_at = excluded.next_at, fault = excluded.fault",
    )
    .bind(app.as_str())
    .bind(i64::from(attempts))
    .bind(next_at.map(row::time))
    .bind(fault)
    .execute(connection)
    .await?;
    Ok(())
}
