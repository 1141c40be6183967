//! Webhooks of forges: who they are from, whether they come the first time, what they are about. A
//! webhook only causes a fetch: what is in it is believed for nothing else, but for the branches of a
//! pull request.

mod bitbucket;
mod gitea;
mod github;
mod gitlab;
mod signature;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Semaphore;
use towpath_control::PullRequest;
use towpath_model::id::{AppName, Digest};
use towpath_model::repository::outside::Forge;
use towpath_model::repository::reference;

use crate::app::Context;
use crate::extract::Raw;
use crate::problem::Error;

/// The largest webhook that is read: that of a push of many commits is a fraction of it.
const BODY_BYTES_MAX: usize = 5 << 20;

/// How many may be read at once. The others are told to come again.
const AT_ONCE: usize = 16;

/// How long one may take to arrive: who is slow keeps others out.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);

/// The longest id of a delivery that is kept.
const ID_MAX: usize = 100;

/// What a webhook is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    /// Branches or tags moved.
    Push,
    /// Something happened to a pull request.
    Request(PullRequest),
    /// Nothing that is of interest.
    Nothing,
}

/// A webhook whose signature is good.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Webhook {
    forge: Forge,
    /// The forge's id of it.
    id: Option<String>,
    told: Told,
}

/// Why a webhook is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refused {
    /// Nobody knows it.
    #[error("this is no webhook of GitHub, GitLab, Bitbucket, Gitea or Forgejo")]
    Unknown,
    /// It is not signed with the secret.
    #[error("the signature of the webhook is not good")]
    Signature,
    /// It was signed long ago.
    #[error("the webhook was signed more than five minutes ago, or later than now")]
    Old,
    /// It is not what the forge documents.
    #[error("the webhook cannot be understood: {0}")]
    Malformed(String),
}

/// Returns the service.
pub(crate) fn routes() -> Router<Context> {
    Router::new()
        .route("/webhooks/{app}", post(take))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(Extension(Arc::new(Semaphore::new(AT_ONCE))))
}

async fn take(
    State(context): State<Context>,
    Extension(limit): Extension<Arc<Semaphore>>,
    Path(app): Path<String>,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Result<StatusCode, Error> {
    use axum::extract::FromRequest as _;
    let _permit = limit.try_acquire().map_err(|_| Error::Busy)?;
    let reading = Raw::from_request(request, &context);
    let arrived = tokio::time::timeout(ARRIVES_WITHIN, reading).await;
    let Raw(body) = arrived.map_err(|_| Error::Slow)??;
    // Whether there is such an app is nobody's business who cannot sign.
    let unsigned = || Error::BadWebhook(Refused::Signature.to_string());
    let app: AppName = app.parse().map_err(|_| unsigned())?;
    let secret = context.platform.webhook_secret(&app).await?;
    let secret = secret.ok_or_else(unsigned)?;
    let webhook = read(&headers, &body, secret.expose(), context.platform.now());
    let webhook = webhook.map_err(|refused| match refused {
        Refused::Signature | Refused::Old => Error::BadWebhook(refused.to_string()),
        Refused::Unknown | Refused::Malformed(_) => Error::BadRequest(refused.to_string()),
    })?;
    let told = match webhook.told {
        Told::Nothing => return Ok(StatusCode::NO_CONTENT),
        Told::Push => None,
        Told::Request(request) => Some(request),
    };
    // The id is not signed by every forge, so a body that was there is not taken under another one.
    let mut keys = vec![Digest::of(&body).to_string()];
    keys.extend(webhook.id.map(|id| format!("id {id}")));
    let actor = format!("webhook of {}", name(webhook.forge));
    context
        .platform
        .take_webhook(&app, &keys, told, &actor)
        .await?;
    Ok(StatusCode::ACCEPTED)
}

fn name(forge: Forge) -> &'static str {
    match forge {
        Forge::GitHub => "GitHub",
        Forge::GitLab => "GitLab",
        Forge::BitbucketCloud | Forge::BitbucketDataCenter => "Bitbucket",
        Forge::Gitea => "Gitea",
    }
}

/// Reads a webhook. Nothing of its body is looked at before its signature is.
fn read(
    headers: &HeaderMap,
    body: &[u8],
    secret: &[u8],
    now: Timestamp,
) -> Result<Webhook, Refused> {
    let has = |name: &str| headers.contains_key(name);
    // Gitea and Forgejo have the fields of GitHub too.
    if has(gitea::EVENT) || has(gitea::FORGEJO_EVENT) {
        gitea::verify(headers, body, secret)?;
        gitea::read(headers, &json(body)?)
    } else if has(gitlab::EVENT) {
        gitlab::verify(headers, body, secret, now)?;
        gitlab::read(headers, &json(body)?)
    } else if has(bitbucket::EVENT) {
        bitbucket::verify(headers, body, secret)?;
        bitbucket::read(headers, &json(body)?)
    } else if has(github::EVENT) {
        github::verify(headers, body, secret)?;
        github::read(headers, &json(body)?)
    } else {
        Err(Refused::Unknown)
    }
}

fn json(body: &[u8]) -> Result<Value, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        let hint = "have it sent as application/json";
        Refused::Malformed(format!("{error}; {hint}"))
    })
}

/// Returns a field of the head.
fn field<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Returns the id of a delivery.
fn id(headers: &HeaderMap, names: &[&str]) -> Option<String> {
    let id = names.iter().find_map(|name| field(headers, name))?;
    Some(id.chars().take(ID_MAX).collect())
}

/// Where a pull request is in a body: JSON pointers (RFC 6901).
struct Places {
    number: &'static str,
    from: &'static str,
    into: &'static str,
    /// The repositories of both branches, by what tells them apart.
    repositories: [&'static str; 2],
}

/// Reads a pull request.
fn pull_request(
    forge: Forge,
    body: &Value,
    places: &Places,
    closed: bool,
) -> Result<Told, Refused> {
    let missing = |place: &str| Refused::Malformed(format!("it has no good {place}"));
    let number = body.pointer(places.number).and_then(Value::as_u64);
    let branch = |place: &str| {
        let name = body.pointer(place).and_then(Value::as_str);
        let name = name.filter(|name| reference(&format!("refs/heads/{name}")).is_some());
        name.map(str::to_owned).ok_or_else(|| missing(place))
    };
    Ok(Told::Request(PullRequest {
        forge,
        number: number.ok_or_else(|| missing(places.number))?,
        from: branch(places.from)?,
        into: branch(places.into)?,
        fork: is_fork(body, places),
        closed,
    }))
}

/// Tells whether a pull request is from another repository. One that does not say where it is from is:
/// that of a repository which was removed.
fn is_fork(body: &Value, places: &Places) -> bool {
    let [from, into] = places.repositories.map(|place| body.pointer(place));
    let is_same = from == into && from.is_some_and(|id| !id.is_null());
    !is_same
}

#[cfg(test)]
mod tests;
