//! Caches of jobs: listed, removed.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use towpath_api::{Cache, Problem};
use towpath_model::id::AppName;

use crate::actor::Actor;
use crate::app::Context;
use crate::extract::{Filter, Params};
use crate::map::run as map;
use crate::problem::Error;

/// Lists the caches of an app's jobs, by their names, newest first.
#[utoipa::path(get, path = "/v1/apps/{app}/caches", tag = "runs", operation_id = "cache_list",
params(("app" = String, Path, description = "the app")),
responses(
    (status = 200, body = [Cache]),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(context): State<Context>,
    Params((app,)): Params<(AppName,)>,
) -> Result<Json<Vec<Cache>>, Error> {
    let caches = context.platform.caches(&app).await?;
    Ok(Json(caches.iter().map(map::cache).collect()))
}

/// Which caches are meant.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Which {
    /// Those of this name; all when absent.
    name: Option<String>,
}

/// Removes the caches of an app's jobs, or only those of one name. Returns what is gone.
#[utoipa::path(delete, path = "/v1/apps/{app}/caches", tag = "runs", operation_id = "cache_remove",
params(
    ("app" = String, Path, description = "the app"),
    ("name" = Option<String>, Query, description = "only those of this name"),
),
responses(
    (status = 200, body = [Cache]),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn remove(
    State(context): State<Context>,
    Actor(actor): Actor,
    Params((app,)): Params<(AppName,)>,
    Filter(which): Filter<Which>,
) -> Result<Json<Vec<Cache>>, Error> {
    let name = which.name.as_deref();
    let gone = context.platform.remove_caches(&app, name, &actor).await?;
    Ok(Json(gone.iter().map(map::cache).collect()))
}
