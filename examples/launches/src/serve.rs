//! HTTP on a listener until told to stop, and then to the end of what was begun. It knows no paths.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lifecycle::{Stop, say};

/// A client that does not send its request's head in this time is not waited for.
const HEAD: Duration = Duration::from_secs(30);
/// The pause after the system could not give a connection, normally for want of file descriptors.
const BREATH: Duration = Duration::from_millis(50);

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;
pub(crate) type Answer = Response<Body>;

/// Answers with a text.
pub(crate) fn text(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()).boxed_unsync());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    answer
}

/// Answers with a value as JSON.
pub(crate) fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => text(status, "application/json", bytes),
        Err(error) => {
            say(&format!("launches: cannot write an answer: {error}"));
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain; charset=utf-8",
                "cannot answer\n",
            )
        }
    }
}

/// Listens; the error names the address.
pub(crate) async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })
}

/// Serves until `stop`, then finishes the requests that were begun, for at most `grace`.
pub(crate) async fn serve<H, F>(listener: TcpListener, stop: &Stop, grace: Duration, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let finish = CancellationToken::new();
    let abandon = CancellationToken::new();
    let connections = TaskTracker::new();
    let begin = |stream| {
        let serving = connection(stream, finish.clone(), handler.clone());
        let abandoned = abandon.clone().cancelled_owned();
        connections.spawn(async move {
            tokio::select! {
                () = serving => {}
                () = abandoned => {}
            }
        });
    };
    loop {
        tokio::select! {
            () = stop.asked() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => begin(stream),
                Err(error) => {
                    say(&format!("launches: cannot accept a connection: {error}"));
                    tokio::time::sleep(BREATH).await;
                }
            },
        }
    }
    // Closing the listener resets connections that the system has accepted and we have not.
    while let Some(Ok((stream, _))) = listener.accept().now_or_never() {
        begin(stream);
    }
    drop(listener);
    finish.cancel();
    connections.close();
    if tokio::time::timeout(grace, connections.wait())
        .await
        .is_err()
    {
        say(&format!(
            "launches: {} connections were not finished in time",
            connections.len()
        ));
        abandon.cancel();
        connections.wait().await;
    }
}

async fn connection<H, F>(stream: TcpStream, finish: CancellationToken, handler: H)
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Answer>,
{
    // Only delays small writes when it fails.
    drop(stream.set_nodelay(true));
    let service = service_fn(|request| handler(request).map(Ok::<_, Infallible>));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // Errors here are clients that went away or do not speak HTTP: nobody is left to tell.
    tokio::select! {
        result = &mut connection => drop(result),
        () = finish.cancelled() => {
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    }
}
