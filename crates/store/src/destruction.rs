//! Which environments are to be removed: written down before the removal begins, gone with the
//! environment. Not the removal itself.

use jiff::Timestamp;
use towpath_model::id::EnvironmentId;
use towpath_model::port::Volumes;

use crate::{Error, Store, row};

/// An environment that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destruction {
    /// Which one.
    pub environment: EnvironmentId,
    /// What becomes of its volumes.
    pub volumes: Volumes,
    /// Who asked for it first.
    pub actor: String,
    /// When.
    pub requested_at: Timestamp,
}

type Row = (String, String, String, String, String);

impl Store {
    /// Writes down that an environment is to be removed. Asked again, the first one who asked stays,
    /// and volumes that anybody wanted deleted are deleted.
    pub async fn request_destruction(
        &self,
        id: &EnvironmentId,
        volumes: Volumes,
        actor: &str,
        at: Timestamp,
    ) -> Result<(), Error> {
        let mut write = self.database.write().await?;
        let there: i64 =
            sqlx::query_scalar("SELECT count(*) FROM environments WHERE app = $1 AND name = $2")
                .bind(id.app.as_str())
                .bind(id.name.as_str())
                .fetch_one(&mut *write)
                .await?;
        if there == 0 {
            return Err(Error::NotFound(format!("environment `{id}`")));
        }
        sqlx::query(
            "INSERT INTO destructions (app, environment, volumes, actor, requested_at)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (app, environment)
             DO UPDATE SET volumes = 'delete' WHERE excluded.volumes = 'delete'",
        )
        .bind(id.app.as_str())
        .bind(id.name.as_str())
        .bind(word(volumes))
        .bind(actor)
        .bind(row::time(at))
        .execute(&mut *write)
        .await?;
        write.commit().await
    }

    /// Returns what is written down of the removal of an environment; `None` when there is none.
    pub async fn destruction(&self, id: &EnvironmentId) -> Result<Option<Destruction>, Error> {
        let all = self.destructions().await?;
        Ok(all.into_iter().find(|one| &one.environment == id))
    }

    /// Returns all environments that are to be removed, by app and name.
    pub async fn destructions(&self) -> Result<Vec<Destruction>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT app, environment, volumes, actor, requested_at FROM destructions
             ORDER BY app, environment",
        )
        .fetch_all(&mut *read)
        .await?;
        rows.into_iter().map(from_row).collect()
    }
}

fn word(volumes: Volumes) -> &'static str {
    match volumes {
        Volumes::Keep => "keep",
        Volumes::Delete => "delete",
    }
}

fn from_row(row: Row) -> Result<Destruction, Error> {
    let (app, name, volumes, actor, requested_at) = row;
    let environment = EnvironmentId::new(row::text(&app, "app")?, row::text(&name, "environment")?);
    let volumes = match volumes.as_str() {
        "keep" => Volumes::Keep,
        "delete" => Volumes::Delete,
        other => {
            let what = format!("the destruction of {environment}");
            return Err(Error::inconsistent(what, format!("volumes `{other}`")));
        }
    };
    Ok(Destruction {
        environment,
        volumes,
        actor,
        requested_at: row::text(&requested_at, "time")?,
    })
}
