//! The hash chain of the audit trail. Each line's hash covers the hash of the line before and all
//! fields of its own; the count and the last hash are kept apart, sealed with the master key. So
//! a line that is changed, removed (also the last), inserted or moved is found, and so is a chain
//! that was made anew by somebody without the key.

use serde::Serialize;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _, SqliteConnection};
use towpath_model::event::NewEvent;
use towpath_model::id::{Digest, EnvironmentId};

use super::select;
use crate::{Error, MasterKey, Store, row};

/// What the first line's hash covers in place of the line before.
const GENESIS: &[u8] = b"towpath events";

/// How many lines are verified at a time.
const BATCH: usize = 500;

/// What verifying the audit trail found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// How many events are good, counted up to the first bad one.
    pub count: u64,
    /// The first place where the trail is not what was written; `None` when all is well.
    pub first_bad: Option<BadEvent>,
}

/// A place where the audit trail is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadEvent {
    /// The sequence number of the place.
    pub sequence: u64,
    /// What is wrong there.
    pub problem: EventProblem,
}

/// What can be wrong with a place of the audit trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventProblem {
    /// A field of it, or a line before it, is not what was written.
    #[error("the event was changed")]
    Changed,
    /// It was written, and is gone.
    #[error("the event was removed")]
    Removed,
    /// It is there, and was never written by Towpath.
    #[error("the event was inserted")]
    Inserted,
    /// The count and hash of the trail's end were made without the master key.
    #[error("the record of the trail's end was forged")]
    Forged,
}

/// A row as it is, before it is taken for an event.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) sequence: i64,
    pub(super) at: String,
    pub(super) actor: String,
    pub(super) environment: Option<String>,
    pub(super) what: String,
    pub(super) subject: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) data: Option<String>,
    pub(super) hash: String,
}

impl FromRow<'_, SqliteRow> for Line {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            sequence: row.try_get("sequence")?,
            at: row.try_get("at")?,
            actor: row.try_get("actor")?,
            environment: row.try_get("environment")?,
            what: row.try_get("what")?,
            subject: row.try_get("subject")?,
            before: row.try_get("before")?,
            after: row.try_get("after")?,
            reason: row.try_get("reason")?,
            data: row.try_get("data")?,
            hash: row.try_get("hash")?,
        })
    }
}

/// What a hash covers, as JSON with its fields in this order. `data` is covered as the text that
/// is kept, so that no number changes its form on the way.
#[derive(Serialize)]
struct Canonical<'a> {
    sequence: i64,
    at: &'a str,
    actor: &'a str,
    environment: Option<&'a str>,
    what: &'a str,
    subject: &'a str,
    from: Option<&'a str>,
    to: Option<&'a str>,
    reason: Option<&'a str>,
    data: Option<&'a str>,
}

impl Line {
    fn digest(&self, previous: &str) -> Result<Digest, Error> {
        let canonical = Canonical {
            sequence: self.sequence,
            at: &self.at,
            actor: &self.actor,
            environment: self.environment.as_deref(),
            what: &self.what,
            subject: &self.subject,
            from: self.before.as_deref(),
            to: self.after.as_deref(),
            reason: self.reason.as_deref(),
            data: self.data.as_deref(),
        };
        let mut covered = previous.as_bytes().to_vec();
        serde_json::to_writer(&mut covered, &canonical)
            .map_err(|error| Error::inconsistent("event", error))?;
        Ok(Digest::of(&covered))
    }
}

/// The record of the trail's end.
struct Head {
    count: i64,
    hash: String,
    seal: Vec<u8>,
}

impl Head {
    async fn load(connection: &mut SqliteConnection) -> Result<Self, Error> {
        let row = sqlx::query("SELECT count, hash, seal FROM event_head WHERE id = 1")
            .fetch_optional(connection)
            .await?
            .ok_or_else(|| Error::inconsistent("events", "the record of their end is gone"))?;
        Ok(Self {
            count: row.try_get("count")?,
            hash: row.try_get("hash")?,
            seal: row.try_get("seal")?,
        })
    }

    fn context(count: i64, hash: &str) -> String {
        format!("towpath events\0{count}\0{hash}")
    }

    fn is_ours(&self, keys: &MasterKey) -> bool {
        let context = Self::context(self.count, &self.hash);
        keys.sealing().open(&context, &self.seal).is_some()
    }
}

/// Writes the record of the end of an empty trail.
pub(crate) async fn begin(
    connection: &mut SqliteConnection,
    keys: &MasterKey,
) -> Result<(), Error> {
    let hash = Digest::of(GENESIS);
    let seal = keys.sealing().seal(&Head::context(0, hash.as_str()), b"")?;
    let result = sqlx::query(
        "INSERT INTO event_head (id, count, hash, seal) VALUES (1, 0, $1, $2)
         ON CONFLICT DO NOTHING",
    )
    .bind(hash.as_str())
    .bind(seal)
    .execute(connection)
    .await?;
    row::one(&result, "record of the first key")
}

