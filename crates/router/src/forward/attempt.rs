//! One attempt: a connection, the request over it, the head of the answer. Not whether another
//! attempt follows.

use std::io;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;

use super::{Origin, Outcome, Tunnel, reply};
use crate::admission::Pick;
use crate::body::Body;
use crate::codec::Noted;
use crate::headers::{expects_continue, is_grpc, is_idempotent, strip_hop_by_hop};
use crate::instance::{InFlight, Instance};
use crate::interim::Interim;
use crate::table::{Policy, Route};
use crate::upstream::h1::{Answer, Bounds, Connection, Failure, FailureKind, Head};
use crate::upstream::h2::Multiplexed;

/// Servers may close a connection that was idle for longer at any moment.
const REUSE_AGE: Duration = Duration::from_secs(50);

/// The same for requests that cannot be sent twice: no server in use closes one so soon.
const FRESH_REUSE_AGE: Duration = Duration::from_secs(1);

/// What is sent.
pub(super) struct Outgoing<'a> {
    pub(super) parts: &'a Parts,
    pub(super) body: Body,
    pub(super) interim: &'a Interim,
}

/// The head of an answer, and where the rest of it comes from.
pub(super) enum Received {
    H1(Box<Answer>),
    H2(Box<Response<Incoming>>),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// No connection: the request was not sent.
    #[error("no connection: {0}")]
    Connect(io::Error, Option<Body>),
    /// The exchange failed.
    #[error("{}", .0.kind)]
    Exchange(Box<Failure>),
    /// The HTTP/2 exchange failed.
    #[error("the stream failed: {0}")]
    Stream(hyper::Error),
    /// The HTTP/2 backend did not answer in time.
    #[error("no answer in time")]
    Timeout,
}

/// Sends a request to the backend of `pick`.
pub(super) async fn send(
    origin: &Origin,
    outgoing: Outgoing<'_>,
    pick: &Pick,
) -> Result<Received, Fault> {
    let instance = pick.lease.instance();
    let policy = &pick.route.policy;
    let sent = if is_grpc(&outgoing.parts.headers, outgoing.parts.version) {
        send_h2(origin, outgoing, instance, policy).await
    } else {
        send_h1(origin, outgoing, instance, policy).await
    };
    match &sent {
        Err(Fault::Connect(error, _)) if is_refusal(error) => instance.eject(),
        _ => {}
    }
    sent
}

/// Whether the instance, and not this machine, is why there is no connection.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::TimedOut
    )
}

async fn send_h1(
    origin: &Origin,
    outgoing: Outgoing<'_>,
    instance: &Instance,
    policy: &Policy,
) -> Result<Received, Fault> {
    let Outgoing {
        parts,
        mut body,
        interim,
    } = outgoing;
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let expects_continue = !body.is_empty() && expects_continue(&parts.headers);
    let head = Head {
        method: &parts.method,
        target,
        headers: &parts.headers,
        expects_continue,
        interim,
        header_maps: &origin.header_maps,
    };
    let bounds = Bounds {
        response_timeout: policy.response_timeout,
        idle_timeout: policy.idle_timeout,
        max_body_bytes: policy.max_body_bytes,
    };
    let idempotent = is_idempotent(&parts.method);
    loop {
        let connection = match idle(instance, origin.worker, idempotent) {
            Some(connection) => connection,
            None => match Connection::open(instance, policy.connect_timeout).await {
                Ok(connection) => connection,
                Err(error) => return Err(Fault::Connect(error, Some(body))),
            },
        };
        let reused = connection.is_reused();
        match connection.send(head, body, bounds).await {
            Ok(answer) => return Ok(Received::H1(Box::new(answer))),
            // The backend closed an idle connection while the request was under way: the same
            // backend is asked again, until a connection is not an old one.
            Err(mut failure) if reused && idempotent && failure.is_closed_unanswered() => {
                let Some(untouched) = failure.body.take() else {
                    return Err(Fault::Exchange(failure));
                };
                body = untouched;
            }
            Err(failure) => return Err(Fault::Exchange(failure)),
        }
    }
}

fn idle(instance: &Instance, worker: usize, idempotent: bool) -> Option<Box<Connection>> {
    if idempotent {
        return instance.take_idle(worker, REUSE_AGE);
    }
    instance
        .take_idle(worker, FRESH_REUSE_AGE)
        .filter(|connection| connection.is_surely_open())
}

