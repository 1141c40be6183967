//! What waits for people, of all apps.

use axum::Json;
use axum::extract::State;
use towpath_api::{AwaitedApproval, Problem};

use crate::actor::Actor;
use crate::app::Context;
use crate::map::run as map;
use crate::problem::Error;

/// Lists the releases that wait for people before an environment, oldest first.
#[utoipa::path(get, path = "/v1/approvals", tag = "runs", operation_id = "approval_list",
responses(
    (status = 200, body = [AwaitedApproval]),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(context): State<Context>,
    Actor(actor): Actor,
) -> Result<Json<Vec<AwaitedApproval>>, Error> {
    let awaited = context.platform.awaited();
    let now = context.platform.now();
    let found = awaited
        .iter()
        .filter_map(|one| map::awaited(one, &actor, now));
    Ok(Json(found.collect()))
}
