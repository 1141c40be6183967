//! The control plane itself: what it is, and its stop.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use towpath_api::{Problem, ServerInfo};

use crate::actor::Owner;
use crate::app::Context;
use crate::map::rest;

/// Tells what the control plane is.
#[utoipa::path(get, path = "/v1/server", tag = "server", operation_id = "server_info", responses(
    (status = 200, body = ServerInfo),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn info(State(context): State<Context>) -> Json<ServerInfo> {
    Json(ServerInfo {
        version: context.version.clone(),
        pid: std::process::id(),
        data: context.platform.data().0.display().to_string(),
        engine: rest::engine(context.platform.capabilities()),
    })
}

/// Stops the control plane. Instances go on running, and the router goes on serving.
#[utoipa::path(post, path = "/v1/server/stop", tag = "server", operation_id = "server_stop", responses(
    (status = 202, description = "it stops"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn stop(State(context): State<Context>, _: Owner) -> StatusCode {
    context.stop.cancel();
    StatusCode::ACCEPTED
}
