//! Logs of instances, as lines of JSON.

use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use towpath_api::{LogLine, Problem};
use towpath_model::id::{EnvironmentId, ServiceName};
use towpath_model::port::LogQuery;

use super::stream;
use crate::app::Context;
use crate::extract::{Filter, Of};
use crate::map::rest;
use crate::problem::Error;

/// Which lines are wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    /// Names with commas between.
    #[serde(default)]
    services: String,
    instance: Option<u32>,
    tail: Option<usize>,
    since: Option<Timestamp>,
    #[serde(default)]
    follow: bool,
}

impl Wanted {
    fn query(self) -> Result<LogQuery, Error> {
        let names = self.services.split(',').filter(|name| !name.is_empty());
        let services: Result<Vec<ServiceName>, _> = names.map(str::parse).collect();
        Ok(LogQuery {
            services: services.map_err(|error| Error::BadRequest(error.to_string()))?,
            instance: self.instance,
            tail: self.tail,
            since: self.since,
            follow: self.follow,
        })
    }
}

/// Reads the log of an environment, in the order of time: one JSON object on each line.
#[utoipa::path(get, path = "/v1/environments/{app}/{environment}/logs", tag = "logs", operation_id = "log_read",
params(
    ("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment"),
    ("services" = Option<String>, Query, description = "only these services, with commas between"),
    ("instance" = Option<u32>, Query, description = "only this instance, by its number"),
    ("tail" = Option<u64>, Query, description = "only the last so many lines of each instance"),
    ("since" = Option<String>, Query, description = "only lines from this time on (RFC 3339)"),
    ("follow" = Option<bool>, Query, description = "go on with new lines as they are written"),
),
responses(
    (status = 200, body = LogLine, content_type = "application/x-ndjson"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn read(
    State(context): State<Context>,
    Of(id): Of,
    Filter(wanted): Filter<Wanted>,
) -> Result<Response, Error> {
    let query = wanted.query()?;
    known(&context, &id, &query.services)?;
    let lines = context.platform.logs(&id, &query).await?;
    let stop = context.stop.clone();
    let values = futures_util::stream::unfold((lines, stop), |(mut lines, stop)| async move {
        let line = tokio::select! {
            () = stop.cancelled() => return None,
            line = lines.next() => line,
        };
        match line {
            Ok(line) => Some((rest::log_line(line?), (lines, stop))),
            Err(error) => {
                tracing::warn!(error = %error, "a log cannot be read further");
                None
            }
        }
    });
    Ok(stream::lines(values))
}

/// Refuses names that no release in play has a service of.
fn known(context: &Context, id: &EnvironmentId, services: &[ServiceName]) -> Result<(), Error> {
    let snapshot = context.platform.snapshot(id)?;
    let environment = &snapshot.environment;
    let is_known = |name: &ServiceName| {
        let mut renderings = environment.renderings.values();
        renderings.any(|rendering| rendering.services.contains_key(name))
    };
    match services.iter().find(|name| !is_known(name)) {
        Some(name) => Err(Error::NotFound(format!("service `{name}` in `{id}`"))),
        None => Ok(()),
    }
}
