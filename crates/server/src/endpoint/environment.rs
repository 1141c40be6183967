//! Environments: made, shown, scaled, taken down, removed.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use towpath_api::{
    Created, Environment, EnvironmentSummary, HoldRequest, Problem, ScaleRequest, Traffic,
};
use towpath_model::id::ServiceName;
use towpath_model::pipeline::is_ephemeral;
use towpath_model::port::Volumes;

use crate::actor::Actor;
use crate::app::Context;
use crate::extract::{Body, Filter, Of, Within};
use crate::map::environment as map;
use crate::problem::Error;

/// Which environments are wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct Listed {
    #[serde(default)]
    jobs: bool,
}

/// Lists all environments.
#[utoipa::path(get, path = "/v1/environments", tag = "environments", operation_id = "environment_list",
params(("jobs" = Option<bool>, Query, description = "also those of the jobs that run")),
responses(
    (status = 200, body = [EnvironmentSummary]),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(context): State<Context>,
    Filter(listed): Filter<Listed>,
) -> Result<Json<Vec<EnvironmentSummary>>, Error> {
    let mut found = Vec::new();
    let mut behind = BTreeMap::new();
    for id in context.platform.environments() {
        // One may go while the others are listed.
        // Those of jobs are seen by their runs.
        if is_ephemeral(&id.name) && !listed.jobs {
            continue;
        }
        if let Ok(snapshot) = context.platform.snapshot(&id) {
            let destroying = context.platform.is_being_destroyed(&id);
            let mut shown = map::summary(&snapshot.environment, destroying);
            if !behind.contains_key(&id.app) {
                let of_app = context.platform.behind(&id.app).await?;
                behind.insert(id.app.clone(), of_app);
            }
            let of_app = behind.get(&id.app).into_iter().flatten();
            let own = of_app.filter(|one| one.name == id.name);
            shown.behind = own.map(map::behind).collect();
            found.push(shown);
        }
    }
    Ok(Json(found))
}

/// Shows one environment: what should run, and what does.
#[utoipa::path(get, path = "/v1/environments/{app}/{environment}", tag = "environments", operation_id = "environment_show",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
responses(
    (status = 200, body = Environment),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(context): State<Context>,
    Of(id): Of,
) -> Result<Json<Environment>, Error> {
    let snapshot = context.platform.snapshot(&id)?;
    let destroying = context.platform.is_being_destroyed(&id);
    let mut environment = map::environment(&snapshot, destroying);
    let behind = context.platform.behind(&id.app).await?;
    let own = behind.iter().filter(|one| one.name == id.name);
    environment.behind = own.map(map::behind).collect();
    Ok(Json(environment))
}

/// Makes an environment, and registers its app when it is new. Does nothing when it is there.
#[utoipa::path(put, path = "/v1/environments/{app}/{environment}", tag = "environments", operation_id = "environment_create",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
responses(
    (status = 200, body = Created),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
) -> Result<Json<Created>, Error> {
    let created = context.platform.create_environment(&id, &actor).await?;
    Ok(Json(Created {
        id: id.to_string(),
        created,
    }))
}

/// What is to become of the volumes.
#[derive(Debug, Deserialize)]
pub(crate) struct Destroy {
    #[serde(default)]
    volumes: bool,
}

/// Stops everything in an environment and removes it. Returns when that is done, or when an attempt at
/// it failed: it is tried again until it is done, also when nobody waits for the answer.
#[utoipa::path(delete, path = "/v1/environments/{app}/{environment}", tag = "environments", operation_id = "environment_destroy",
params(
    ("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment"),
    ("volumes" = Option<bool>, Query, description = "whether its volumes are deleted too"),
),
responses(
    (status = 204, description = "it is gone"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn destroy(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
    Filter(destroy): Filter<Destroy>,
) -> Result<StatusCode, Error> {
    let volumes = if destroy.volumes {
        Volumes::Delete
    } else {
        Volumes::Keep
    };
    context.platform.destroy(&id, volumes, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes how many instances a service has, in this release and those after it.
#[utoipa::path(put, path = "/v1/environments/{app}/{environment}/services/{service}/scale", tag = "environments", operation_id = "environment_scale",
params(
    ("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment"),
    ("service" = String, Path, description = "the service"),
),
request_body = ScaleRequest,
responses(
    (status = 204, description = "it is written down; instances follow"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn scale(
    State(context): State<Context>,
    Actor(actor): Actor,
    Within(id, service): Within<ServiceName>,
    Body(request): Body<ScaleRequest>,
) -> Result<StatusCode, Error> {
    context
        .platform
        .scale(&id, &service, request.count, &actor)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Stops everything in an environment. Volumes and releases stay.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/down", tag = "environments", operation_id = "environment_down",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
responses(
    (status = 202, description = "it is written down; instances stop"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn down(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
) -> Result<StatusCode, Error> {
    context.platform.down(&id, &actor).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Holds automatic deployment to an environment.
#[utoipa::path(put, path = "/v1/environments/{app}/{environment}/hold", tag = "environments", operation_id = "environment_hold",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
request_body = HoldRequest,
responses(
    (status = 204, description = "done"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn hold(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
    Body(request): Body<HoldRequest>,
) -> Result<StatusCode, Error> {
    context.platform.hold(&id, request.reason, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets automatic deployment to an environment go on.
#[utoipa::path(delete, path = "/v1/environments/{app}/{environment}/hold", tag = "environments", operation_id = "environment_release_hold",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
responses(
    (status = 204, description = "done"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn release_hold(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
) -> Result<StatusCode, Error> {
    context.platform.release_hold(&id, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Has the router serve, hold or refuse all requests of an environment.
#[utoipa::path(put, path = "/v1/environments/{app}/{environment}/traffic", tag = "environments", operation_id = "environment_traffic",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
request_body = Traffic,
responses(
    (status = 204, description = "it is written down; the router follows"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn traffic(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
    Body(request): Body<Traffic>,
) -> Result<StatusCode, Error> {
    let mode = map::to_traffic(request);
    context.platform.set_traffic(&id, mode, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
