//! Apps. Not their releases or environments.

use jiff::Timestamp;
use sqlx::SqliteConnection;
use towpath_model::event::NewEvent;
use towpath_model::id::AppName;

use crate::{Error, Store, event, row};

/// A registered app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// When it was registered.
    pub created_at: Timestamp,
}

impl Store {
    /// Registers an app and records `app.created`. Fails with [`Error::AlreadyExists`] when there
    /// is one of that name.
    pub async fn create_app(
        &self,
        name: &AppName,
        actor: &str,
        at: Timestamp,
    ) -> Result<App, Error> {
        let mut write = self.database.write().await?;
        let result = sqlx::query(
            "INSERT INTO apps (name, created_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        )
        .bind(name.as_str())
        .bind(row::time(at))
        .execute(&mut *write)
        .await?;
        if result.rows_affected() == 0 {
            return Err(Error::AlreadyExists(format!("app `{name}`")));
        }
        let created = NewEvent {
            at,
            actor: actor.to_owned(),
            what: "app.created".to_owned(),
            subject: format!("app {name}"),
            from: None,
            to: None,
            reason: None,
        };
        event::append(&mut write, &self.keys, None, &[created]).await?;
        write.commit().await?;
        Ok(App {
            name: name.clone(),
            created_at: at,
        })
    }

    /// Returns an app; `None` when there is none of that name.
    pub async fn app(&self, name: &AppName) -> Result<Option<App>, Error> {
        let mut read = self.database.read().await;
        let row: Option<(String, String)> =
            sqlx::query_as("SELECT name, created_at FROM apps WHERE name = $1")
                .bind(name.as_str())
                .fetch_optional(&mut *read)
                .await?;
        row.map(from_row).transpose()
    }

    /// Returns all apps by name.
    pub async fn apps(&self) -> Result<Vec<App>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT name, created_at FROM apps ORDER BY name")
                .fetch_all(&mut *read)
                .await?;
        rows.into_iter().map(from_row).collect()
    }
}

fn from_row((name, created_at): (String, String)) -> Result<App, Error> {
    Ok(App {
        name: row::text(&name, "app")?,
        created_at: row::text(&created_at, "time")?,
    })
}

/// Fails with [`Error::NotFound`] when there is no such app.
pub(crate) async fn expect(connection: &mut SqliteConnection, name: &AppName) -> Result<(), Error> {
    let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM apps WHERE name = $1")
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    match found {
        Some(_) => Ok(()),
        None => Err(Error::NotFound(format!("app `{name}`"))),
    }
}
