//! Notifications: how far the audit trail was made into messages, and the messages that have not
//! arrived yet. Not what they say, nor how they are sent.

use jiff::Timestamp;
use sqlx::SqliteConnection;
use towpath_model::event::NewEvent;
use towpath_model::id::{AppName, EnvironmentId, ReleaseNumber};
use towpath_model::notify::{Lane, Outgoing, State};

use crate::{Error, Store, event, row};

/// The most messages that wait in one lane; the oldest go when there are more.
const MOST_WAITING: i64 = 200;

/// How far the audit trail was made into messages.
#[derive(Debug, Clone, PartialEq)]
pub struct NotifyProgress {
    /// The last event that was looked at.
    pub sequence: u64,
    /// What is remembered for the next ones.
    pub state: State,
}

/// A message that has not arrived yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Its place in the order of all messages.
    pub id: i64,
    /// The message and its way.
    pub outgoing: Outgoing,
    /// When it was made.
    pub created_at: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is to be tried next.
    pub next_at: Timestamp,
}

type Row = (i64, String, String, i64, String);

impl Store {
    /// Returns how far the audit trail was made into messages.
    pub async fn notify_progress(&self) -> Result<NotifyProgress, Error> {
        let mut read = self.database.read().await;
        let (sequence, state): (i64, String) =
            sqlx::query_as("SELECT sequence, state FROM notify_progress WHERE id = 1")
                .fetch_one(&mut *read)
                .await?;
        Ok(NotifyProgress {
            sequence: row::number(sequence, "event")?,
            state: row::document(&state, "memory of notifications")?,
        })
    }

    /// Writes down how far it got, and the messages that were made on the way, all or nothing. Of too
    /// many that wait in one lane the oldest go, and the audit trail says so.
    pub async fn commit_notifications(
        &self,
        before: u64,
        progress: &NotifyProgress,
        outgoing: &[Outgoing],
        at: Timestamp,
    ) -> Result<(), Error> {
        let state = serde_json::to_string(&progress.state)
            .map_err(|error| Error::inconsistent("memory of notifications", error))?;
        let mut write = self.database.write().await?;
        let result = sqlx::query(
            "UPDATE notify_progress SET sequence = $1, state = $2 WHERE id = 1 AND sequence = $3",
        )
        .bind(row::signed(progress.sequence, "event")?)
        .bind(state)
        .bind(row::signed(before, "event")?)
        .execute(&mut *write)
        .await?;
        row::one(&result, "progress of notifications")?;
        for one in outgoing {
            let document = serde_json::to_string(one)
                .map_err(|error| Error::inconsistent("message", error))?;
            sqlx::query(
                "INSERT INTO outbox (lane, document, created_at, next_at) VALUES ($1, $2, $3, $3)",
            )
            .bind(one.lane.to_string())
            .bind(document)
            .bind(row::time(at))
            .execute(&mut *write)
            .await?;
            let gone = drop_surplus(&mut write, &one.lane).await?;
            if gone > 0 {
                let reason =
                    format!("more than {MOST_WAITING} messages wait: the oldest was dropped");
                let dropped = gave_up(&one.lane, reason, at);
                let environment = Some(&one.lane.environment);
                event::append(&mut write, &self.keys, environment, &[dropped]).await?;
            }
        }
        write.commit().await
    }

    /// Returns the message of each lane that is to be sent next, oldest first.
    pub async fn waiting_messages(&self) -> Result<Vec<Waiting>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, document, created_at, attempts, next_at FROM outbox
             WHERE id IN (SELECT min(id) FROM outbox GROUP BY lane) ORDER BY id",
        )
        .fetch_all(&mut *read)
        .await?;
        rows.into_iter().map(from_row).collect()
    }

    /// Forgets a message that arrived.
    pub async fn message_arrived(&self, id: i64) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        remove(&mut write, id).await?;
        write.commit().await
    }

    /// Notes that a message did not arrive, and when it is tried again.
    pub async fn message_failed(
        &self,
        id: i64,
        attempts: u32,
        next_at: Timestamp,
    ) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        // It may have been dropped meanwhile for those that wait behind it.
        sqlx::query("UPDATE outbox SET attempts = $1, next_at = $2 WHERE id = $3")
            .bind(i64::from(attempts))
            .bind(row::time(next_at))
            .bind(id)
            .execute(&mut *write)
            .await?;
        write.commit().await
    }

    /// Forgets a message that is given up, and records `notification.failed`.
    pub async fn give_up_message(
        &self,
        waiting: &Waiting,
        reason: String,
        at: Timestamp,
    ) -> Result<(), Error> {
        let lane = &waiting.outgoing.lane;
        let mut write = self.database.write().await?;
        remove(&mut write, waiting.id).await?;
        let failed = gave_up(lane, reason, at);
        event::append(&mut write, &self.keys, Some(&lane.environment), &[failed]).await?;
        write.commit().await
    }

    /// Returns the newest release that is rendered for each environment of an app, the newest first.
    pub async fn newest_renderings(
        &self,
        app: &AppName,
    ) -> Result<Vec<(EnvironmentId, ReleaseNumber)>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT environment, max(release) FROM renderings WHERE app = $1
             GROUP BY environment ORDER BY 2 DESC, 1",
        )
        .bind(app.as_str())
        .fetch_all(&mut *read)
        .await?;
        rows.into_iter()
            .map(|(name, release)| {
                let id = EnvironmentId::new(app.clone(), row::text(&name, "environment")?);
                Ok((id, ReleaseNumber(row::number(release, "release")?)))
            })
            .collect()
    }
}

async fn drop_surplus(connection: &mut SqliteConnection, lane: &Lane) -> Result<u64, Error> {
    let result = sqlx::query(
        "DELETE FROM outbox WHERE lane = $1 AND id <=
             (SELECT id FROM outbox WHERE lane = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
    )
    .bind(lane.to_string())
    .bind(MOST_WAITING)
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

async fn remove(connection: &mut SqliteConnection, id: i64) -> Result<(), Error> {
    sqlx::query("DELETE FROM outbox WHERE id = $1")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

fn gave_up(lane: &Lane, reason: String, at: Timestamp) -> NewEvent {
    NewEvent {
        at,
        actor: towpath_model::step::SYSTEM.to_owned(),
        what: "notification.failed".to_owned(),
        subject: format!("target {}", lane.target),
        from: None,
        to: None,
        reason: Some(reason),
    }
}

fn from_row((id, document, created_at, attempts, next_at): Row) -> Result<Waiting, Error> {
    Ok(Waiting {
        id,
        outgoing: row::document(&document, "message")?,
        created_at: row::text(&created_at, "time")?,
        attempts: row::number(attempts, "attempts")?,
        next_at: row::text(&next_at, "time")?,
    })
}
