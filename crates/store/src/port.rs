//! Ports that were given to services: each to one service of the whole data directory. Not the
//! ports of single instances, which the engine picks.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use sqlx::SqliteConnection;
use towpath_model::id::{EnvironmentId, ServiceName};

use crate::{Error, Store, row};

/// What the keys of ports begin with that are not those of a service.
const PUBLISHED: char = ':';

impl Store {
    /// Gives a service of an environment a port of its own, the lowest of `range` that is not given
    /// away and for which `is_free` says yes. A service that has one keeps it, whatever the range
    /// and `is_free` say now; it is free again when the environment is deleted. Fails with
    /// [`Error::NoPort`] when there is none.
    pub async fn allocate_port(
        &self,
        environment: &EnvironmentId,
        service: &ServiceName,
        range: RangeInclusive<u16>,
        is_free: impl Fn(u16) -> bool,
    ) -> Result<u16, Error> {
        self.allocate(environment, service.as_str(), range, is_free)
            .await
    }

    /// Gives an environment a port of its own in place of one on which another environment is reached,
    /// by the rules of [`Store::allocate_port`].
    pub async fn allocate_port_in_place_of(
        &self,
        environment: &EnvironmentId,
        published: u16,
        range: RangeInclusive<u16>,
        is_free: impl Fn(u16) -> bool,
    ) -> Result<u16, Error> {
        // No service has such a name.
        let key = format!("{PUBLISHED}{published}");
        self.allocate(environment, &key, range, is_free).await
    }

    async fn allocate(
        &self,
        environment: &EnvironmentId,
        service: &str,
        range: RangeInclusive<u16>,
        is_free: impl Fn(u16) -> bool,
    ) -> Result<u16, Error> {
        let mut write = self.database.write().await?;
        let present: Option<i64> = sqlx::query_scalar(
            "SELECT port FROM ports WHERE app = $1 AND environment = $2 AND service = $3",
        )
        .bind(environment.app.as_str())
        .bind(environment.name.as_str())
        .bind(service)
        .fetch_optional(&mut *write)
        .await?;
        if let Some(present) = present {
            return row::number(present, "port");
        }
        let taken = taken(&mut write, &range).await?;
        let port = range
            .clone()
            .find(|port| !taken.contains(&i64::from(*port)) && is_free(*port))
            .ok_or(Error::NoPort { range })?;
        sqlx::query("INSERT INTO ports (port, app, environment, service) VALUES ($1, $2, $3, $4)")
            .bind(i64::from(port))
            .bind(environment.app.as_str())
            .bind(environment.name.as_str())
            .bind(service)
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        Ok(port)
    }

    /// Returns the ports that were given to the services of an environment.
    pub async fn ports(
        &self,
        environment: &EnvironmentId,
    ) -> Result<BTreeMap<ServiceName, u16>, Error> {
        let mut read = self.database.read().await;
        let rows: Vec<(String, i64)> =
            sqlx::query_as("SELECT service, port FROM ports WHERE app = $1 AND environment = $2")
                .bind(environment.app.as_str())
                .bind(environment.name.as_str())
                .fetch_all(&mut *read)
                .await?;
        let of_services = rows.into_iter();
        let of_services = of_services.filter(|(service, _)| !service.starts_with(PUBLISHED));
        of_services
            .map(|(service, port)| {
                Ok((row::text(&service, "service")?, row::number(port, "port")?))
            })
            .collect()
    }
}

async fn taken(
    connection: &mut SqliteConnection,
    range: &RangeInclusive<u16>,
) -> Result<Vec<i64>, Error> {
    let taken = sqlx::query_scalar("SELECT port FROM ports WHERE port BETWEEN $1 AND $2")
        .bind(i64::from(*range.start()))
        .bind(i64::from(*range.end()))
        .fetch_all(connection)
        .await?;
    Ok(taken)
}
