//! One HTTP request and its answer, on a new or a kept connection. It neither paces nor counts.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::counts::FailureKind;
use crate::generator::Running;
use crate::plan::Kind;
use crate::tally::{Outcome, Start};

/// The most of a body that is looked at for the expected text.
const BODY_LOOKED_AT: usize = 1 << 20;

type Sender = SendRequest<Full<Bytes>>;

/// Where requests go, and the connections that are kept for them.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) target: SocketAddr,
    pub(crate) host: String,
    keep: usize,
    connections: Mutex<Connections>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Connections {
    idle: VecDeque<Sender>,
    open: usize,
    closing: bool,
}

/// A request that was lost, before it is an [`Outcome`].
struct Lost {
    kind: FailureKind,
    text: String,
}

impl Client {
    pub(crate) fn new(target: SocketAddr, host: &str, kind: Kind, tasks: TaskTracker) -> Self {
        let keep = match kind {
            Kind::KeepAlive { connections } => connections,
            Kind::Plain | Kind::Slow | Kind::WebSocket { .. } => 0,
        };
        Self {
            target,
            host: host.to_owned(),
            keep,
            connections: Mutex::default(),
            tasks,
        }
    }

    /// Closes the kept connections that nobody uses, and from now on each one after its use.
    pub(crate) fn close_idle(&self) {
        let mut connections = self.lock();
        connections.closing = true;
        connections.idle.clear();
    }

    /// Takes the kept connection that was unused for longest, once enough of them are open.
    fn take_idle(&self) -> Option<Sender> {
        let mut connections = self.lock();
        while connections.open >= self.keep {
            let sender = connections.idle.pop_front()?;
            if !sender.is_closed() {
                return Some(sender);
            }
            connections.open = connections.open.saturating_sub(1);
        }
        None
    }

    fn opened(&self) {
        self.lock().open += 1;
    }

    fn lost_one(&self) {
        let mut connections = self.lock();
        connections.open = connections.open.saturating_sub(1);
    }

    fn give_back(&self, sender: Sender) {
        let mut connections = self.lock();
        if connections.closing || sender.is_closed() || connections.idle.len() >= self.keep {
            connections.open = connections.open.saturating_sub(1);
        } else {
            connections.idle.push_back(sender);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives back the place of a connection that a cancelled or failed request had in use.
struct InUse<'a>(Option<&'a Client>);

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.0 {
            client.lost_one();
        }
    }
}

