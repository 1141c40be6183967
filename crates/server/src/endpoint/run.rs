//! Runs: begun, shown, followed, stopped, tried again, approved.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use tokio::sync::watch;
use towpath_api::{
    DecisionRequest, Problem, PromoteRequest, Run, RunLogLine, RunStart, RunStarted,
};
use towpath_control::{Decision, Promote, RunLogQuery};
use towpath_model::id::{AppName, EnvironmentName, ReleaseNumber, RunId, RunNumber};
use towpath_model::pipeline::{Push, Reference};

use super::stream;
use crate::actor::Actor;
use crate::app::Context;
use crate::extract::{Body, Filter, Params};
use crate::map::run as map;
use crate::problem::Error;

/// Begins a run of a source tree: its jobs, and what is deployed after them. Whatever is wrong with
/// the files of the tree is said now, and nothing is begun.
#[utoipa::path(post, path = "/v1/apps/{app}/runs", tag = "runs", operation_id = "run_start",
params(("app" = String, Path, description = "the app")),
request_body = RunStart,
responses(
    (status = 202, body = RunStarted),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn start(
    State(context): State<Context>,
    Actor(actor): Actor,
    Params((app,)): Params<(AppName,)>,
    Body(request): Body<RunStart>,
) -> Result<(StatusCode, Json<RunStarted>), Error> {
    let bad = |error: towpath_model::id::InvalidId| Error::BadRequest(error.to_string());
    let reference = match (request.branch, request.tag) {
        (Some(_), Some(_)) => {
            let message = "it counts as pushed to a branch, or as a tag, not as both";
            return Err(Error::BadRequest(message.to_owned()));
        }
        (Some(branch), None) => Reference::Branch(branch),
        (None, Some(tag)) => Reference::Tag(tag),
        (None, None) => Reference::WorkingTree,
    };
    let hotfix = request.hotfix.map(EnvironmentName::new).transpose();
    let hotfix = hotfix.map_err(bad)?;
    if hotfix.is_some() && request.commit.is_none() {
        let message = "a hotfix is of a commit: name it";
        return Err(Error::BadRequest(message.to_owned()));
    }
    let push = Push {
        app: app.clone(),
        source: request.source.parse().map_err(bad)?,
        commit: request.commit.unwrap_or_default(),
        reference,
        changed: None,
        author: actor.clone(),
        message: request.message.unwrap_or_default(),
        actor,
    };
    let number = match &hotfix {
        Some(environment) => Some(context.platform.hotfix(push, environment).await?),
        None => context.platform.submit(push).await?,
    };
    Ok((StatusCode::ACCEPTED, started(&app, number)))
}

fn started(app: &AppName, number: Option<RunNumber>) -> Json<RunStarted> {
    Json(RunStarted {
        app: app.to_string(),
        run: number.map(|number| number.0),
    })
}

/// Has a release that was in the environment before brought to the next one, behind its gates.
#[utoipa::path(post, path = "/v1/apps/{app}/promotions", tag = "runs", operation_id = "run_promote",
params(("app" = String, Path, description = "the app")),
request_body = PromoteRequest,
responses(
    (status = 202, body = RunStarted),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn promote(
    State(context): State<Context>,
    Actor(actor): Actor,
    Params((app,)): Params<(AppName,)>,
    Body(request): Body<PromoteRequest>,
) -> Result<(StatusCode, Json<RunStarted>), Error> {
    let environment = EnvironmentName::new(request.environment);
    let promote = Promote {
        app: app.clone(),
        environment: environment.map_err(|error| Error::BadRequest(error.to_string()))?,
        release: request.release.map(ReleaseNumber),
        strategy: None,
        actor,
    };
    let number = context.platform.promote(promote).await?;
    Ok((StatusCode::ACCEPTED, started(&app, Some(number))))
}

/// How many runs are wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct Latest {
    #[serde(default = "twenty")]
    limit: u32,
}

fn twenty() -> u32 {
    20
}

/// Lists the latest runs of an app, newest first.
#[utoipa::path(get, path = "/v1/apps/{app}/runs", tag = "runs", operation_id = "run_list",
params(
    ("app" = String, Path, description = "the app"),
    ("limit" = Option<u32>, Query, description = "at most so many; 20 when absent"),
),
responses(
    (status = 200, body = [Run]),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(context): State<Context>,
    Params((app,)): Params<(AppName,)>,
    Filter(latest): Filter<Latest>,
) -> Result<Json<Vec<Run>>, Error> {
    let runs = context.platform.runs(&app, latest.limit).await?;
    let mut found = Vec::with_capacity(runs.len());
    for run in &runs {
        found.push(shown(&context, run).await?);
    }
    Ok(Json(found))
}

/// Returns a run for the wire, with what follows from it elsewhere.
async fn shown(context: &Context, run: &towpath_model::pipeline::Run) -> Result<Run, Error> {
    let mut shown = map::run(run, context.platform.now());
    if run.is_hotfix {
        let behind = context.platform.behind(&run.app).await?;
        let own = behind.iter().filter(|one| one.release == run.release);
        shown.behind = own.map(|one| one.name.to_string()).collect();
    }
    Ok(shown)
}

type OfRun = Params<(AppName, u32)>;

fn id((app, number): (AppName, u32)) -> RunId {
    RunId::new(app, RunNumber(number))
}

/// Shows one run.
#[utoipa::path(get, path = "/v1/apps/{app}/runs/{number}", tag = "runs", operation_id = "run_show",
params(("app" = String, Path, description = "the app"), ("number" = u32, Path, description = "the run")),
responses(
    (status = 200, body = Run),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(context): State<Context>,
    Params(run): OfRun,
) -> Result<Json<Run>, Error> {
    let run = context.platform.show_run(&id(run)).await?;
    Ok(Json(shown(&context, &run).await?))
}

/// Follows a run: its record at each change, as server-sent events, to its end.
#[utoipa::path(get, path = "/v1/apps/{app}/runs/{number}/progress", tag = "runs", operation_id = "run_follow",
params(("app" = String, Path, description = "the app"), ("number" = u32, Path, description = "the run")),
responses(
    (status = 200, body = Run, content_type = "text/event-stream"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn progress(
    State(context): State<Context>,
    Params(run): OfRun,
) -> Result<Response, Error> {
    let id = id(run);
    // A run that is none is said at once.
    context.platform.show_run(&id).await?;
    let follow = Follow {
        records: context.platform.watch_run(&id),
        context,
        id,
        last: None,
    };
    let values = futures_util::stream::unfold(follow, |mut follow| async move {
        let run = follow.next().await?;
        Some((run, follow))
    });
    Ok(stream::events("run", values))
}

/// A run that is followed.
struct Follow {
    context: Context,
    id: RunId,
    /// Absent when nothing more happens to it.
    records: Option<watch::Receiver<Arc<towpath_model::pipeline::Run>>>,
    last: Option<Run>,
}

impl Follow {
    /// Waits for the next record that is not the last one again; `None` at the end.
    async fn next(&mut self) -> Option<Run> {
        if self.last.as_ref().is_some_and(|last| last.ended) {
            return None;
        }
        let stop = self.context.stop.clone();
        loop {
            if let Some(records) = &mut self.records {
                records.mark_unchanged();
            }
            let run = self.context.platform.show_run(&self.id).await.ok()?;
            let run = shown(&self.context, &run).await.ok()?;
            if self.last.as_ref() != Some(&run) {
                self.last = Some(run.clone());
                return Some(run);
            }
            let records = self.records.as_mut()?;
            let goes_on = tokio::select! {
                () = stop.cancelled() => return None,
                changed = records.changed() => changed.is_ok(),
            };
            if !goes_on {
                self.records = None;
            }
        }
    }
}

/// Stops a run: its jobs, and the deployment that is under way.
#[utoipa::path(post, path = "/v1/apps/{app}/runs/{number}/cancel", tag = "runs", operation_id = "run_cancel",
params(("app" = String, Path, description = "the app"), ("number" = u32, Path, description = "the run")),
responses(
    (status = 204, description = "it is written down; what runs is being stopped"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn cancel(
    State(context): State<Context>,
    Actor(actor): Actor,
    Params(run): OfRun,
) -> Result<StatusCode, Error> {
    context.platform.cancel_run(&id(run), &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tries again what failed of a run, was stopped, or was never begun because of that.
#[utoipa::path(post, path = "/v1/apps/{app}/runs/{number}/retry", tag = "runs", operation_id = "run_retry",
params(("app" = String, Path, description = "the app"), ("number" = u32, Path, description = "the run")),
responses(
    (status = 204, description = "it is written down"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn retry(
    State(context): State<Context>,
    Actor(actor): Actor,
    Params(run): OfRun,
) -> Result<StatusCode, Error> {
    context.platform.retry_run(&id(run), &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets the release of a run come to an environment, or not.
#[utoipa::path(post, path = "/v1/apps/{app}/runs/{number}/decisions/{environment}", tag = "runs", operation_id = "run_decide",
params(
    ("app" = String, Path, description = "the app"), ("number" = u32, Path, description = "the run"),
    ("environment" = String, Path, description = "the environment"),
),
request_body = DecisionRequest,
responses(
    (status = 204, description = "it is written down"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn decide(
    State(context): State<Context>,
    Actor(actor): Actor,
    Params((app, number, environment)): Params<(AppName, u32, EnvironmentName)>,
    Body(request): Body<DecisionRequest>,
) -> Result<StatusCode, Error> {
    let decision = Decision {
        environment,
        approve: request.approve,
        comment: request.comment,
        actor,
    };
    context
        .platform
        .decide(&id((app, number)), decision)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which lines are wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    attempt: Option<u32>,
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    services: bool,
}

/// Reads the log of a job: one JSON object on each line, without the values of secrets.
#[utoipa::path(get, path = "/v1/apps/{app}/runs/{number}/jobs/{job}/log", tag = "runs", operation_id = "run_log",
params(
    ("app" = String, Path, description = "the app"), ("number" = u32, Path, description = "the run"),
    ("job" = u32, Path, description = "the job, by its number within the run"),
    ("attempt" = Option<u32>, Query, description = "the attempt; the last one when absent"),
    ("follow" = Option<bool>, Query, description = "go on with new lines until the attempt is over"),
    ("services" = Option<bool>, Query, description = "also what the services beside the job wrote"),
),
responses(
    (status = 200, body = RunLogLine, content_type = "application/x-ndjson"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn log(
    State(context): State<Context>,
    Params((app, number, job)): Params<(AppName, u32, u32)>,
    Filter(wanted): Filter<Wanted>,
) -> Result<Response, Error> {
    let query = RunLogQuery {
        job,
        attempt: wanted.attempt,
        follow: wanted.follow,
        only_job: !wanted.services,
    };
    let log = context.platform.run_log(&id((app, number)), &query).await?;
    let stop = context.stop.clone();
    let values = futures_util::stream::unfold((log, stop), |(mut log, stop)| async move {
        let line = tokio::select! {
            () = stop.cancelled() => return None,
            line = log.next() => line,
        };
        match line {
            Ok(line) => Some((map::log_line(line?), (log, stop))),
            Err(error) => {
                tracing::warn!(error = %error, "the log of a job cannot be read further");
                None
            }
        }
    });
    Ok(stream::lines(values))
}

/// Downloads the files that are kept of a job, as a tar archive with paths from the job's directory.
#[utoipa::path(get, path = "/v1/apps/{app}/runs/{number}/jobs/{job}/artifacts", tag = "runs", operation_id = "run_artifacts",
params(
    ("app" = String, Path, description = "the app"), ("number" = u32, Path, description = "the run"),
    ("job" = u32, Path, description = "the job, by its number within the run"),
),
responses(
    (status = 200, body = Vec<u8>, content_type = "application/x-tar"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn artifacts(
    State(context): State<Context>,
    Params((app, number, job)): Params<(AppName, u32, u32)>,
) -> Result<Response, Error> {
    let archive = context
        .platform
        .run_artifacts(&id((app, number)), job)
        .await?;
    Ok(stream::archive(archive))
}
