//! A few connections to one database, lent one at a time. Not sqlx's pool: a connection to a local
//! file needs no time-outs and no reconnecting, and without timers the store works under a paused
//! clock; and a transaction that `SQLite` ended by itself (a full disk) must not spoil a connection.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use sqlx::SqliteConnection;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Error;

/// The connections that are not lent out, and a permit for each. Those who wait are served in the
/// order in which they came.
#[derive(Debug)]
pub(crate) struct Connections {
    idle: Mutex<Vec<Slot>>,
    permits: Semaphore,
}

#[derive(Debug)]
struct Slot {
    connection: SqliteConnection,
    /// Whether a transaction may be open on it.
    open: bool,
}

impl Connections {
    pub(crate) fn new(connections: Vec<SqliteConnection>) -> Self {
        let permits = Semaphore::new(connections.len());
        let slots = connections.into_iter().map(|connection| Slot {
            connection,
            open: false,
        });
        Self {
            idle: Mutex::new(slots.collect()),
            permits,
        }
    }

    /// Lends a connection and begins a transaction with `statement`. What is dropped without a
    /// commit is undone at once as far as readers can see; the `ROLLBACK` itself waits for the next
    /// use of the connection, since a drop cannot await.
    pub(crate) async fn begin(&self, statement: &'static str) -> Result<Lease<'_>, Error> {
        let mut lease = self.lend().await;
        lease.slot().open = true;
        sqlx::raw_sql(statement).execute(&mut *lease).await?;
        Ok(lease)
    }

    /// Lends a connection, for single statements.
    pub(crate) async fn lend(&self) -> Lease<'_> {
        let permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let slot = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .expect("there is a connection for each permit");
        let mut lease = Lease {
            home: self,
            slot: Some(slot),
            _permit: permit,
        };
        lease.roll_back().await;
        lease
    }

    /// Closes the connections that are not lent out.
    pub(crate) async fn close(&self) {
        let slots = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for slot in slots {
            if let Err(error) = sqlx::Connection::close(slot.connection).await {
                tracing::warn!(error = %error, "closing a connection to the database failed");
            }
        }
    }
}

/// A lent connection, with a transaction or without.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    home: &'a Connections,
    /// There until drop.
    slot: Option<Slot>,
    _permit: SemaphorePermit<'a>,
}

impl Lease<'_> {
    /// Ends the transaction and makes its changes last. When this returns an error, none of them
    /// was made, and they are undone as if this was dropped.
    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        sqlx::raw_sql("COMMIT").execute(&mut *self).await?;
        self.slot().open = false;
        Ok(())
    }

    /// Ends a transaction that was dropped or failed on this connection. `SQLite` may have ended it
    /// by itself, so a refusal is no failure.
    async fn roll_back(&mut self) {
        if self.slot().open {
            if let Err(error) = sqlx::raw_sql("ROLLBACK").execute(&mut **self).await {
                tracing::debug!(error = %error, "no transaction to roll back");
            }
            self.slot().open = false;
        }
    }

    fn slot(&mut self) -> &mut Slot {
        self.slot.as_mut().expect("the slot is there until drop")
    }
}

impl Deref for Lease<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        let slot = self.slot.as_ref().expect("the slot is there until drop");
        &slot.connection
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.slot().connection
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.home
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(self.slot.take());
    }
}
