//! Git over HTTP (the smart protocol of gitprotocol-http(5)): what is asked for is checked here, and
//! `git http-backend` answers it. Not what becomes of a push, which is the platform's.

mod backend;
mod cgi;
mod progress;
mod sideband;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, Query, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::Semaphore;
use towpath_api::git::{JudgeRequest, Judgement};
use towpath_model::id::AppName;
use towpath_model::repository::{CommitId, Objects, ReferenceUpdate};

use crate::actor::{Actor, Owner};
use crate::app::Context;
use crate::extract::Body as JsonBody;
use crate::problem::Error;
use backend::{Call, Service};

/// The first part of the paths at which repositories are.
pub(crate) const PREFIX: &str = "/git/";

/// How many exchanges with Git may be under way: each is a few processes.
const AT_ONCE: usize = 16;

/// The version of the protocol that the client wishes.
const GIT_PROTOCOL: HeaderName = HeaderName::from_static("git-protocol");

/// Returns the service: the repositories, and the question of Git's hook.
pub(crate) fn routes() -> Router<Context> {
    Router::new()
        .route("/git/{app}/info/refs", get(references))
        .route("/git/{app}/git-upload-pack", post(upload_pack))
        .route("/git/{app}/git-receive-pack", post(receive_pack))
        .route("/v1/apps/{app}/pushes/judgement", post(judge))
        .layer(Extension(Arc::new(Semaphore::new(AT_ONCE))))
}

/// What is wanted of a list of references.
#[derive(Debug, Deserialize)]
struct Wanted {
    service: Option<String>,
}

async fn references(
    State(context): State<Context>,
    Extension(limit): Extension<Arc<Semaphore>>,
    Actor(actor): Actor,
    Path(app): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let service = match wanted.service.as_deref() {
        Some("git-upload-pack") => Service::UploadPack,
        Some("git-receive-pack") => Service::ReceivePack,
        _ => {
            let message = "only Git's smart protocol is spoken: use Git 1.6.6 or newer";
            return Err(Error::BadRequest(message.to_owned()));
        }
    };
    let app = repository(&context, &app, service, &actor).await?;
    let call = Call {
        method: "GET",
        path: format!("/{app}.git/info/refs"),
        query: format!("service={}", service.name()),
        ..call(app, actor, &headers)
    };
    backend::answer(&context, &limit, call, Body::empty(), None).await
}

async fn upload_pack(
    State(context): State<Context>,
    Extension(limit): Extension<Arc<Semaphore>>,
    Actor(actor): Actor,
    Path(app): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let service = Service::UploadPack;
    let app = repository(&context, &app, service, &actor).await?;
    let call = Call {
        path: format!("/{app}.git/git-upload-pack"),
        ..call(app, actor, &headers)
    };
    backend::answer(&context, &limit, call, body, Some(service)).await
}

async fn receive_pack(
    State(context): State<Context>,
    Extension(limit): Extension<Arc<Semaphore>>,
    Actor(actor): Actor,
    Path(app): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let service = Service::ReceivePack;
    let app = repository(&context, &app, service, &actor).await?;
    let call = Call {
        path: format!("/{app}.git/git-receive-pack"),
        ..call(app, actor, &headers)
    };
    backend::answer(&context, &limit, call, body, Some(service)).await
}

/// Finds the repository of an app: `shop` or `shop.git`. One that is to be pushed to is made.
async fn repository(
    context: &Context,
    name: &str,
    service: Service,
    actor: &str,
) -> Result<AppName, Error> {
    let name = name.strip_suffix(".git").unwrap_or(name);
    let app: AppName = name
        .parse()
        .map_err(|error| Error::BadRequest(format!("{error}")))?;
    match service {
        Service::ReceivePack => context.platform.make_repository(&app, actor).await?,
        Service::UploadPack => {
            if !context.platform.has_repository(&app).await? {
                return Err(Error::NotFound(format!("repository of `{app}`")));
            }
        }
    }
    Ok(app)
}

fn call(app: AppName, actor: String, headers: &HeaderMap) -> Call {
    let field = |name: &HeaderName| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    Call {
        app,
        actor,
        method: "POST",
        path: String::new(),
        query: String::new(),
        variables: [
            ("CONTENT_TYPE", field(&CONTENT_TYPE)),
            ("CONTENT_LENGTH", field(&CONTENT_LENGTH)),
            ("HTTP_CONTENT_ENCODING", field(&CONTENT_ENCODING)),
            ("HTTP_GIT_PROTOCOL", field(&GIT_PROTOCOL)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect(),
    }
}

/// Answers the hook that Git runs before it takes a push. Only this machine's owner runs it.
async fn judge(
    State(context): State<Context>,
    Owner(_): Owner,
    Path(app): Path<AppName>,
    JsonBody(request): JsonBody<JudgeRequest>,
) -> Result<Response, Error> {
    let objects = match &request.incoming {
        None => Objects::Kept,
        Some(name) => Objects::incoming(name)
            .ok_or_else(|| Error::BadRequest(format!("`{name}` is no place of a push")))?,
    };
    let updates = request
        .updates
        .into_iter()
        .map(|update| {
            Ok(ReferenceUpdate {
                name: update.name,
                old: commit(&update.old)?,
                new: commit(&update.new)?,
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let judged = context
        .platform
        .judge_push(&app, &updates, &objects)
        .await?;
    let answer = Judgement {
        accepted: judged.accepted,
        lines: judged.lines,
    };
    Ok(Json(answer).into_response())
}

/// Reads an object's id as Git writes it: only zeros are none.
fn commit(text: &str) -> Result<Option<CommitId>, Error> {
    if !text.is_empty() && text.bytes().all(|c| c == b'0') {
        return Ok(None);
    }
    let id = text.parse();
    id.map(Some)
        .map_err(|error| Error::BadRequest(format!("{error}")))
}