/// Appends a line within a transaction and returns its sequence number.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    keys: &MasterKey,
    environment: Option<&EnvironmentId>,
    event: &NewEvent,
    data: Option<&Value>,
) -> Result<u64, Error> {
    let head = Head::load(connection).await?;
    let mut line = Line {
        sequence: head.count.saturating_add(1),
        at: row::time(event.at),
        actor: event.actor.clone(),
        environment: environment.map(ToString::to_string),
        what: event.what.clone(),
        subject: event.subject.clone(),
        before: event.from.clone(),
        after: event.to.clone(),
        reason: event.reason.clone(),
        data: data.map(ToString::to_string),
        hash: String::new(),
    };
    line.hash = line.digest(&head.hash)?.into();
    insert(connection, &line).await?;
    let context = Head::context(line.sequence, &line.hash);
    let result = sqlx::query("UPDATE event_head SET count = $1, hash = $2, seal = $3 WHERE id = 1")
        .bind(line.sequence)
        .bind(line.hash)
        .bind(keys.sealing().seal(&context, b"")?)
        .execute(connection)
        .await?;
    row::one(&result, "end of the events")?;
    row::number(line.sequence, "event")
}

async fn insert(connection: &mut SqliteConnection, line: &Line) -> Result<(), Error> {
    let result = sqlx::query(
        "INSERT INTO events (sequence, at, actor, environment, what, subject, before, after,
             reason, data, hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
    )
    .bind(line.sequence)
    .bind(line.at.as_str())
    .bind(line.actor.as_str())
    .bind(line.environment.as_deref())
    .bind(line.what.as_str())
    .bind(line.subject.as_str())
    .bind(line.before.as_deref())
    .bind(line.after.as_deref())
    .bind(line.reason.as_deref())
    .bind(line.data.as_deref())
    .bind(line.hash.as_str())
    .execute(connection)
    .await?;
    row::one(&result, "event")
}

impl Store {
    /// Reads the whole audit trail and checks it against its hashes and the record of its end.
    pub async fn verify_events(&self) -> Result<Verification, Error> {
        let mut read = self.database.snapshot().await?;
        let head = Head::load(&mut read).await?;
        let mut walk = Walk {
            head: &head,
            last: 0,
            hash: Digest::of(GENESIS).into(),
        };
        let mut first_bad = None;
        let mut after = i64::MIN;
        loop {
            let lines = sqlx::query_as::<_, Line>(select!(
                "WHERE sequence > $1 ORDER BY sequence LIMIT $2"
            ))
            .bind(after)
            .bind(row::signed(
                u64::try_from(BATCH).unwrap_or(u64::MAX),
                "batch",
            )?)
            .fetch_all(&mut *read)
            .await?;
            for line in &lines {
                first_bad = walk.step(line)?;
                after = line.sequence;
                if first_bad.is_some() {
                    break;
                }
            }
            if first_bad.is_some() || lines.len() < BATCH {
                break;
            }
        }
        read.commit().await?;
        let first_bad = first_bad.or_else(|| walk.end(&self.keys));
        Ok(Verification {
            count: u64::try_from(walk.last).unwrap_or(0),
            first_bad: first_bad.map(|(sequence, problem)| BadEvent {
                sequence: u64::try_from(sequence).unwrap_or(0),
                problem,
            }),
        })
    }
}

/// A bad place: its sequence number and what is wrong with it.
type Bad = (i64, EventProblem);

/// How far the trail is good.
struct Walk<'a> {
    head: &'a Head,
    /// The last good sequence number.
    last: i64,
    /// Its hash.
    hash: String,
}

impl Walk<'_> {
    fn step(&mut self, line: &Line) -> Result<Option<Bad>, Error> {
        let wanted = self.last.saturating_add(1);
        if line.sequence < wanted || line.sequence > self.head.count {
            return Ok(Some((line.sequence, EventProblem::Inserted)));
        }
        if line.sequence > wanted {
            return Ok(Some((wanted, EventProblem::Removed)));
        }
        if line.digest(&self.hash)?.as_str() != line.hash {
            return Ok(Some((wanted, EventProblem::Changed)));
        }
        self.last = wanted;
        self.hash.clone_from(&line.hash);
        Ok(None)
    }

    fn end(&self, keys: &MasterKey) -> Option<Bad> {
        if self.last < self.head.count {
            return Some((self.last.saturating_add(1), EventProblem::Removed));
        }
        if self.hash != self.head.hash {
            return Some((self.last, EventProblem::Changed));
        }
        (!self.head.is_ours(keys)).then_some((self.last, EventProblem::Forged))
    }
}