impl Running {
    /// Sends request `number` and counts what becomes of it.
    pub(crate) async fn ask(&self, number: u64, intended: Instant) {
        let start = Start {
            intended,
            actual: Instant::now(),
        };
        let limit = self.plan.timeout;
        let answer = match self.plan.kind {
            Kind::KeepAlive { .. } => timeout(limit, self.ask_kept(number)).await,
            Kind::Plain | Kind::Slow | Kind::WebSocket { .. } => {
                timeout(limit, self.ask_once(number)).await
            }
        };
        let outcome = match answer {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(Lost { kind, text })) => Outcome::lost(kind, text),
            Err(_) => Outcome::lost(
                FailureKind::Timeout,
                format!("{}: no complete answer within {limit:?}", self.plan.path),
            ),
        };
        self.tally.ended(start, outcome);
    }

    async fn ask_once(&self, number: u64) -> Result<Outcome, Lost> {
        let stream = connect(self.client.target).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(&error))?;
        let exchange = pin!(async {
            let answer = sender.send_request(self.request(number)?).await;
            self.read(answer.map_err(|error| lost(&error))?).await
        });
        // The connection is driven from here: a task for it would cost more than the request.
        match select(exchange, pin!(connection)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right((_, exchange)) => exchange.await,
        }
    }

    async fn ask_kept(&self, number: u64) -> Result<Outcome, Lost> {
        let mut request = self.request(number)?;
        if let Some(mut sender) = self.client.take_idle() {
            let in_use = InUse(Some(&self.client));
            match sender.try_send_request(request).await {
                Ok(response) => return self.finish(sender, response, in_use).await,
                Err(mut error) => match error.take_message() {
                    // Nothing of it was written: the server had closed the connection before.
                    Some(unsent) => request = unsent,
                    None => return Err(lost(&error.into_error())),
                },
            }
            drop(in_use);
            self.tally.reconnected();
        }
        let stream = connect(self.client.target).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(&error))?;
        self.client.tasks.spawn(async move {
            // Its errors reach the request that uses it.
            drop(connection.await);
        });
        self.client.opened();
        let in_use = InUse(Some(&self.client));
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| lost(&error))?;
        self.finish(sender, response, in_use).await
    }

    async fn finish(
        &self,
        sender: Sender,
        response: Response<Incoming>,
        mut in_use: InUse<'_>,
    ) -> Result<Outcome, Lost> {
        let outcome = self.read(response).await?;
        in_use.0 = None;
        self.client.give_back(sender);
        Ok(outcome)
    }

    fn request(&self, number: u64) -> Result<Request<Full<Bytes>>, Lost> {
        let plan = &self.plan;
        let numbered = |text: &str| text.replace("{n}", &number.to_string());
        let mut request = Request::builder()
            .method(plan.method.clone())
            .uri(numbered(&plan.path))
            .header(HOST, &self.client.host);
        if !matches!(plan.kind, Kind::KeepAlive { .. }) {
            request = request.header(CONNECTION, "close");
        }
        let body = match &plan.payload {
            None => Bytes::new(),
            Some(payload) => {
                request = request.header(CONTENT_TYPE, &payload.content_type);
                numbered(&payload.body).into()
            }
        };
        request.body(Full::new(body)).map_err(|error| Lost {
            kind: FailureKind::Protocol,
            text: error.to_string(),
        })
    }

    /// Reads an answer to its end and judges it.
    async fn read(&self, response: Response<Incoming>) -> Result<Outcome, Lost> {
        let status = response.status();
        let version = response
            .headers()
            .get(self.plan.version_header)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let mut body = response.into_body();
        let mut seen = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| lost(&error))?;
            if let (Some(_), Some(data)) = (&self.plan.expect, frame.data_ref()) {
                let room = BODY_LOOKED_AT.saturating_sub(seen.len());
                seen.extend(data.iter().take(room));
            }
        }
        Ok(judge(
            &self.plan.path,
            status.as_u16(),
            version,
            self.plan.expect.as_deref(),
            &seen,
        ))
    }
}

/// Decides what a complete answer means.
pub(crate) fn judge(
    path: &str,
    status: u16,
    version: Option<String>,
    expect: Option<&str>,
    body: &[u8],
) -> Outcome {
    let kind = match (status, version) {
        (500.., Some(version)) => return Outcome::OwnError { version },
        (500.., None) => (FailureKind::Status5xx, None),
        (400..500, version) => (FailureKind::Status4xx, version),
        (_, version) => {
            if expect.is_none_or(|text| String::from_utf8_lossy(body).contains(text)) {
                return Outcome::Good { version };
            }
            (FailureKind::WrongBody, version)
        }
    };
    let (kind, version) = kind;
    let text = match (kind, expect) {
        (FailureKind::WrongBody, Some(expect)) => {
            format!("{path}: answered {status} without {expect:?}")
        }
        _ => format!("{path}: answered {status}"),
    };
    Outcome::Lost {
        kind,
        text,
        version,
    }
}

async fn connect(target: SocketAddr) -> Result<TcpStream, Lost> {
    let stream = TcpStream::connect(target).await.map_err(|error| Lost {
        kind: FailureKind::Connect,
        text: format!("cannot connect to {target}: {error}"),
    })?;
    // Only delays small writes when it fails.
    drop(stream.set_nodelay(true));
    Ok(stream)
}

/// Sorts an error of an open connection.
fn lost(error: &hyper::Error) -> Lost {
    let ended = error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        || error.is_body_write_aborted();
    let kind = if ended || caused_by_io(error) {
        FailureKind::Reset
    } else {
        FailureKind::Protocol
    };
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    Lost { kind, text }
}

fn caused_by_io(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<io::Error>() {
            return true;
        }
        source = cause.source();
    }
    false
}
