//! HTTP/2 from clients, with prior knowledge. Not HTTP/1.1.

mod websocket;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::codec::Noted;
use crate::forward::{Origin, Outcome, forward, reply};
use crate::interim::Interim;
use crate::upstream::h2::Tasks;

/// Streams at once on one connection.
const MAX_STREAMS: u32 = 200;

/// A socket of which the first bytes were read already.
#[derive(Debug)]
struct Rewound {
    prefix: BytesMut,
    io: TcpStream,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buffer);
        }
        let length = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(self.prefix.get(..length).unwrap_or_default());
        self.prefix.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Serves a connection whose first bytes are the preface.
pub(super) async fn serve(
    io: TcpStream,
    prefix: BytesMut,
    origin: Origin,
    closing: CancellationToken,
) {
    let head_bytes = u32::try_from(origin.shared.limits.head_bytes).unwrap_or(u32::MAX);
    let keep_alive = origin.shared.limits.keep_alive;
    let tasks = Tasks(origin.tasks.clone());
    let service = service_fn(|request| {
        let origin = origin.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&origin, request).await) }
    });
    let connection = http2::Builder::new(tasks)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .enable_connect_protocol()
        .max_header_list_size(head_bytes)
        .adaptive_window(true)
        .keep_alive_interval(keep_alive)
        .keep_alive_timeout(Duration::from_secs(20))
        .serve_connection(TokioIo::new(Rewound { prefix, io }), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an HTTP/2 connection of a client failed");
    }
}

async fn answer(origin: &Origin, request: Request<Incoming>) -> Response<Body> {
    if websocket::is_opening(&request) {
        return websocket::open(origin, request).await;
    }
    let request = request.map(|body| {
        if http_body::Body::is_end_stream(&body) {
            Body::Empty
        } else {
            Body::Stream(body)
        }
    });
    match forward(origin, request, Noted::ALL, &Interim::untold()).await {
        Outcome::Response(response) => response,
        // A request over HTTP/2 never asks for an upgrade, so this answer was not asked for.
        Outcome::Switch(..) => reply(StatusCode::BAD_GATEWAY, "the service switched protocols"),
    }
}
