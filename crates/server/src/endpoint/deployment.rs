//! Deployments: asked for, shown, followed, stopped.

mod follow;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use towpath_api::{
    DeployRequest, Deployment, Plan, PlanRequest, Problem, Progress, RedeployRequest, Requested,
    RollbackRequest, Strategy,
};
use towpath_control::{BringRelease, Brought, Deploy};
use towpath_model::id::{DeploymentNumber, Digest, EnvironmentId, ReleaseNumber};
use towpath_model::rollout::Settings;

use super::stream;
use crate::actor::{Actor, IsOwner};
use crate::app::Context;
use crate::extract::{Body, Filter, Of, Within};
use crate::map::{deployment as map, rest};
use crate::problem::Error;

/// Says what a deployment would change. Nothing is made.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/plan", tag = "deployments", operation_id = "deployment_plan",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
request_body = PlanRequest,
responses(
    (status = 200, body = Plan),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn plan(
    State(context): State<Context>,
    Of(id): Of,
    Body(request): Body<PlanRequest>,
) -> Result<Json<Plan>, Error> {
    let plan = context.platform.plan(&id, &request.draft).await?;
    Ok(Json(rest::plan(&id, &plan)))
}

/// Makes a release and asks for its deployment. Where the environment demands something of a release a
/// run waits for it, and deploys.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/deployments", tag = "deployments", operation_id = "deployment_create",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
request_body = DeployRequest,
responses(
    (status = 202, body = Requested),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn deploy(
    State(context): State<Context>,
    Actor(actor): Actor,
    owner: IsOwner,
    Of(id): Of,
    Body(request): Body<DeployRequest>,
) -> Result<(StatusCode, Json<Requested>), Error> {
    owner.may_pass(request.past_gates.as_deref())?;
    let source = request.source.map(|digest| digest.parse::<Digest>());
    let source = source
        .transpose()
        .map_err(|error| Error::BadRequest(error.to_string()))?;
    let settings = with_strategy(&request.draft.settings, request.strategy);
    let deploy = Deploy {
        source,
        commit: request.commit,
        message: request.message,
        draft: request.draft,
        settings,
        actor,
        automatic: request.automatic,
        past_gates: request.past_gates,
    };
    let strategy = request.strategy.map(map::to_strategy);
    let brought = context.platform.bring(&id, deploy, strategy).await?;
    Ok((StatusCode::ACCEPTED, accepted_as(&id, brought)))
}

fn accepted_as(id: &EnvironmentId, brought: Brought) -> Json<Requested> {
    match brought {
        Brought::Deployment(release, number) => requested(id, number, release),
        Brought::Run(release, run) => Json(Requested {
            environment: id.to_string(),
            deployment: None,
            release: release.0,
            run: Some(run.0),
        }),
    }
}

fn with_strategy(settings: &Settings, strategy: Option<Strategy>) -> Option<Settings> {
    strategy.map(|strategy| Settings {
        strategy: map::to_strategy(strategy),
        ..settings.clone()
    })
}

fn requested(
    id: &EnvironmentId,
    number: DeploymentNumber,
    release: ReleaseNumber,
) -> Json<Requested> {
    Json(Requested {
        environment: id.to_string(),
        deployment: Some(number.0),
        release: release.0,
        run: None,
    })
}

/// Asks for the deployment of a release that there is. Where the environment demands something of a
/// release a run waits for it, and deploys.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/redeployments", tag = "deployments", operation_id = "deployment_again",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
request_body = RedeployRequest,
responses(
    (status = 202, body = Requested),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn redeploy(
    State(context): State<Context>,
    Actor(actor): Actor,
    owner: IsOwner,
    Of(id): Of,
    Body(request): Body<RedeployRequest>,
) -> Result<(StatusCode, Json<Requested>), Error> {
    owner.may_pass(request.past_gates.as_deref())?;
    let bring = BringRelease {
        release: ReleaseNumber(request.release),
        strategy: request.strategy.map(map::to_strategy),
        actor,
        past_gates: request.past_gates,
    };
    let brought = context.platform.bring_release(&id, bring).await?;
    Ok((StatusCode::ACCEPTED, accepted_as(&id, brought)))
}

/// Asks for an earlier release to come back, whole: its configuration and its secrets too.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/rollbacks", tag = "deployments", operation_id = "deployment_rollback",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
request_body = RollbackRequest,
responses(
    (status = 202, body = Requested),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn rollback(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
    Body(request): Body<RollbackRequest>,
) -> Result<(StatusCode, Json<Requested>), Error> {
    let release = request.release.map(ReleaseNumber);
    let number = context.platform.rollback(&id, release, &actor).await?;
    let found = find(&context, &id, number).await?;
    let release = ReleaseNumber(found.release);
    Ok((StatusCode::ACCEPTED, requested(&id, number, release)))
}

/// Stops the deployment under way and goes back to the stable release.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/abort", tag = "deployments", operation_id = "deployment_abort",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
responses(
    (status = 202, body = Deployment),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn abort(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
) -> Result<(StatusCode, Json<Deployment>), Error> {
    let asked = context.platform.abort(&id, &actor).await;
    accepted(&context, &id, asked).await
}

/// Keeps the deployment under way where it is.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/pause", tag = "deployments", operation_id = "deployment_pause",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
responses(
    (status = 202, body = Deployment),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn pause(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
) -> Result<(StatusCode, Json<Deployment>), Error> {
    let asked = context.platform.pause(&id, &actor).await;
    accepted(&context, &id, asked).await
}

/// Lets a paused deployment go on.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/resume", tag = "deployments", operation_id = "deployment_resume",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
responses(
    (status = 202, body = Deployment),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn resume(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
) -> Result<(StatusCode, Json<Deployment>), Error> {
    let asked = context.platform.resume(&id, &actor).await;
    accepted(&context, &id, asked).await
}

/// How many deployments are wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct Latest {
    #[serde(default = "twenty")]
    limit: u32,
}

fn twenty() -> u32 {
    20
}

/// Lists the latest deployments of an environment, newest first.
#[utoipa::path(get, path = "/v1/environments/{app}/{environment}/deployments", tag = "deployments", operation_id = "deployment_list",
params(
    ("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment"),
    ("limit" = Option<u32>, Query, description = "at most so many; 20 when absent"),
),
responses(
    (status = 200, body = [Deployment]),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(context): State<Context>,
    Of(id): Of,
    Filter(latest): Filter<Latest>,
) -> Result<Json<Vec<Deployment>>, Error> {
    let stored = context.platform.deployments(&id, latest.limit).await?;
    let snapshot = context.platform.snapshot(&id)?;
    let environment = &snapshot.environment;
    // Those in play are newer in the snapshot than in what was read.
    let in_play = [&environment.waiting, &environment.deployment];
    let in_play: Vec<_> = in_play.into_iter().flatten().collect();
    let ended = stored
        .iter()
        .filter(|one| in_play.iter().all(|active| active.number != one.number));
    let limit = usize::try_from(latest.limit).unwrap_or(usize::MAX);
    let mut found: Vec<Deployment> = in_play
        .iter()
        .copied()
        .chain(ended)
        .map(|one| map::deployment(&id, one))
        .collect();
    found.sort_by_key(|one| std::cmp::Reverse(one.number));
    found.truncate(limit);
    Ok(Json(found))
}

/// Shows one deployment.
#[utoipa::path(get, path = "/v1/environments/{app}/{environment}/deployments/{number}", tag = "deployments", operation_id = "deployment_show",
params(
    ("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment"),
    ("number" = u32, Path, description = "the deployment"),
),
responses(
    (status = 200, body = Deployment),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(context): State<Context>,
    Within(id, number): Within<u32>,
) -> Result<Json<Deployment>, Error> {
    Ok(Json(find(&context, &id, DeploymentNumber(number)).await?))
}

async fn find(
    context: &Context,
    id: &EnvironmentId,
    number: DeploymentNumber,
) -> Result<Deployment, Error> {
    let snapshot = context.platform.snapshot(id)?;
    Ok(follow::progress_of(context, &snapshot, number)
        .await?
        .deployment)
}

/// Answers with the deployment that something was asked of.
async fn accepted(
    context: &Context,
    id: &EnvironmentId,
    asked: Result<DeploymentNumber, towpath_control::Error>,
) -> Result<(StatusCode, Json<Deployment>), Error> {
    let deployment = find(context, id, asked?).await?;
    Ok((StatusCode::ACCEPTED, Json(deployment)))
}

/// Follows a deployment: server-sent events named `progress`, one now and one for each change, to
/// its end.
#[utoipa::path(get, path = "/v1/environments/{app}/{environment}/deployments/{number}/progress", tag = "deployments", operation_id = "deployment_progress",
params(
    ("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment"),
    ("number" = u32, Path, description = "the deployment"),
),
responses(
    (status = 200, body = Progress, content_type = "text/event-stream"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn progress(
    State(context): State<Context>,
    Within(id, number): Within<u32>,
) -> Result<Response, Error> {
    let number = DeploymentNumber(number);
    let snapshots = context.platform.watch(&id)?;
    find(&context, &id, number).await?;
    Ok(stream::events(
        "progress",
        follow::Follow::new(context, snapshots, number).stream(),
    ))
}
