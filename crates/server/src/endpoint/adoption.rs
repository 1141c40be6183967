//! Docker Compose projects: found, taken over, let go.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use towpath_api::{AdoptRequest, Adopted, AdoptionPlan, AdoptionState, ComposeProject, Problem};
use towpath_control::{Adopt, AdoptedPorts};
use towpath_model::id::Digest;

use crate::actor::Actor;
use crate::app::Context;
use crate::extract::{Body, Of};
use crate::map::adoption as map;
use crate::problem::Error;

/// Lists the projects that somebody started with `docker compose` on this machine.
#[utoipa::path(get, path = "/v1/compose-projects", tag = "adoption", operation_id = "compose_project_list", responses(
    (status = 200, body = [ComposeProject]),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn projects(
    State(context): State<Context>,
) -> Result<Json<Vec<ComposeProject>>, Error> {
    let found = context.platform.compose_projects().await?;
    Ok(Json(found.iter().map(map::project).collect()))
}

fn ports(request: &AdoptRequest) -> AdoptedPorts {
    if request.keep_ports {
        AdoptedPorts::Keep
    } else {
        AdoptedPorts::Move
    }
}

/// Says what taking a project over would do. Nothing is made; the environment need not be there.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/adoption/plan", tag = "adoption", operation_id = "adoption_plan",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
request_body = AdoptRequest,
responses(
    (status = 200, body = AdoptionPlan),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn plan(
    State(context): State<Context>,
    Of(id): Of,
    Body(request): Body<AdoptRequest>,
) -> Result<Json<AdoptionPlan>, Error> {
    let ports = ports(&request);
    let plan = context
        .platform
        .plan_adoption(&id, &request.project, &request.draft, ports)
        .await?;
    Ok(Json(map::plan(&id, &plan)))
}

/// Takes a project over, with nothing stopped. The environment has to be there and new.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/adoption", tag = "adoption", operation_id = "adoption_create",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
request_body = AdoptRequest,
responses(
    (status = 202, body = Adopted),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn adopt(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
    Body(request): Body<AdoptRequest>,
) -> Result<(StatusCode, Json<Adopted>), Error> {
    let ports = ports(&request);
    let source = request.source.map(|digest| digest.parse::<Digest>());
    let source = source
        .transpose()
        .map_err(|error| Error::BadRequest(error.to_string()))?;
    let adopt = Adopt {
        project: request.project,
        draft: request.draft,
        source,
        commit: request.commit,
        ports,
        actor,
    };
    let release = context.platform.adopt(&id, adopt).await?;
    let adopted = Adopted {
        environment: id.to_string(),
        release: release.0,
    };
    Ok((StatusCode::ACCEPTED, Json(adopted)))
}

/// Shows what an environment took over, and how far its published ports are.
#[utoipa::path(get, path = "/v1/environments/{app}/{environment}/adoption", tag = "adoption", operation_id = "adoption_show",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
responses(
    (status = 200, body = AdoptionState),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(context): State<Context>,
    Of(id): Of,
) -> Result<Json<AdoptionState>, Error> {
    let snapshot = context.platform.snapshot(&id)?;
    Ok(Json(map::state(&snapshot.environment)))
}

/// Lets go of what was taken over: traffic goes back to the containers, nothing is stopped, and the
/// environment is gone.
#[utoipa::path(delete, path = "/v1/environments/{app}/{environment}/adoption", tag = "adoption", operation_id = "adoption_undo",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
responses(
    (status = 204, description = "everything is as it was"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn undo(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
) -> Result<StatusCode, Error> {
    context.platform.let_go(&id, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
