//! Secrets: versioned, sealed, pinned by renderings. Not how they are given to instances.
//!
//! A value is sealed with its app's data key, for its app, environment, name and version: a row
//! that is moved to another place does not open. The data key is sealed with the master key.
//! Values are wiped as soon as they are neither the latest nor pinned by a rendering that is kept;
//! that is looked at when a secret is removed and when releases are pruned.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::SqliteConnection;
use towpath_model::event::NewEvent;
use towpath_model::id::{AppName, EnvironmentId, SecretName, SecretVersion};
use towpath_model::workload::SecretValue;

use crate::secret::place::Place;
use crate::{Error, Store, event, row};

mod data_key;
mod place;

/// The largest value in bytes. Certificates with their chains and key files have a few thousand.
pub const SECRET_BYTES_MAX: usize = 1 << 20;

/// What may be told of a secret: all but its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    /// Its name.
    pub name: SecretName,
    /// Its latest version.
    pub version: SecretVersion,
    /// When that version was set.
    pub created_at: Timestamp,
    /// Who set it.
    pub created_by: String,
}

impl Store {
    /// Sets a secret and returns its version, from 1. Records `secret.set`. When the value is the
    /// latest one already, nothing changes and its version is returned; that is found by opening
    /// the latest value, so nothing about a value is kept beside its sealed form.
    ///
    /// The environment need not be there yet. Fails with [`Error::SecretTooLarge`] beyond
    /// [`SECRET_BYTES_MAX`].
    pub async fn set_secret(
        &self,
        environment: &EnvironmentId,
        name: &SecretName,
        value: &SecretValue,
        actor: &str,
        at: Timestamp,
    ) -> Result<SecretVersion, Error> {
        let size = value.expose().len();
        if size > SECRET_BYTES_MAX {
            let limit = SECRET_BYTES_MAX;
            return Err(Error::SecretTooLarge { size, limit });
        }
        let mut write = self.database.write().await?;
        let key = self.data_key_or_new(&mut write, &environment.app).await?;
        let latest = latest(&mut write, environment, name).await?;
        if let Some(latest) = latest.as_ref().filter(|latest| !latest.removed) {
            let place = Place::new(environment, name, latest.version);
            let present = place.load(&mut write, &key).await?;
            if present.is_some_and(|present| present == *value) {
                return Ok(latest.version);
            }
        }
        let next = latest
            .as_ref()
            .map_or(0, |latest| latest.version.0)
            .checked_add(1)
            .ok_or_else(|| Error::inconsistent(format!("secret {name}"), "no more versions"))?;
        let place = Place::new(environment, name, SecretVersion(next));
        place.insert(&mut write, &key, value, actor, at).await?;
        let set = NewEvent {
            at,
            actor: actor.to_owned(),
            what: "secret.set".to_owned(),
            subject: format!("secret {name}"),
            from: latest
                .filter(|latest| !latest.removed)
                .map(|latest| format!("version {}", latest.version)),
            to: Some(format!("version {next}")),
            reason: None,
        };
        event::append(&mut write, &self.keys, Some(environment), &[set]).await?;
        write.commit().await?;
        Ok(SecretVersion(next))
    }

    /// Returns the value of a version of a secret, also of a removed secret as long as a rendering
    /// pins it. Fails with [`Error::NotFound`] when there is no such version or it was wiped, and
    /// with [`crate::KeyError::Tampered`] when its row was changed or moved.
    pub async fn reveal_secret(
        &self,
        environment: &EnvironmentId,
        name: &SecretName,
        version: SecretVersion,
    ) -> Result<SecretValue, Error> {
        let place = Place::new(environment, name, version);
        let mut read = self.database.read().await;
        let key = self
            .data_key(&mut read, &environment.app)
            .await?
            .ok_or_else(|| Error::NotFound(place.to_string()))?;
        place
            .load(&mut read, &key)
            .await?
            .ok_or_else(|| Error::NotFound(place.to_string()))
    }

