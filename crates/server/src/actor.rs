//! Who asks: the owner of the unix socket by the name that the client gives, or the name of a
//! bearer token. What a token may not do is what would make more of it than it is: make and revoke
//! tokens, and stop the control plane. All else both may do.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use towpath_api::client::ACTOR;

use crate::app::Context;
use crate::problem::Error;

/// The longest name that is written into the audit trail.
const NAME_MAX: usize = 100;

/// Who asks, for the audit trail.
#[derive(Debug, Clone)]
pub(crate) struct Actor(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get().cloned().ok_or(Error::Unauthorized)
    }
}

/// Who asks, where that is the owner of the socket. Whoever has a token is refused.
#[derive(Debug, Clone)]
pub(crate) struct Owner(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Owner {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get().cloned().ok_or(Error::Forbidden)
    }
}

/// Lets everybody in: only the socket's owner can connect to it.
pub(crate) async fn owner(mut request: Request, next: Next) -> Response {
    let name: String = request
        .headers()
        .get(ACTOR)
        .and_then(|value| value.to_str().ok())
        .map(|name| name.chars().take(NAME_MAX).collect())
        .filter(|name: &String| !name.is_empty())
        .unwrap_or_else(|| "owner".to_owned());
    request.extensions_mut().insert(Owner(name.clone()));
    request.extensions_mut().insert(Actor(name));
    next.run(request).await
}

/// Lets in who has a token.
pub(crate) async fn bearer(
    State(context): State<Context>,
    mut request: Request,
    next: Next,
) -> Result<Response, Error> {
    let presented = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().to_owned())
        .ok_or(Error::Unauthorized)?;
    let token = context.platform.verify_token(&presented).await?;
    let name = token.ok_or(Error::Unauthorized)?.name;
    request
        .extensions_mut()
        .insert(Actor(format!("token {name}")));
    Ok(next.run(request).await)
}
