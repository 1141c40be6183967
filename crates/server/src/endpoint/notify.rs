//! Notifications: a test message.

use axum::Json;
use axum::extract::State;
use towpath_api::{NotifyTest, NotifyTestRequest, Problem};
use towpath_model::id::TargetName;

use crate::actor::Actor;
use crate::app::Context;
use crate::extract::{Body, Of};
use crate::map::rest;
use crate::problem::Error;

/// Sends a test message to a target of an environment, or to all of them, once.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/notify/test", tag = "notifications", operation_id = "notify_test",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
request_body = NotifyTestRequest,
responses(
    (status = 200, body = [NotifyTest]),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn test(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
    Body(request): Body<NotifyTestRequest>,
) -> Result<Json<Vec<NotifyTest>>, Error> {
    let target = request.target.map(TargetName::new).transpose();
    let target = target.map_err(|invalid| Error::BadRequest(invalid.to_string()))?;
    let platform = &context.platform;
    let tried = platform
        .try_notifications(&id, target.as_ref(), &actor)
        .await?;
    Ok(Json(tried.into_iter().map(rest::notify_test).collect()))
}
