//! What is set up for the repositories of apps: settings, sealed secrets, the webhooks that were taken.

use jiff::Timestamp;
use towpath_model::event::NewEvent;
use towpath_model::id::AppName;
use towpath_model::repository::outside::{RepositorySecret, RepositorySettings};
use towpath_model::workload::SecretValue;

use crate::{Error, KeyError, Store, app, event, row};

/// How many webhooks of an app are remembered. Forges repeat one within hours.
const DELIVERIES_KEPT: i64 = 10_000;

impl Store {
    /// Sets up the repository of an app, and records the event. The source trees of commits are
    /// forgotten: they may be another directory's now.
    pub async fn set_repository(
        &self,
        app: &AppName,
        settings: &RepositorySettings,
        set: &NewEvent,
    ) -> Result<(), Error> {
        let document = serde_json::to_string(settings)
            .map_err(|error| Error::inconsistent("settings of a repository", error))?;
        let mut write = self.database.write().await?;
        app::expect(&mut write, app).await?;
        sqlx::query(
            "INSERT INTO repositories (app, document, changed_at) VALUES ($1, $2, $3)
             ON CONFLICT (app) DO UPDATE
             SET document = excluded.document, changed_at = excluded.changed_at",
        )
        .bind(app.as_str())
        .bind(document)
        .bind(row::time(set.at))
        .execute(&mut *write)
        .await?;
        sqlx::query("DELETE FROM commit_sources WHERE app = $1")
            .bind(app.as_str())
            .execute(&mut *write)
            .await?;
        event::append(&mut write, &self.keys, None, std::slice::from_ref(set)).await?;
        write.commit().await
    }

    /// Returns what is set up for the repository of an app; the default when nothing is.
    pub async fn repository(&self, app: &AppName) -> Result<RepositorySettings, Error> {
        let mut read = self.database.read().await;
        let document: Option<String> =
            sqlx::query_scalar("SELECT document FROM repositories WHERE app = $1")
                .bind(app.as_str())
                .fetch_optional(&mut *read)
                .await?;
        let read = |text: String| row::document(&text, "settings of a repository");
        Ok(document.map(read).transpose()?.unwrap_or_default())
    }

    /// Sets a secret of a repository, or removes it, and records the event.
    pub async fn set_repository_secret(
        &self,
        app: &AppName,
        secret: RepositorySecret,
        value: Option<&SecretValue>,
        set: &NewEvent,
    ) -> Result<(), Error> {
        let size = value.map_or(0, |value| value.expose().len());
        let limit = crate::SECRET_BYTES_MAX;
        if size > limit {
            return Err(Error::SecretTooLarge { size, limit });
        }
        let mut write = self.database.write().await?;
        app::expect(&mut write, app).await?;
        match value {
            Some(value) => {
                let key = self.data_key_or_new(&mut write, app).await?;
                let sealed = key.seal(&context(app, secret), value.expose())?;
                sqlx::query(
                    "INSERT INTO repository_secrets (app, name, sealed) VALUES ($1, $2, $3)
                     ON CONFLICT (app, name) DO UPDATE SET sealed = excluded.sealed",
                )
                .bind(app.as_str())
                .bind(secret.as_str())
                .bind(sealed)
                .execute(&mut *write)
                .await?;
            }
            None => {
                sqlx::query("DELETE FROM repository_secrets WHERE app = $1 AND name = $2")
                    .bind(app.as_str())
                    .bind(secret.as_str())
                    .execute(&mut *write)
                    .await?;
            }
        }
        event::append(&mut write, &self.keys, None, std::slice::from_ref(set)).await?;
        write.commit().await
    }

    /// Returns a secret of a repository; `None` when it is not set.
    pub async fn repository_secret(
        &self,
        app: &AppName,
        secret: RepositorySecret,
    ) -> Result<Option<SecretValue>, Error> {
        let mut read = self.database.read().await;
        let sealed: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT sealed FROM repository_secrets WHERE app = $1 AND name = $2",
        )
        .bind(app.as_str())
        .bind(secret.as_str())
        .fetch_optional(&mut *read)
        .await?;
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let tampered = || KeyError::Tampered {
            what: format!("the {} of the repository of `{app}`", secret.as_str()),
        };
        let key = self.data_key(&mut read, app).await?.ok_or_else(tampered)?;
        let value = key.open(&context(app, secret), &sealed);
        Ok(Some(SecretValue::new(value.ok_or_else(tampered)?)))
    }

    /// Notes that a webhook was taken. Returns false when it was before.
    pub async fn note_delivery(
        &self,
        app: &AppName,
        delivery: &str,
        at: Timestamp,
    ) -> Result<bool, Error> {
        let mut write = self.database.write().await?;
        app::expect(&mut write, app).await?;
        let noted = sqlx::query(
            "INSERT INTO webhook_deliveries (app, delivery, received_at) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(app.as_str())
        .bind(delivery)
        .bind(row::time(at))
        .execute(&mut *write)
        .await?;
        sqlx::query(
            "DELETE FROM webhook_deliveries WHERE app = $1 AND sequence <= (
                 SELECT sequence FROM webhook_deliveries WHERE app = $1
                 ORDER BY sequence DESC LIMIT 1 OFFSET $2)",
        )
        .bind(app.as_str())
        .bind(DELIVERIES_KEPT)
        .execute(&mut *write)
        .await?;
        write.commit().await?;
        Ok(noted.rows_affected() == 1)
    }
}

fn context(app: &AppName, secret: RepositorySecret) -> String {
    format!("towpath repository secret\0{app}\0{}", secret.as_str())
}
