//! HTTP over the control socket. Not what the calls do.
//!
//! | call | answer |
//! |---|---|
//! | `PUT /v1/table` | the report, when the table is in force and on disk; 409 for an older one |
//! | `GET /v1/report` | the report |
//! | `GET /v1/report?after_change=N&wait_ms=M` | the same, after a change or `M` ms |
//! | `GET /metrics` | text for Prometheus |
//!
//! Each report comes with the number of the last change in the field `towpath-change`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towpath_model::routing::RouterReport;

use super::{Call, Refused};
use crate::client::CHANGE;
use crate::config::Error;
use crate::shared::Shared;

/// Largest table that is taken, in bytes.
const MAX_TABLE: usize = 64 * 1024 * 1024;

/// The longest that a report waits for a change.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Opens the control socket, in place of one that nobody answers on.
pub(crate) async fn bind(path: &Path) -> Result<UnixListener, Error> {
    let failed = |source| Error::ControlSocket {
        path: path.to_owned(),
        source,
    };
    if UnixStream::connect(path).await.is_ok() {
        return Err(Error::AlreadyRunning {
            path: path.to_owned(),
        });
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

#[derive(Debug, Clone)]
struct Service {
    calls: mpsc::Sender<Call>,
    shared: Arc<Shared>,
}

/// Serves the control socket until `shutdown`.
pub(crate) async fn serve(
    listener: UnixListener,
    calls: mpsc::Sender<Call>,
    shared: Arc<Shared>,
    shutdown: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let service = Service { calls, shared };
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let io = match accepted {
            Ok((io, _)) => io,
            Err(error) => {
                tracing::error!(%error, "cannot accept on the control socket");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (service, closing) = (service.clone(), shutdown.clone());
        tasks.spawn(async move {
            let service = service_fn(|request| {
                let service = service.clone();
                async move { Ok::<_, std::convert::Infallible>(service.answer(request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(io), service);
            tokio::select! {
                () = closing.cancelled() => {}
                result = connection => if let Err(error) = result {
                    tracing::debug!(%error, "a control connection failed");
                },
            }
        });
    }
    tasks.close();
    tasks.wait().await;
}

type Reply = Response<Full<Bytes>>;

fn text(status: StatusCode, text: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(text)));
    *reply.status_mut() = status;
    reply
}

/// The process is stopping: nobody takes the call.
fn stopping() -> Reply {
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        "the router is stopping".to_owned(),
    )
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        match (request.method(), request.uri().path()) {
            (&Method::PUT, "/v1/table") => self.put(request).await,
            (&Method::GET, "/v1/report") => self.report(request.uri().query().unwrap_or("")).await,
            (&Method::GET, "/metrics") => self.metrics().await,
            _ => text(StatusCode::NOT_FOUND, "no such call".to_owned()),
        }
    }

    async fn put(&self, request: Request<Incoming>) -> Reply {
        let body = match Limited::new(request.into_body(), MAX_TABLE).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return text(StatusCode::BAD_REQUEST, error.to_string()),
        };
        let table = match serde_json::from_slice(&body) {
            Ok(table) => Box::new(table),
            Err(error) => return text(StatusCode::BAD_REQUEST, error.to_string()),
        };
        let change = self.change();
        let (reply, answer) = oneshot::channel();
        if self.calls.send(Call::Put(table, reply)).await.is_err() {
            return stopping();
        }
        match answer.await {
            Ok(Ok(report)) => json(&report, change),
            Ok(Err(refused @ Refused::Older { .. })) => {
                text(StatusCode::CONFLICT, refused.to_string())
            }
            Ok(Err(Refused::NotWritten(error))) => text(
                StatusCode::INSUFFICIENT_STORAGE,
                format!("the table is in force but could not be written to disk: {error}"),
            ),
            Err(_) => stopping(),
        }
    }

    async fn report(&self, query: &str) -> Reply {
        if let Some(after) = number(query, "after_change") {
            let wait = number(query, "wait_ms").map_or(MAX_WAIT, Duration::from_millis);
            let mut changes = self.shared.signals.changes.subscribe();
            let next = changes.wait_for(|&change| change != after);
            // With or without a change, the report is that of this moment.
            drop(tokio::time::timeout(wait.min(MAX_WAIT), next).await);
        }
        let change = self.change();
        let (reply, answer) = oneshot::channel();
        if self.calls.send(Call::Report(reply)).await.is_err() {
            return stopping();
        }
        answer
            .await
            .map_or_else(|_| stopping(), |report| json(&report, change))
    }

    async fn metrics(&self) -> Reply {
        let (reply, answer) = oneshot::channel();
        if self.calls.send(Call::Metrics(reply)).await.is_err() {
            return stopping();
        }
        let Ok(metrics) = answer.await else {
            return stopping();
        };
        let mut reply = text(StatusCode::OK, metrics);
        let kind = HeaderValue::from_static("text/plain; version=0.0.4");
        reply.headers_mut().insert(header::CONTENT_TYPE, kind);
        reply
    }

    /// The number of the last change. It is read before the report is made: a change between the
    /// two makes the next wait short, never too long.
    fn change(&self) -> u64 {
        *self.shared.signals.changes.borrow()
    }
}

fn json(report: &RouterReport, change: u64) -> Reply {
    match serde_json::to_vec(report) {
        Ok(json) => {
            let mut reply = Response::new(Full::new(Bytes::from(json)));
            let kind = HeaderValue::from_static("application/json");
            reply.headers_mut().insert(header::CONTENT_TYPE, kind);
            reply
                .headers_mut()
                .insert(CHANGE, HeaderValue::from(change));
            reply
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn number(query: &str, name: &str) -> Option<u64> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(key, _)| *key == name)
        .find_map(|(_, value)| value.parse().ok())
}
