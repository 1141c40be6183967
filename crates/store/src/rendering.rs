//! Renderings: what a release is in an environment, written once. Not how they are made.

use sqlx::SqliteConnection;
use towpath_model::id::{Digest, EnvironmentId, ReleaseNumber};
use towpath_model::release::Rendering;

use crate::{Error, Store, row, secret};

impl Store {
    /// Writes what a release renders to in an environment. It is written once: the same rendering
    /// again changes nothing, another one is refused with [`Error::Differs`]. From now on, as long
    /// as the release is kept, the secret versions that it names are kept too; one that is not
    /// there (any more) is an [`Error::NotFound`].
    pub async fn insert_rendering(
        &self,
        environment: &EnvironmentId,
        release: ReleaseNumber,
        rendering: &Rendering,
    ) -> Result<(), Error> {
        let document = serde_json::to_string(rendering)
            .map_err(|error| Error::inconsistent("rendering", error))?;
        let digest = Digest::of(document.as_bytes());
        let mut write = self.database.write().await?;
        let present: Option<String> = sqlx::query_scalar(
            "SELECT digest FROM renderings WHERE app = $1 AND environment = $2 AND release = $3",
        )
        .bind(environment.app.as_str())
        .bind(environment.name.as_str())
        .bind(i64::from(release.0))
        .fetch_optional(&mut *write)
        .await?;
        match present {
            Some(present) if present == digest.as_str() => return Ok(()),
            Some(_) => {
                return Err(Error::Differs {
                    environment: environment.clone(),
                    release,
                });
            }
            None => {}
        }
        expect_release(&mut write, environment, release).await?;
        sqlx::query(
            "INSERT INTO renderings (app, environment, release, digest, document)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(environment.app.as_str())
        .bind(environment.name.as_str())
        .bind(i64::from(release.0))
        .bind(digest.as_str())
        .bind(document)
        .execute(&mut *write)
        .await?;
        for (name, version) in &rendering.secrets {
            let release = i64::from(release.0);
            secret::pin(&mut write, environment, release, name, *version).await?;
        }
        write.commit().await
    }

    /// Returns what a release renders to in an environment; `None` when that was never written, or
    /// the release was pruned.
    pub async fn rendering(
        &self,
        environment: &EnvironmentId,
        release: ReleaseNumber,
    ) -> Result<Option<Rendering>, Error> {
        let mut read = self.database.read().await;
        let row: Option<(String, String)> = sqlx::query_as(
            "SELECT digest, document FROM renderings
             WHERE app = $1 AND environment = $2 AND release = $3",
        )
        .bind(environment.app.as_str())
        .bind(environment.name.as_str())
        .bind(i64::from(release.0))
        .fetch_optional(&mut *read)
        .await?;
        let Some((digest, document)) = row else {
            return Ok(None);
        };
        let what = format!("rendering of release {release} for {environment}");
        if Digest::of(document.as_bytes()).as_str() != digest {
            return Err(Error::inconsistent(what, "it does not have its digest"));
        }
        row::document(&document, &what).map(Some)
    }

    /// Returns which releases are rendered for an environment and to what digest, newest first.
    pub async fn renderings(
        &self,
        environment: &EnvironmentId,
    ) -> Result<Vec<(ReleaseNumber, Digest)>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT release, digest FROM renderings
             WHERE app = $1 AND environment = $2 ORDER BY release DESC",
        )
        .bind(environment.app.as_str())
        .bind(environment.name.as_str())
        .fetch_all(&mut *read)
        .await?;
        rows.into_iter()
            .map(|(release, digest)| {
                Ok((
                    ReleaseNumber(row::number(release, "release")?),
                    row::text(&digest, "rendering")?,
                ))
            })
            .collect()
    }
}

async fn expect_release(
    connection: &mut SqliteConnection,
    environment: &EnvironmentId,
    release: ReleaseNumber,
) -> Result<(), Error> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM releases WHERE app = $1 AND number = $2")
            .bind(environment.app.as_str())
            .bind(i64::from(release.0))
            .fetch_optional(connection)
            .await?;
    match found {
        Some(_) => Ok(()),
        None => Err(Error::NotFound(format!(
            "release {release} of `{}`",
            environment.app
        ))),
    }
}
