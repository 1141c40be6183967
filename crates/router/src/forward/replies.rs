//! Answers that the router gives itself. Not those of backends.

use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::time::Instant;
use towpath_model::routing::RouteMode;

use crate::body::Body;
use crate::table::Route;

/// Makes a plain answer.
pub(crate) fn reply(status: StatusCode, reason: &str) -> Response<Body> {
    let text = format!(
        "{} {}: {reason}\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("")
    );
    page(status, "text/plain; charset=utf-8", Bytes::from(text))
}

/// Marks an answer after which the connection is closed: what the client sends next cannot be
/// trusted to begin where it seems to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CloseAfter;

/// Makes the answer to a request that breaks the rules of HTTP.
pub(super) fn bad_request(rule: &str) -> Response<Body> {
    let mut response = reply(StatusCode::BAD_REQUEST, rule);
    response.extensions_mut().insert(CloseAfter);
    response
}

fn page(status: StatusCode, kind: &'static str, text: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::Full(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Makes the answer for a request that `route` cannot forward, and counts it.
pub(super) fn refusal(route: &Route, status: StatusCode) -> Response<Body> {
    route.state.refuse(status);
    let reason = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "the body is larger than this route allows",
        StatusCode::TOO_MANY_REQUESTS => "more requests than this route allows",
        StatusCode::BAD_GATEWAY => "the service failed before it answered",
        StatusCode::GATEWAY_TIMEOUT => "the service did not answer in time",
        _ => "the service is not available",
    };
    let mut response = reply(status, reason);
    if matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Makes the maintenance page of `route`.
pub(super) fn maintenance(route: &Route) -> Response<Body> {
    let RouteMode::Maintenance {
        page: html,
        retry_after_s,
    } = &route.mode
    else {
        return refusal(route, StatusCode::SERVICE_UNAVAILABLE);
    };
    let mut response = match html {
        Some(html) => {
            let html = Bytes::copy_from_slice(html.as_bytes());
            page(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/html; charset=utf-8",
                html,
            )
        }
        None => reply(
            StatusCode::SERVICE_UNAVAILABLE,
            "down for maintenance, back soon",
        ),
    };
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(*retry_after_s));
    response
}

/// Returns the nanoseconds since the first call, which is all that a rate needs.
pub(super) fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}
