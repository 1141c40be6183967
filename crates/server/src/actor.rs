//! Who asks: the owner of the unix socket by the name that the client gives, or the name of a
//! bearer token. What a token may not do is what would make more of it than it is: make and revoke
//! tokens, stop the control plane, and pass the gates of an environment. All else both may do.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use towpath_api::client::ACTOR;

use crate::app::Context;
use crate::git;
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

/// Whether it is the owner of the socket who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IsOwner(pub(crate) bool);

impl<S: Send + Sync> FromRequestParts<S> for IsOwner {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Owner>().is_some()))
    }
}

impl IsOwner {
    /// Refuses to pass gates for anybody else, and without a word of why.
    pub(crate) fn may_pass(self, reason: Option<&str>) -> Result<(), Error> {
        match reason {
            Some(_) if !self.0 => Err(Error::Forbidden),
            Some(reason) if reason.trim().is_empty() => {
                Err(Error::BadRequest("say why it passes the gates".to_owned()))
            }
            _ => Ok(()),
        }
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
    let is_git = request.uri().path().starts_with(git::PREFIX);
    let unauthorized = || {
        if is_git {
            Error::UnauthorizedGit
        } else {
            Error::Unauthorized
        }
    };
    let presented = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.split_once(' '))
        .and_then(|(scheme, credentials)| match scheme {
            _ if scheme.eq_ignore_ascii_case("bearer") => Some(credentials.trim().to_owned()),
            _ if is_git && scheme.eq_ignore_ascii_case("basic") => password(credentials.trim()),
            _ => None,
        })
        .ok_or_else(unauthorized)?;
    let token = context.platform.verify_token(&presented).await?;
    let name = token.ok_or_else(unauthorized)?.name;
    request
        .extensions_mut()
        .insert(Actor(format!("token {name}")));
    Ok(next.run(request).await)
}

/// Returns the token of Basic credentials (RFC 7617): the password, or the name where there is no
/// password, as in `https://TOKEN@host`.
fn password(credentials: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    let token = if password.is_empty() { name } else { password };
    Some(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_the_password_or_the_name() {
        let of = |text: &str| password(&STANDARD.encode(text));
        assert_eq!(of("ada:towpath_x").as_deref(), Some("towpath_x"));
        assert_eq!(of("towpath_x:").as_deref(), Some("towpath_x"));
        assert_eq!(of("ada:a:b").as_deref(), Some("a:b"));
        assert_eq!(of("nothing"), None);
        assert_eq!(password("%%%"), None);
    }
}
