//! Releases of an app.

use axum::Json;
use axum::extract::State;
use towpath_api::{Problem, Release};
use towpath_model::id::AppName;

use crate::app::Context;
use crate::extract::Params;
use crate::map::rest;
use crate::problem::Error;

/// Lists the releases of an app, newest first.
#[utoipa::path(get, path = "/v1/apps/{app}/releases", tag = "releases", operation_id = "release_list",
params(("app" = String, Path, description = "the app")),
responses(
    (status = 200, body = [Release]),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(context): State<Context>,
    Params((app,)): Params<(AppName,)>,
) -> Result<Json<Vec<Release>>, Error> {
    let releases = context.platform.releases(&app).await?;
    let mut stable = Vec::new();
    for id in context.platform.environments() {
        if id.app == app {
            let snapshot = context.platform.snapshot(&id)?;
            stable.push((snapshot.environment.stable, id.to_string()));
        }
    }
    let stable_in = |release: &towpath_model::release::Release| {
        stable
            .iter()
            .filter(|(number, _)| *number == Some(release.number))
            .map(|(_, id)| id.clone())
            .collect()
    };
    Ok(Json(
        releases
            .iter()
            .map(|release| rest::release(release, stable_in(release)))
            .collect(),
    ))
}
