//! Reads parts of requests, and refuses bad ones with problem details. Not what they mean.

use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use serde::de::DeserializeOwned;
use towpath_api::frame::PROTOCOL;
use towpath_model::id::EnvironmentId;

use crate::problem::Error;

/// The parts of the path that have names.
#[derive(Debug)]
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        path.map(|Path(params)| Self(params))
            .map_err(|rejection| Error::BadRequest(rejection.body_text()))
    }
}

/// The environment that the path names, with `app` and `environment`.
#[derive(Debug)]
pub(crate) struct Of(pub(crate) EnvironmentId);

impl<S: Send + Sync> FromRequestParts<S> for Of {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Params((app, name)) = Params::from_request_parts(parts, state).await?;
        Ok(Self(EnvironmentId::new(app, name)))
    }
}

/// The environment that the path names, and what of it: a deployment, a service, a secret.
#[derive(Debug)]
pub(crate) struct Within<T>(pub(crate) EnvironmentId, pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Within<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Params((app, name, what)) = Params::from_request_parts(parts, state).await?;
        Ok(Self(EnvironmentId::new(app, name), what))
    }
}

/// The query of the address.
#[derive(Debug)]
pub(crate) struct Filter<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Filter<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        query
            .map(|Query(filter)| Self(filter))
            .map_err(|rejection| Error::BadRequest(rejection.body_text()))
    }
}

/// A connection that a request wants to take over (RFC 9110 section 7.8).
#[derive(Debug)]
pub(crate) struct Takeover(OnUpgrade);

/// Returns the answer that hands a connection over.
pub(crate) fn taken_over() -> Response {
    let fields = [(CONNECTION, "Upgrade"), (UPGRADE, PROTOCOL)];
    (StatusCode::SWITCHING_PROTOCOLS, fields).into_response()
}

impl Takeover {
    /// Waits until the answer is sent. Returns the connection.
    pub(crate) async fn connection(self) -> hyper::Result<Upgraded> {
        self.0.await
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Takeover {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let asked = names(&parts.headers, &CONNECTION, "upgrade")
            && names(&parts.headers, &UPGRADE, PROTOCOL);
        let connection = parts.extensions.remove::<OnUpgrade>();
        match connection.filter(|_| asked) {
            Some(connection) => Ok(Self(connection)),
            None => Err(Error::NoUpgrade),
        }
    }
}

/// Tells whether a field that is a list names a word.
fn names(headers: &HeaderMap, field: &HeaderName, word: &str) -> bool {
    headers
        .get_all(field)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|one| one.trim().eq_ignore_ascii_case(word))
}

/// A body in JSON.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let Raw(bytes) = Raw::from_request(request, state).await?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Error::BadRequest(format!("the body cannot be understood: {error}")))
    }
}

/// A body as it is.
#[derive(Debug)]
pub(crate) struct Raw(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let bytes: Result<Bytes, BytesRejection> = Bytes::from_request(request, state).await;
        bytes.map(Self).map_err(|rejection| {
            if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
                Error::TooLarge("the body is too large".to_owned())
            } else {
                Error::BadRequest(rejection.body_text())
            }
        })
    }
}