async fn send_h2(
    origin: &Origin,
    outgoing: Outgoing<'_>,
    instance: &Instance,
    policy: &Policy,
) -> Result<Received, Fault> {
    let Outgoing { parts, body, .. } = outgoing;
    let opened = Multiplexed::get(
        instance,
        origin.worker,
        policy.connect_timeout,
        &origin.tasks,
    )
    .await;
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(error) => return Err(Fault::Connect(error, Some(body))),
    };
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = parts.headers.clone();
    request.headers_mut().remove(header::HOST);
    // The time counts from the call: the body of a gRPC stream may go on for as long as it likes.
    match tokio::time::timeout(policy.response_timeout, connection.send(request)).await {
        Ok(Ok(response)) => Ok(Received::H2(Box::new(response))),
        Ok(Err(error)) => Err(Fault::Stream(error)),
        Err(_) => Err(Fault::Timeout),
    }
}

impl Received {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::H1(answer) => answer.head.status,
            Self::H2(response) => response.status(),
        }
    }

    /// Makes what the client gets.
    pub(super) fn finish(
        self,
        lease: InFlight,
        worker: usize,
        route: &Route,
        cookie: Option<HeaderValue>,
    ) -> Outcome {
        match self {
            Self::H1(answer) if answer.head.status == StatusCode::SWITCHING_PROTOCOLS => {
                switch(*answer, lease, route)
            }
            Self::H1(mut answer) => {
                let mut response = Response::new(Body::Empty);
                *response.status_mut() = answer.head.status;
                *response.headers_mut() = std::mem::take(&mut answer.head.headers);
                let noted = answer.head.noted;
                *response.body_mut() = answer.into_body(lease, worker);
                respond(response, noted, cookie)
            }
            Self::H2(response) => {
                let response = response.map(|body| Body::Leased(body, lease));
                respond(response, Noted::ALL, cookie)
            }
        }
    }
}

fn respond(mut response: Response<Body>, noted: Noted, cookie: Option<HeaderValue>) -> Outcome {
    if noted.has_any_of_one_connection() {
        strip_hop_by_hop(response.headers_mut());
    }
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Outcome::Response(response)
}

fn switch(mut answer: Answer, lease: InFlight, route: &Route) -> Outcome {
    let mut headers = std::mem::take(&mut answer.head.headers);
    let Some(protocol) = headers.get(header::UPGRADE).cloned() else {
        return Outcome::Response(reply(
            StatusCode::BAD_GATEWAY,
            "the service switched to nothing",
        ));
    };
    strip_hop_by_hop(&mut headers);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    let (io, early) = answer.into_connection().into_parts();
    let tunnel = Tunnel {
        io,
        early,
        idle_timeout: route.policy.idle_timeout,
        lease: lease.upgrade(),
    };
    Outcome::Switch(Box::new(response), Box::new(tunnel))
}

impl Fault {
    /// The status and the words for a fault that is the client's.
    pub(super) fn client_status(&self) -> Option<(StatusCode, &'static str)> {
        let Self::Exchange(failure) = self else {
            return None;
        };
        match failure.kind {
            FailureKind::TooLarge => Some((
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is larger than this route allows",
            )),
            FailureKind::RequestBody(_) => {
                Some((StatusCode::BAD_REQUEST, "the body of the request is broken"))
            }
            FailureKind::Closed(_) | FailureKind::Timeout | FailureKind::Malformed(_) => None,
        }
    }

    /// The status that the client gets when nothing else answers.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Exchange(failure) if matches!(failure.kind, FailureKind::Timeout) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Connect(error, _) if error.kind() == io::ErrorKind::TimedOut => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Connect(..) | Self::Exchange(_) | Self::Stream(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether the request may be sent to another backend: it was certainly not processed, or
    /// processing it twice does no harm and it did not time out.
    pub(super) fn may_retry(&self, idempotent: bool) -> bool {
        match self {
            Self::Connect(..) => true,
            Self::Exchange(failure) => {
                idempotent
                    && matches!(failure.kind, FailureKind::Closed(_))
                    && !failure.answer_begun
            }
            Self::Stream(_) | Self::Timeout => false,
        }
    }

    /// Returns the request's body, if nothing was taken from it.
    pub(super) fn into_body(self) -> Option<Body> {
        match self {
            Self::Connect(_, body) => body,
            Self::Exchange(failure) => failure.body,
            Self::Stream(_) | Self::Timeout => None,
        }
    }
}