    /// Returns the secrets of an environment by name.
    pub async fn list_secrets(
        &self,
        environment: &EnvironmentId,
    ) -> Result<Vec<SecretInfo>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<(String, i64, String, String)> = sqlx::query_as(
            "SELECT secrets.name, version, created_at, created_by
             FROM secrets JOIN secret_versions USING (app, environment, name)
             WHERE app = $1 AND environment = $2 AND removed_at IS NULL
                 AND version = last_version
             ORDER BY secrets.name",
        )
        .bind(environment.app.as_str())
        .bind(environment.name.as_str())
        .fetch_all(&mut *read)
        .await?;
        rows.into_iter()
            .map(|(name, version, created_at, created_by)| {
                Ok(SecretInfo {
                    name: row::text(&name, "secret")?,
                    version: SecretVersion(row::number(version, "version")?),
                    created_at: row::text(&created_at, "time")?,
                    created_by,
                })
            })
            .collect()
    }

    /// Returns the latest version of each secret of an environment: what a new rendering pins.
    pub async fn latest_versions(
        &self,
        environment: &EnvironmentId,
    ) -> Result<BTreeMap<SecretName, SecretVersion>, Error> {
        let secrets = self.list_secrets(environment).await?;
        Ok(secrets
            .into_iter()
            .map(|secret| (secret.name, secret.version))
            .collect())
    }

    /// Removes a secret and records `secret.removed`. New renderings do not see it any more. Values
    /// that a kept rendering pins stay for a rollback to it; all others are wiped. Versions go on
    /// where they ended when it is set again. Fails with [`Error::NotFound`] when it is not there.
    pub async fn remove_secret(
        &self,
        environment: &EnvironmentId,
        name: &SecretName,
        actor: &str,
        at: Timestamp,
    ) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        let result = sqlx::query(
            "UPDATE secrets SET removed_at = $1
             WHERE app = $2 AND environment = $3 AND name = $4 AND removed_at IS NULL",
        )
        .bind(row::time(at))
        .bind(environment.app.as_str())
        .bind(environment.name.as_str())
        .bind(name.as_str())
        .execute(&mut *write)
        .await?;
        if result.rows_affected() == 0 {
            let secret = format!("secret `{name}` in {environment}");
            return Err(Error::NotFound(secret));
        }
        wipe_unneeded(&mut write, &environment.app).await?;
        let removed = NewEvent {
            at,
            actor: actor.to_owned(),
            what: "secret.removed".to_owned(),
            subject: format!("secret {name}"),
            from: None,
            to: None,
            reason: None,
        };
        event::append(&mut write, &self.keys, Some(environment), &[removed]).await?;
        write.commit().await
    }
}

struct Latest {
    version: SecretVersion,
    removed: bool,
}

async fn latest(
    connection: &mut SqliteConnection,
    environment: &EnvironmentId,
    name: &SecretName,
) -> Result<Option<Latest>, Error> {
    let row: Option<(i64, bool)> = sqlx::query_as(
        "SELECT last_version, removed_at IS NOT NULL FROM secrets
         WHERE app = $1 AND environment = $2 AND name = $3",
    )
    .bind(environment.app.as_str())
    .bind(environment.name.as_str())
    .bind(name.as_str())
    .fetch_optional(connection)
    .await?;
    row.map(|(version, removed)| {
        Ok(Latest {
            version: SecretVersion(row::number(version, "version")?),
            removed,
        })
    })
    .transpose()
}

/// Makes sure that a version's value is there and stays as long as the rendering of `release`.
pub(crate) async fn pin(
    connection: &mut SqliteConnection,
    environment: &EnvironmentId,
    release: i64,
    name: &SecretName,
    version: SecretVersion,
) -> Result<(), Error> {
    let result = sqlx::query(
        "INSERT INTO pins (app, environment, release, secret, version)
         SELECT app, environment, $3, name, version FROM secret_versions
         WHERE app = $1 AND environment = $2 AND name = $4 AND version = $5
             AND sealed IS NOT NULL",
    )
    .bind(environment.app.as_str())
    .bind(environment.name.as_str())
    .bind(release)
    .bind(name.as_str())
    .bind(i64::from(version.0))
    .execute(connection)
    .await?;
    if result.rows_affected() == 0 {
        let place = Place::new(environment, name, version);
        return Err(Error::NotFound(place.to_string()));
    }
    Ok(())
}

/// Wipes the values of an app that are neither the latest nor pinned by a kept rendering.
pub(crate) async fn wipe_unneeded(
    connection: &mut SqliteConnection,
    app: &AppName,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE secret_versions SET sealed = NULL
         WHERE app = $1 AND sealed IS NOT NULL
             AND NOT EXISTS (
                 SELECT 1 FROM secrets
                 WHERE secrets.app = secret_versions.app
                     AND secrets.environment = secret_versions.environment
                     AND secrets.name = secret_versions.name
                     AND secrets.last_version = secret_versions.version
                     AND secrets.removed_at IS NULL)
             AND NOT EXISTS (
                 SELECT 1 FROM pins
                 WHERE pins.app = secret_versions.app
                     AND pins.environment = secret_versions.environment
                     AND pins.secret = secret_versions.name
                     AND pins.version = secret_versions.version)",
    )
    .bind(app.as_str())
    .execute(connection)
    .await?;
    Ok(())
}
