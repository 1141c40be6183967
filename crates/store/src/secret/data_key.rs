//! The data keys: one random key for each app, sealed with the master key, made when the app's
//! first secret is set. Not what they seal.

use sqlx::SqliteConnection;
use towpath_model::id::AppName;

use crate::envelope::SealingKey;
use crate::{Error, KeyError, Store};

impl Store {
    /// Returns an app's data key, made within the transaction when there is none.
    pub(crate) async fn data_key_or_new(
        &self,
        connection: &mut SqliteConnection,
        app: &AppName,
    ) -> Result<SealingKey, Error> {
        if let Some(key) = self.data_key(connection, app).await? {
            return Ok(key);
        }
        let key = SealingKey::random()?;
        let context = data_key_context(app);
        sqlx::query("INSERT INTO data_keys (app, sealed) VALUES ($1, $2)")
            .bind(app.as_str())
            .bind(self.keys.sealing().seal(&context, key.bytes())?)
            .execute(connection)
            .await?;
        Ok(key)
    }

    /// Returns an app's data key; `None` when it never had a secret.
    pub(crate) async fn data_key(
        &self,
        connection: &mut SqliteConnection,
        app: &AppName,
    ) -> Result<Option<SealingKey>, Error> {
        let sealed: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT sealed FROM data_keys WHERE app = $1")
                .bind(app.as_str())
                .fetch_optional(connection)
                .await?;
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        let tampered = || KeyError::Tampered {
            what: format!("the data key of app `{app}`"),
        };
        let bytes = self
            .keys
            .sealing()
            .open(&data_key_context(app), &sealed)
            .map(zeroize::Zeroizing::new)
            .ok_or_else(tampered)?;
        let key = SealingKey::from_bytes(&bytes).ok_or_else(tampered)?;
        Ok(Some(key))
    }
}

// Parts are joined by NUL, which no name has: two different places never have the same context.
fn data_key_context(app: &AppName) -> String {
    format!("towpath data key\0{app}")
}
