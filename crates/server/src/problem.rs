//! The one place that maps errors to HTTP statuses and problem details (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use towpath_api::Problem;
use towpath_api::frame::PROTOCOL;
use towpath_api::problem::MEDIA_TYPE;
use towpath_control::{Kind, SourceError};

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The platform did not do it.
    #[error(transparent)]
    Control(#[from] towpath_control::Error),
    /// The request cannot be understood.
    #[error("{0}")]
    BadRequest(String),
    /// Nobody knows who asks.
    #[error("a valid bearer token is needed here; `towpath token create` makes one")]
    Unauthorized,
    /// Nobody knows who asks, and Git is to ask its user.
    #[error("a token is needed here as the password; `towpath token create` makes one")]
    UnauthorizedGit,
    /// Git did not answer.
    #[error("git http-backend failed: {0}")]
    Git(String),
    /// A webhook is not from whom it says.
    #[error("{0}")]
    BadWebhook(String),
    /// Too much is under way.
    #[error("too many pushes and fetches are under way: try again in a while")]
    Busy,
    /// A request did not come to its end in time.
    #[error("the request took too long to arrive")]
    Slow,
    /// It is known who asks, and they may not.
    #[error("only the owner of the data directory may do this, on the machine itself")]
    Forbidden,
    /// The request is larger than what is taken.
    #[error("{0}")]
    TooLarge(String),
    /// The request came in the clear.
    #[error("HTTPS is spoken here: write `https://` before the address")]
    NoTls,
    /// Nothing is served there.
    #[error("nothing is served at this address")]
    NoRoute,
    /// Something is there, but not for this method.
    #[error("this address does not take this method")]
    NoMethod,
    /// Something that was named is not there.
    #[error("there is no {0}")]
    NotFound(String),
    /// The connection is needed for more than an answer.
    #[error("this needs a connection of its own: ask with `Upgrade: {PROTOCOL}`, over HTTP/1.1")]
    NoUpgrade,
}

/// A kind of problem: status, the word for programs, the words for people.
type Sort = (StatusCode, &'static str, &'static str);

const BAD_REQUEST: Sort = (StatusCode::BAD_REQUEST, "bad-request", "Bad request");
const INVALID: Sort = (
    StatusCode::UNPROCESSABLE_ENTITY,
    "invalid",
    "It cannot be done with this input",
);
const NOT_FOUND: Sort = (StatusCode::NOT_FOUND, "not-found", "Not found");
const REFUSED: Sort = (
    StatusCode::CONFLICT,
    "refused",
    "Not possible as things are",
);
const UNAVAILABLE: Sort = (
    StatusCode::SERVICE_UNAVAILABLE,
    "unavailable",
    "Not possible at the moment",
);
const FULL: Sort = (StatusCode::INSUFFICIENT_STORAGE, "full", "No room left");
const TOO_LARGE: Sort = (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large");
const TOO_MANY: Sort = (
    StatusCode::TOO_MANY_REQUESTS,
    "too-many",
    "Too much at once",
);
const INTERNAL: Sort = (
    StatusCode::INTERNAL_SERVER_ERROR,
    "internal",
    "Internal error",
);

impl Error {
    fn sort(&self) -> Sort {
        match self {
            Self::Control(error) => of_control(error),
            Self::TooLarge(_) => TOO_LARGE,
            Self::BadRequest(_) | Self::NoTls => BAD_REQUEST,
            Self::NoUpgrade => (
                StatusCode::UPGRADE_REQUIRED,
                "bad-request",
                "Upgrade required",
            ),
            Self::Git(_) => INTERNAL,
            Self::Busy => TOO_MANY,
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "bad-request", "Too slow"),
            Self::Unauthorized | Self::UnauthorizedGit => {
                (StatusCode::UNAUTHORIZED, "unauthorized", "Not allowed")
            }
            Self::Forbidden | Self::BadWebhook(_) => {
                (StatusCode::FORBIDDEN, "forbidden", "Not allowed")
            }
            Self::NoRoute | Self::NotFound(_) => NOT_FOUND,
            Self::NoMethod => (
                StatusCode::METHOD_NOT_ALLOWED,
                "bad-request",
                "Method not allowed",
            ),
        }
    }

    /// Returns the problem details.
    pub(crate) fn problem(&self) -> Problem {
        let (status, kind, title) = self.sort();
        Problem {
            kind: kind.to_owned(),
            status: status.as_u16(),
            title: title.to_owned(),
            detail: chain(self),
        }
    }
}

fn of_control(error: &towpath_control::Error) -> Sort {
    use towpath_control::Error as Control;
    match error {
        Control::MissingSecrets(_)
        | Control::NeedsRelease { .. }
        | Control::PortOfEnvironment { .. }
        | Control::PortInUse(_)
        | Control::NotAdopted { .. }
        | Control::NoSource(_)
        | Control::Invalid(_) => INVALID,
        Control::Preview(refusal) if refusal.is_of_input() => INVALID,
        Control::RunRefused(refusal) if refusal.is_of_person() => {
            (StatusCode::FORBIDDEN, "forbidden", "Not allowed")
        }
        other if other.is_full() => FULL,
        Control::Busy => TOO_MANY,
        Control::Source(SourceError::TooLarge(_)) => TOO_LARGE,
        Control::Source(SourceError::Files { .. }) => INTERNAL,
        Control::Source(_) => INVALID,
        other => match other.kind() {
            Kind::NotFound => NOT_FOUND,
            Kind::Refused => REFUSED,
            Kind::Unavailable => UNAVAILABLE,
            Kind::Internal => INTERNAL,
        },
    }
}

/// Joins an error and its causes to one sentence, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::error!(
                status = problem.status,
                error = problem.detail,
                "a request failed"
            );
        }
        let body = serde_json::to_vec(&problem).expect("a problem has only plain fields");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = match self {
                Self::UnauthorizedGit => "Basic realm=\"Towpath\", charset=\"UTF-8\"",
                _ => "Bearer",
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use towpath_model::command::Refusal;
    use towpath_model::port::PortError;

    use super::*;

    fn status(error: towpath_control::Error) -> u16 {
        Error::from(error).problem().status
    }

    #[test]
    fn each_kind_of_failure_has_its_status() {
        let id = "shop/dev".parse().unwrap();
        assert_eq!(status(towpath_control::Error::NoEnvironment(id)), 404);
        assert_eq!(status(Refusal::NoDeployment.into()), 409);
        let address = "0.0.0.0:80".parse().unwrap();
        assert_eq!(status(towpath_control::Error::PortInUse(address)), 422);
        assert_eq!(status(towpath_control::Error::Stopping), 503);
        assert_eq!(Error::Unauthorized.problem().status, 401);
        assert_eq!(Error::BadRequest(String::new()).problem().status, 400);
    }

    #[test]
    fn the_detail_names_the_cause_once() {
        let failed = PortError::Failed {
            attempted: "start x".to_owned(),
            reason: "no such program".to_owned(),
        };
        let problem = Error::from(towpath_control::Error::from(failed)).problem();
        assert_eq!(
            problem.detail,
            "the engine or router failed: start x: no such program"
        );
        let refused = Error::from(towpath_control::Error::from(Refusal::NoDeployment)).problem();
        assert_eq!(refused.detail, "no deployment is under way");
    }
}
