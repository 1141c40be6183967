//! The repositories of apps: what they follow, their secrets, a fetch at once. Not the repositories
//! themselves ([`crate::git`]), and not the webhooks ([`crate::webhook`]).

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use towpath_api::{Problem, Repository, RepositoryRequest, RepositoryStatuses};
use towpath_model::id::AppName;
use towpath_model::pipeline::trigger::Follow;
use towpath_model::repository::outside::{
    Forge, Outside, POLL_EVERY, RemoteUrl, RepositorySecret, RepositorySettings, Transport, WebUrl,
    certificates,
};
use towpath_model::tree::TreePath;
use towpath_model::workload::SecretValue;

use crate::actor::{Actor, Owner};
use crate::app::Context;
use crate::extract::{Body, Params, Raw};
use crate::problem::Error;

/// The longest pattern that is taken, in characters.
const PATTERN_MAX: usize = 200;

/// Says what is set up for the repository of an app.
#[utoipa::path(get, path = "/v1/apps/{app}/repository", tag = "repositories", operation_id = "repository_show",
params(("app" = String, Path, description = "the app")),
responses(
    (status = 200, body = Repository),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn show(
    State(context): State<Context>,
    Params((app,)): Params<(AppName,)>,
) -> Result<Json<Repository>, Error> {
    let info = context.platform.repository(&app).await?;
    let RepositorySettings {
        outside,
        follow,
        protected,
    } = info.settings;
    let settings = RepositoryRequest {
        poll_seconds: outside.as_ref().map(|outside| outside.every.as_secs()),
        forge: outside
            .as_ref()
            .and_then(Outside::forge)
            .map(|forge| forge.to_string()),
        forge_url: outside
            .as_ref()
            .and_then(|outside| outside.web.as_ref())
            .map(ToString::to_string),
        link: outside
            .as_ref()
            .and_then(|outside| outside.link.as_ref())
            .map(ToString::to_string),
        url: outside.map(|outside| outside.url.to_string()),
        branches: follow.branches,
        tags: follow.tags,
        pull_requests: follow.pull_requests,
        directory: follow.directory,
        paths: follow.paths,
        ignore_paths: follow.ignore_paths,
        protected,
    };
    Ok(Json(Repository {
        app: app.to_string(),
        settings,
        has_credential: info.has_credential,
        has_webhook_secret: info.has_webhook_secret,
        authorities: info.authorities,
        fetched_at: info.fetched_at,
        fault: info.fault,
        statuses: RepositoryStatuses {
            has_token: info.statuses.has_token,
            waiting: info.statuses.forge.waiting,
            fault: info.statuses.forge.fault,
            retry_at: info.statuses.forge.next_at,
        },
    }))
}

/// Sets up the repository of an app, which is registered when it is new. Only the owner of the data
/// directory may have it follow a directory of the machine.
#[utoipa::path(put, path = "/v1/apps/{app}/repository", tag = "repositories", operation_id = "repository_set",
params(("app" = String, Path, description = "the app")),
request_body = RepositoryRequest,
responses(
    (status = 204, description = "it is set up"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn set(
    State(context): State<Context>,
    Actor(actor): Actor,
    owner: Result<Owner, Error>,
    Params((app,)): Params<(AppName,)>,
    Body(request): Body<RepositoryRequest>,
) -> Result<StatusCode, Error> {
    let settings = read(request)?;
    let is_directory = |outside: &Outside| outside.url.transport() == Transport::File;
    if settings.outside.as_ref().is_some_and(is_directory) {
        owner?;
    }
    context
        .platform
        .set_repository(&app, &settings, &actor)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Has an app follow no repository any more, and forgets the secrets for it. What came of it stays.
#[utoipa::path(delete, path = "/v1/apps/{app}/repository", tag = "repositories", operation_id = "repository_unset",
params(("app" = String, Path, description = "the app")),
responses(
    (status = 204, description = "it follows none"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn unset(
    State(context): State<Context>,
    Actor(actor): Actor,
    Params((app,)): Params<(AppName,)>,
) -> Result<StatusCode, Error> {
    context.platform.unset_repository(&app, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets a secret that goes with the repository of an app: `credential` is what the repository elsewhere
/// is shown (a token, or a private key for SSH), `webhook` what its webhooks are signed with, `status` the
/// token with which its forge is told the statuses of commits, `ca` certificates (PEM) of authorities that
/// are trusted beside those of the machine. The body is the value, as it is.
#[utoipa::path(put, path = "/v1/apps/{app}/repository/secrets/{name}", tag = "repositories", operation_id = "repository_secret_set",
params(("app" = String, Path, description = "the app"), ("name" = String, Path, description = "`credential`, `webhook`, `status` or `ca`")),
request_body(content = Vec<u8>, content_type = "application/octet-stream"),
responses(
    (status = 204, description = "it is set"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn set_secret(
    State(context): State<Context>,
    Actor(actor): Actor,
    Params((app, name)): Params<(AppName, String)>,
    Raw(value): Raw,
) -> Result<StatusCode, Error> {
    let secret: RepositorySecret = name
        .parse()
        .map_err(|error| Error::BadRequest(format!("{error}")))?;
    if value.is_empty() {
        return Err(Error::BadRequest("the secret has no value".to_owned()));
    }
    let value = SecretValue::new(Vec::from(value));
    if secret == RepositorySecret::Authorities && certificates(&value) == 0 {
        let message = "there is no certificate in it: write it as PEM";
        return Err(Error::BadRequest(message.to_owned()));
    }
    context
        .platform
        .set_repository_secret(&app, secret, &value, &actor)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Fetches from the repository that an app follows, and takes in what came. Answers when that is done.
#[utoipa::path(post, path = "/v1/apps/{app}/repository/fetch", tag = "repositories", operation_id = "repository_fetch",
params(("app" = String, Path, description = "the app")),
responses(
    (status = 204, description = "it is done"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn fetch(
    State(context): State<Context>,
    Actor(actor): Actor,
    Params((app,)): Params<(AppName,)>,
) -> Result<StatusCode, Error> {
    context.platform.fetch_repository(&app, &actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parsed<T: FromStr<Err: Display>>(text: Option<String>) -> Result<Option<T>, Error> {
    let parsed = text.map(|text| text.parse()).transpose();
    parsed.map_err(|error: T::Err| Error::BadRequest(error.to_string()))
}

fn read(request: RepositoryRequest) -> Result<RepositorySettings, Error> {
    let url: Option<RemoteUrl> = parsed(request.url)?;
    let forge: Option<Forge> = parsed(request.forge)?;
    let web: Option<WebUrl> = parsed(request.forge_url)?;
    let link: Option<WebUrl> = parsed(request.link)?;
    let every = request.poll_seconds.map(Duration::from_secs);
    let directory = request.directory.trim_matches('/').to_owned();
    if !directory.is_empty() {
        TreePath::new(&directory).map_err(|error| Error::BadRequest(error.to_string()))?;
    }
    let patterns = |patterns: Vec<String>| {
        let bad = patterns.iter().find(|one| {
            one.is_empty() || one.chars().count() > PATTERN_MAX || one.contains(char::is_control)
        });
        match bad {
            Some(bad) => Err(Error::BadRequest(format!("`{bad}` is no pattern"))),
            None => Ok(patterns),
        }
    };
    Ok(RepositorySettings {
        outside: url.map(|url| Outside {
            url,
            every: every.unwrap_or(POLL_EVERY),
            forge,
            web,
            link,
        }),
        follow: Follow {
            branches: patterns(request.branches)?,
            tags: patterns(request.tags)?,
            pull_requests: request.pull_requests,
            directory,
            paths: patterns(request.paths)?,
            ignore_paths: patterns(request.ignore_paths)?,
        },
        protected: patterns(request.protected)?,
    })
}
