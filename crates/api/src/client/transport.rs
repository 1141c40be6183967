//! How a request gets to the control plane: one connection for each, over a unix socket, TCP, or
//! TLS. Not what is in it.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_util::io::ReaderStream;

use super::secure::{Connector, HandshakeError};
use super::{ACTOR, Error};
use crate::frame::PROTOCOL;
use crate::problem::Problem;

/// How long a connection may take to be opened.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a handshake of TLS may take after that.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is read as a whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[derive(Clone)]
enum Address {
    Unix { socket: PathBuf, actor: String },
    Tcp { address: String, token: String },
    Tls { connector: Connector, token: String },
}

/// The way to one control plane.
#[derive(Clone)]
pub(super) struct Transport {
    address: Address,
}

impl std::fmt::Debug for Transport {
    /// Writes the address; never the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Transport").field(&self.address()).finish()
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Transport {
    pub(super) fn unix(socket: PathBuf, actor: String) -> Self {
        Self {
            address: Address::Unix { socket, actor },
        }
    }

    pub(super) fn tcp(address: String, token: String) -> Self {
        Self {
            address: Address::Tcp { address, token },
        }
    }

    pub(super) fn tls(connector: Connector, token: String) -> Self {
        Self {
            address: Address::Tls { connector, token },
        }
    }

    pub(super) fn address(&self) -> String {
        match &self.address {
            Address::Tls { connector, .. } => format!("https://{}", connector.remote.authority),
            Address::Unix { socket, .. } => socket.display().to_string(),
            Address::Tcp { address, .. } => address.clone(),
        }
    }

    /// Sends a request. Returns its answer when it is a success, the problem when it is not.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Answer, Error> {
        let request = self.request(method, path, body)?;
        let (answer, connection) = self.exchange(request).await?;
        let (parts, body) = answer.into_parts();
        let answer = Answer {
            body,
            _connection: connection,
        };
        if parts.status.is_success() {
            return Ok(answer);
        }
        Err(problem(parts.status, answer).await)
    }

    /// Sends a request that takes the connection over. Returns what is left of it, and the task that
    /// it lives by.
    pub(super) async fn upgrade(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<(TokioIo<Upgraded>, JoinSet<()>), Error> {
        let mut request = self.request(method, path, body)?;
        let fields = request.headers_mut();
        fields.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        fields.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
        let (answer, connection) = self.exchange(request).await?;
        let status = answer.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let answer = Answer {
                body: answer.into_body(),
                _connection: connection,
            };
            return Err(problem(status, answer).await);
        }
        let upgraded = hyper::upgrade::on(answer).await.map_err(broken)?;
        Ok((TokioIo::new(upgraded), connection))
    }

    /// Opens a connection and sends a request over it.
    async fn exchange(
        &self,
        request: Request<Frames>,
    ) -> Result<(Response<Incoming>, JoinSet<()>), Error> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect().await?))
            .await
            .map_err(broken)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // What goes wrong with the connection is seen by the request on it.
            drop(connection.with_upgrades().await);
        });
        let answer = sender.send_request(request).await.map_err(broken)?;
        Ok((answer, tasks))
    }

    async fn connect(&self) -> Result<Pin<Box<dyn Io>>, Error> {
        let unreachable = |source| Error::Unreachable {
            address: self.address(),
            source,
        };
        let opened = CONNECT_TIMEOUT;
        Ok(match &self.address {
            Address::Unix { socket, .. } => {
                let stream = within(opened, UnixStream::connect(socket)).await;
                Box::pin(stream.map_err(unreachable)?)
            }
            Address::Tcp { address, .. } => {
                let stream = within(opened, TcpStream::connect(address)).await;
                Box::pin(stream.map_err(unreachable)?)
            }
            Address::Tls { connector, .. } => {
                let place = (connector.remote.host.as_str(), connector.remote.port);
                let stream = within(opened, TcpStream::connect(place)).await;
                let shaken = connector.shake_hands(stream.map_err(unreachable)?);
                let shaken = within(HANDSHAKE_TIMEOUT, shaken).await;
                Box::pin(shaken.map_err(|error| match error {
                    HandshakeError::Io(source) => unreachable(source),
                    HandshakeError::Untrusted(reason) => Error::Untrusted {
                        address: self.address(),
                        reason,
                    },
                })?)
            }
        })
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Result<Request<Frames>, Error> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(kind) = body.content_type {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        request = match &self.address {
            Address::Unix { actor, .. } => request
                .header(header::HOST, "towpath")
                .header(ACTOR, actor.escape_default().to_string()),
            Address::Tcp { address, token } => request
                .header(header::HOST, address)
                .header(header::AUTHORIZATION, bearer(token)?),
            Address::Tls { connector, token } => request
                .header(header::HOST, &connector.remote.authority)
                .header(header::AUTHORIZATION, bearer(token)?),
        };
        request.body(body.frames).map_err(broken)
    }
}

fn bearer(token: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(broken)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Waits for something, so long at most.
async fn within<T, E: From<io::Error>>(
    longest: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let done = tokio::time::timeout(longest, work).await;
    done.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

/// Reads why a request was not done.
async fn problem(status: StatusCode, answer: Answer) -> Error {
    let bytes = match answer.collect().await {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    Error::Problem(serde_json::from_slice(&bytes).unwrap_or_else(|_| Problem {
        kind: "unknown".to_owned(),
        status: status.as_u16(),
        title: status.to_string(),
        detail: format!("the control plane answered {status}"),
    }))
}

pub(super) fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Broken(error.into())
}

type Frames = UnsyncBoxBody<Bytes, io::Error>;

/// The body of a request.
pub(super) struct Body {
    frames: Frames,
    content_type: Option<&'static str>,
}

impl Body {
    pub(super) fn empty() -> Self {
        Self {
            frames: Empty::new().map_err(|never| match never {}).boxed_unsync(),
            content_type: None,
        }
    }

    pub(super) fn json(bytes: Bytes) -> Self {
        Self {
            content_type: Some("application/json"),
            ..Self::bytes(bytes)
        }
    }

    pub(super) fn bytes(bytes: Bytes) -> Self {
        Self {
            frames: Full::new(bytes)
                .map_err(|never| match never {})
                .boxed_unsync(),
            content_type: Some("application/octet-stream"),
        }
    }

    pub(super) fn file(file: tokio::fs::File) -> Self {
        let frames = ReaderStream::with_capacity(file, 64 * 1024).map_ok(Frame::data);
        Self {
            frames: StreamBody::new(frames).boxed_unsync(),
            content_type: Some("application/gzip"),
        }
    }
}

/// The answer to a request. The connection is kept as long as it is read.
#[derive(Debug)]
pub(super) struct Answer {
    body: Incoming,
    _connection: JoinSet<()>,
}

impl Answer {
    /// Reads it whole.
    pub(super) async fn collect(mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next().await? {
            if bytes.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(broken("the answer is too large"));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Returns the next piece; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}
