//! One version of one secret of one environment: how its value is sealed, written and read. Not
//! which versions there are.

use jiff::Timestamp;
use sqlx::SqliteConnection;
use towpath_model::id::{EnvironmentId, SecretName, SecretVersion};
use towpath_model::workload::SecretValue;

use crate::envelope::SealingKey;
use crate::{Error, KeyError, row};

/// Where a value is.
pub(super) struct Place<'a> {
    environment: &'a EnvironmentId,
    name: &'a SecretName,
    version: SecretVersion,
}

impl<'a> Place<'a> {
    pub(super) fn new(
        environment: &'a EnvironmentId,
        name: &'a SecretName,
        version: SecretVersion,
    ) -> Self {
        Self {
            environment,
            name,
            version,
        }
    }

    fn context(&self) -> String {
        let EnvironmentId { app, name } = self.environment;
        format!(
            "towpath secret\0{app}\0{name}\0{}\0{}",
            self.name, self.version
        )
    }

    /// Reads and opens the value; `None` when it is not there or wiped.
    pub(super) async fn load(
        &self,
        connection: &mut SqliteConnection,
        key: &SealingKey,
    ) -> Result<Option<SecretValue>, Error> {
        let sealed: Option<Option<Vec<u8>>> = sqlx::query_scalar(
            "SELECT sealed FROM secret_versions
             WHERE app = $1 AND environment = $2 AND name = $3 AND version = $4",
        )
        .bind(self.environment.app.as_str())
        .bind(self.environment.name.as_str())
        .bind(self.name.as_str())
        .bind(i64::from(self.version.0))
        .fetch_optional(connection)
        .await?;
        let Some(sealed) = sealed.flatten() else {
            return Ok(None);
        };
        let value = key
            .open(&self.context(), &sealed)
            .ok_or_else(|| KeyError::Tampered {
                what: self.to_string(),
            })?;
        Ok(Some(SecretValue::new(value)))
    }

    /// Seals and writes the value as the latest version.
    pub(super) async fn insert(
        &self,
        connection: &mut SqliteConnection,
        key: &SealingKey,
        value: &SecretValue,
        actor: &str,
        at: Timestamp,
    ) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO secrets (app, environment, name, last_version) VALUES ($1, $2, $3, $4)
             ON CONFLICT (app, environment, name)
             DO UPDATE SET last_version = excluded.last_version, removed_at = NULL",
        )
        .bind(self.environment.app.as_str())
        .bind(self.environment.name.as_str())
        .bind(self.name.as_str())
        .bind(i64::from(self.version.0))
        .execute(&mut *connection)
        .await?;
        sqlx::query(
            "INSERT INTO secret_versions
                 (app, environment, name, version, sealed, created_at, created_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(self.environment.app.as_str())
        .bind(self.environment.name.as_str())
        .bind(self.name.as_str())
        .bind(i64::from(self.version.0))
        .bind(key.seal(&self.context(), value.expose())?)
        .bind(row::time(at))
        .bind(actor)
        .execute(&mut *connection)
        .await?;
        Ok(())
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            environment,
            name,
            version,
        } = self;
        write!(f, "version {version} of secret `{name}` in {environment}")
    }
}
