//! The audit trail: appended to, read, never changed. How its lines are chained, and how a change
//! is found, is in [`chain`].

use serde_json::Value;
use sqlx::SqliteConnection;
use towpath_model::event::{Event, NewEvent};
use towpath_model::id::EnvironmentId;
use towpath_model::pipeline::EPHEMERAL;

use crate::event::chain::Line;
use crate::{Error, MasterKey, Store, row};

mod chain;

pub(crate) use chain::begin as begin_chain;
pub use chain::{BadEvent, EventProblem, Verification};

/// Which events are wanted, and in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventQuery {
    /// Only those of this environment; all when absent.
    pub environment: Option<EnvironmentId>,
    /// None of the environments that live as long as a job of a pipeline.
    pub skips_jobs: bool,
    /// Only those after this sequence number.
    pub after: Option<u64>,
    /// Only those before this sequence number.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
    /// The order, which also says which ones a limit leaves out.
    pub order: EventOrder,
}

impl Default for EventQuery {
    /// Asks for the newest hundred events of all environments.
    fn default() -> Self {
        Self {
            environment: None,
            skips_jobs: false,
            after: None,
            before: None,
            limit: 100,
            order: EventOrder::NewestFirst,
        }
    }
}

/// The order of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EventOrder {
    /// The last event first.
    #[default]
    NewestFirst,
    /// In the order of their sequence numbers.
    OldestFirst,
}

macro_rules! select {
    ($($rest:literal)+) => {
        concat!(
            "SELECT sequence, at, actor, environment, what, subject, before, after, reason, data, hash FROM events ",
            $($rest),+
        )
    };
}
use select;

impl Store {
    /// Appends one event that goes with no other change. Returns its sequence number.
    pub async fn append_event(
        &self,
        environment: Option<&EnvironmentId>,
        event: &NewEvent,
        data: Option<&Value>,
    ) -> Result<u64, Error> {
        let mut write = self.database.write().await?;
        let sequence = chain::append(&mut write, &self.keys, environment, event, data).await?;
        write.commit().await?;
        Ok(sequence)
    }

    /// Returns events.
    pub async fn events(&self, query: &EventQuery) -> Result<Vec<Event>, Error> {
        let statement = match (&query.environment, query.order) {
            (None, EventOrder::NewestFirst) => {
                select!(
                    "WHERE sequence > $1 AND sequence < $2"
                    " AND ($4 = '' OR environment IS NULL OR environment NOT LIKE $4)"
                    " ORDER BY sequence DESC LIMIT $3"
                )
            }
            (None, EventOrder::OldestFirst) => {
                select!(
                    "WHERE sequence > $1 AND sequence < $2"
                    " AND ($4 = '' OR environment IS NULL OR environment NOT LIKE $4)"
                    " ORDER BY sequence LIMIT $3"
                )
            }
            (Some(_), EventOrder::NewestFirst) => select!(
                "WHERE sequence > $1 AND sequence < $2 AND environment = $4"
                " ORDER BY sequence DESC LIMIT $3"
            ),
            (Some(_), EventOrder::OldestFirst) => select!(
                "WHERE sequence > $1 AND sequence < $2 AND environment = $4"
                " ORDER BY sequence LIMIT $3"
            ),
        };
        let bound = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let mut statement = sqlx::query_as::<_, Line>(statement)
            .bind(bound(query.after.unwrap_or(0)))
            .bind(bound(query.before.unwrap_or(u64::MAX)))
            .bind(i64::from(query.limit));
        statement = statement.bind(match &query.environment {
            Some(environment) => environment.to_string(),
            None if query.skips_jobs => format!("%/{EPHEMERAL}%"),
            None => String::new(),
        });
        let mut read = self.database.read().await;
        let lines = statement.fetch_all(&mut *read).await?;
        lines.into_iter().map(from_line).collect()
    }
}

/// Appends events within a transaction.
pub(crate) async fn append(
    connection: &mut SqliteConnection,
    keys: &MasterKey,
    environment: Option<&EnvironmentId>,
    events: &[NewEvent],
) -> Result<(), Error> {
    for event in events {
        chain::append(connection, keys, environment, event, None).await?;
    }
    Ok(())
}

fn from_line(line: Line) -> Result<Event, Error> {
    Ok(Event {
        sequence: row::number(line.sequence, "event")?,
        at: row::text(&line.at, "time")?,
        environment: row::optional(line.environment.as_deref(), "environment")?,
        data: line
            .data
            .map(|json| row::document(&json, "data of an event"))
            .transpose()?,
        hash: row::text(&line.hash, "hash")?,
        actor: line.actor,
        what: line.what,
        subject: line.subject,
        from: line.before,
        to: line.after,
        reason: line.reason,
    })
}
