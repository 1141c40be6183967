//! Commands in instances, one-off instances, and what instances use. A command's streams are frames
//! on a connection that the request took over.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use towpath_api::{Detached, ExecRequest, Problem, RunRequest, TerminalSize, Usage};
use towpath_model::command::OneOffRequest;
use towpath_model::console::{Attachment, ConsoleCommand, Session, WindowSize};
use towpath_model::id::{InstanceId, ServiceName};

use super::stream;
use crate::actor::Actor;
use crate::app::Context;
use crate::carry;
use crate::extract::{self, Body, Filter, Of, Takeover};
use crate::map::rest;
use crate::problem::Error;

/// Runs a command in an instance. With `Upgrade: towpath-console` the answer is 101, and the
/// connection carries frames: one byte for the kind, four for the length (the largest first), then
/// that many bytes. From the client: 0 standard input, 1 its end, 2 the terminal's size (columns and
/// rows, two bytes each). From the server: 16 standard output, 17 standard error, 18 the end (a
/// `CommandEnd` in JSON), 19 nothing (the connection lives). Whoever closes the connection ends the
/// command. With `detach` nothing is upgraded, and the answer says where it runs.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/exec", tag = "console", operation_id = "console_exec",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
request_body = ExecRequest,
responses(
    (status = 101, description = "the connection is the command's"),
    (status = 202, body = Detached, description = "it runs with nobody attached"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn exec(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
    takeover: Result<Takeover, Error>,
    Body(request): Body<ExecRequest>,
) -> Result<Response, Error> {
    let takeover = wanted(request.detach, takeover)?;
    if request.command.is_empty() {
        return Err(Error::BadRequest("no command is named".to_owned()));
    }
    let service = service(&request.service)?;
    let command = ConsoleCommand {
        attachment: attachment(request.detach, request.terminal),
        words: request.command,
        variables: request.variables,
        directory: request.directory,
        user: request.user,
    };
    let which = (&service, request.instance);
    let (instance, session) = context.platform.exec(&id, which, &command, &actor).await?;
    Ok(answer(&context, &instance, session, takeover))
}

/// Starts a one-off instance of a service of the stable release: with its secrets, networks and
/// volumes, and no part of what serves. It is removed when it ends, and when nobody is attached any
/// more. The connection is taken over as by `exec`.
#[utoipa::path(post, path = "/v1/environments/{app}/{environment}/run", tag = "console", operation_id = "console_run",
params(("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment")),
request_body = RunRequest,
responses(
    (status = 101, description = "the connection is the command's"),
    (status = 202, body = Detached, description = "it runs with nobody attached"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn run(
    State(context): State<Context>,
    Actor(actor): Actor,
    Of(id): Of,
    takeover: Result<Takeover, Error>,
    Body(request): Body<RunRequest>,
) -> Result<Response, Error> {
    let takeover = wanted(request.detach, takeover)?;
    let attachment = attachment(request.detach, request.terminal);
    let wish = OneOffRequest {
        service: service(&request.service)?,
        words: request.command,
        entrypoint: request.entrypoint,
        variables: request.variables,
        directory: request.directory,
        user: request.user,
    };
    let (instance, session) = context.platform.run(&id, wish, attachment, &actor).await?;
    Ok(answer(&context, &instance, session, takeover))
}

fn service(name: &str) -> Result<ServiceName, Error> {
    let name = name.parse::<ServiceName>();
    name.map_err(|error| Error::BadRequest(error.to_string()))
}

/// Refuses a request that could not be answered.
fn wanted(detach: bool, takeover: Result<Takeover, Error>) -> Result<Option<Takeover>, Error> {
    match (detach, takeover) {
        (true, _) => Ok(None),
        (false, takeover) => takeover.map(Some),
    }
}

fn attachment(detach: bool, terminal: Option<TerminalSize>) -> Attachment {
    match (detach, terminal) {
        (true, _) => Attachment::Detached,
        (false, None) => Attachment::Streams,
        (false, Some(size)) => Attachment::Terminal(WindowSize {
            columns: size.columns,
            rows: size.rows,
        }),
    }
}

/// Answers with the connection, or with where the command runs.
fn answer(
    context: &Context,
    instance: &InstanceId,
    session: Option<Session>,
    takeover: Option<Takeover>,
) -> Response {
    if let (Some(session), Some(takeover)) = (session, takeover) {
        let carried = carry::carry(takeover, session, context.stop.clone());
        context.platform.carry(carried);
        return extract::taken_over();
    }
    let detached = Detached {
        service: instance.service.to_string(),
        instance: instance.number,
    };
    (StatusCode::ACCEPTED, Json(detached)).into_response()
}

/// Whose usage is wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct Whose {
    service: Option<ServiceName>,
}

/// Says what the instances of an environment use. It is looked at twice, half a second apart.
#[utoipa::path(get, path = "/v1/environments/{app}/{environment}/usage", tag = "console", operation_id = "console_usage",
params(
    ("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment"),
    ("service" = Option<String>, Query, description = "only the instances of this service"),
),
responses(
    (status = 200, body = Usage),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn usage(
    State(context): State<Context>,
    Of(id): Of,
    Filter(whose): Filter<Whose>,
) -> Result<Json<Usage>, Error> {
    let used = context.platform.usage(&id, whose.service).await?;
    Ok(Json(rest::usage(used)))
}

/// Follows what the instances of an environment use: server-sent events named `usage`, one each
/// second.
#[utoipa::path(get, path = "/v1/environments/{app}/{environment}/usage/stream", tag = "console", operation_id = "console_usage_follow",
params(
    ("app" = String, Path, description = "the app"), ("environment" = String, Path, description = "the environment"),
    ("service" = Option<String>, Query, description = "only the instances of this service"),
),
responses(
    (status = 200, body = Usage, content_type = "text/event-stream"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn follow_usage(
    State(context): State<Context>,
    Of(id): Of,
    Filter(whose): Filter<Whose>,
) -> Result<Response, Error> {
    let watch = context.platform.watch_usage(&id, whose.service)?;
    let stop = context.stop.clone();
    let values = futures_util::stream::unfold((watch, stop), |(mut watch, stop)| async move {
        let used = tokio::select! {
            () = stop.cancelled() => return None,
            used = watch.next() => used,
        };
        match used {
            Ok(used) => Some((rest::usage(used), (watch, stop))),
            Err(error) => {
                tracing::warn!(%error, "what instances use cannot be seen any more");
                None
            }
        }
    });
    Ok(stream::events("usage", values))
}
