//! Previews: made like another environment, and kept for longer.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use towpath_api::{ExtendRequest, Preview, PreviewCreated, PreviewRequest, Problem};
use towpath_control::{MadePreview, NewPreview};
use towpath_model::id::{EnvironmentName, ReleaseNumber};
use towpath_model::preview::Asked;

use crate::actor::Actor;
use crate::app::Context;
use crate::extract::{Body, Of};
use crate::map::environment as map;
use crate::problem::Error;

/// Makes an environment that is like another one and goes by itself, and asks for the deployment of that
/// one's release to it.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/preview", tag = "environments", operation_id = "preview_create",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
request_body = PreviewRequest,
responses(
    (status = 202, body = PreviewCreated),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
    Body(request): Body<PreviewRequest>,
) -> Result<(StatusCode, Json<PreviewCreated>), Error> {
    let asked = Asked {
        like: name(&request.like)?,
        ttl: request.ttl_s.map(Duration::from_secs),
        secrets_from: request.secrets_from.as_deref().map(name).transpose()?,
        request: None,
        actor,
    };
    let new = NewPreview {
        id: id.clone(),
        asked,
        release: request.release.map(ReleaseNumber),
    };
    let MadePreview {
        preview,
        release,
        deployment,
    } = context.platform.create_preview(new).await?;
    let made = PreviewCreated {
        environment: id.to_string(),
        release: release.0,
        deployment: deployment.0,
        preview: map::preview(&preview),
    };
    Ok((StatusCode::ACCEPTED, Json(made)))
}

/// Has a preview go so long from now, whatever was said before.
#[utoipa::path(put, path = "/v1/environments/{app}/{environment}/preview/ttl", tag = "environments", operation_id = "preview_extend",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
request_body = ExtendRequest,
responses(
    (status = 200, body = Preview),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn extend(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
    Body(request): Body<ExtendRequest>,
) -> Result<Json<Preview>, Error> {
    let ttl = Duration::from_secs(request.ttl_s);
    let preview = context.platform.extend_preview(&id, ttl, &actor).await?;
    Ok(Json(map::preview(&preview)))
}

fn name(text: &str) -> Result<EnvironmentName, Error> {
    text.parse()
        .map_err(|error: towpath_model::id::InvalidId| Error::BadRequest(error.to_string()))
}
