//! WebSocket over HTTP/2 (RFC 8441): an extended CONNECT of a client becomes the upgrade of HTTP/1.1
//! that backends know, and its stream the client's end of a tunnel. Not other protocols.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;

use crate::body::Body;
use crate::codec::Noted;
use crate::downstream::h1::ClientEnd;
use crate::forward::{Origin, Outcome, forward, reply};
use crate::interim::Interim;

/// Whether `request` opens a WebSocket.
pub(super) fn is_opening(request: &Request<Incoming>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    request.method() == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// Opens a WebSocket to a backend and returns what the client gets.
pub(super) async fn open(origin: &Origin, mut request: Request<Incoming>) -> Response<Body> {
    let opened = hyper::upgrade::on(&mut request);
    let (mut parts, _) = request.into_parts();
    parts.method = Method::GET;
    parts.version = Version::HTTP_11;
    ask_for_upgrade(&mut parts.headers);
    let request = Request::from_parts(parts, Body::Empty);
    let (head, tunnel) = match forward(origin, request, Noted::ALL, &Interim::untold()).await {
        Outcome::Switch(head, tunnel) => (head, tunnel),
        // To the client it would say that the WebSocket is open (RFC 8441 section 5).
        Outcome::Response(response) if response.status().is_success() => {
            return reply(
                StatusCode::BAD_GATEWAY,
                "the service does not switch protocols",
            );
        }
        Outcome::Response(response) => return response,
    };
    origin.tasks.spawn(async move {
        match opened.await {
            Ok(client) => {
                let client = ClientEnd {
                    io: TokioIo::new(client),
                    early: BytesMut::new(),
                };
                crate::tunnel::run(client, *tunnel).await;
            }
            Err(error) => tracing::debug!(%error, "a client left before its WebSocket was open"),
        }
    });
    let mut response = Response::new(Body::Empty);
    *response.headers_mut() = head.into_parts().0.headers;
    for name in [
        header::CONNECTION,
        header::UPGRADE,
        header::SEC_WEBSOCKET_ACCEPT,
    ] {
        response.headers_mut().remove(name);
    }
    response
}

/// Adds what a client of HTTP/1.1 sends and one of HTTP/2 does not (RFC 8441 section 5).
fn ask_for_upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let key = STANDARD.encode(rand::random::<u128>().to_be_bytes());
    if let Ok(key) = HeaderValue::try_from(key) {
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
}
