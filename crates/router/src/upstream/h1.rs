//! One HTTP/1.1 connection to a backend and the exchanges on it. Not when one is retried.
//!
//! There is no task for a connection: the task that has the request reads and writes the socket
//! itself, which saves two wake-ups per request, and knows exactly how far an exchange had come
//! when it failed, which is what retries are decided by.

mod response;

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::body::{Body, BodyError};
use crate::codec::{
    HeadError, HeadLimits, ResponseHead, parse_response, write_fields, write_request,
};
use crate::header_maps::HeaderMaps;
use crate::instance::Instance;
use crate::interim::Interim;
use crate::receive::poll_read;
use crate::transfer::{Framing, Outbox, SendError, write_framing};
use crate::watchdog::Watchdog;
pub(crate) use response::ResponseBody;

const HEAD_LIMITS: HeadLimits = HeadLimits {
    bytes: 128 * 1024,
    fields: 128,
};

/// How long a client that sent `Expect: 100-continue` is kept waiting for a backend's word.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// An open connection to a backend. It is kept in a box: it changes hands often, and is large.
#[derive(Debug)]
pub(crate) struct Connection {
    io: TcpStream,
    read: BytesMut,
    outbox: Outbox,
    watchdog: Watchdog,
    idle_since: Instant,
    reused: bool,
}

/// What is sent, apart from the body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a Method,
    pub(crate) target: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// Whether the body waits for `100 Continue`.
    pub(crate) expects_continue: bool,
    /// Where interim answers go.
    pub(crate) interim: &'a Interim,
    pub(crate) header_maps: &'a HeaderMaps,
}

/// The bounds of one exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) response_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_body_bytes: u64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FailureKind {
    /// The connection ended before the head of an answer.
    #[error("the connection ended before an answer: {0}")]
    Closed(io::Error),
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
    /// What came is not HTTP/1.1.
    #[error("the answer cannot be read: {0}")]
    Malformed(HeadError),
    /// The request's body failed, by the client's fault.
    #[error("the request's body failed: {0}")]
    RequestBody(BodyError),
    /// The request's body is too large.
    #[error("the request's body is too large")]
    TooLarge,
}

/// An exchange without an answer.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// The request's body, if nothing was taken from it.
    pub(crate) body: Option<Body>,
    /// Whether any byte of an answer had come.
    pub(crate) answer_begun: bool,
}

impl Failure {
    /// Whether the connection ended before any byte of an answer.
    pub(crate) fn is_closed_unanswered(&self) -> bool {
        matches!(self.kind, FailureKind::Closed(_)) && !self.answer_begun
    }
}

/// A response's head, and the connection with the rest of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: ResponseHead,
    exchange: Exchange,
}

#[derive(Debug)]
struct Exchange {
    connection: Box<Connection>,
    body: Body,
    framing: Framing,
    upload: Upload,
    bounds: Bounds,
    body_touched: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upload {
    /// Only the head goes out, until the backend asks for the body or this instant comes.
    Waiting(Instant),
    Sending,
    Done,
    /// The backend does not read any more; it may still answer.
    Refused,
}

impl Connection {
    /// Opens a connection to `instance`.
    pub(crate) async fn open(instance: &Instance, timeout: Duration) -> io::Result<Box<Self>> {
        let connecting = TcpStream::connect(instance.address);
        let io = tokio::time::timeout(timeout, connecting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        io.set_nodelay(true)?;
        Ok(Box::new(Self {
            io,
            read: BytesMut::new(),
            outbox: Outbox::default(),
            watchdog: Watchdog::default(),
            idle_since: Instant::now(),
            reused: false,
        }))
    }

    /// Whether the connection has already served a request.
    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(crate) fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.idle_since)
    }

    /// Whether an idle connection can still be used: the backend neither closed it nor sent
    /// anything.
    pub(crate) fn is_open(&self) -> bool {
        let read = self.io.try_read(&mut [0]);
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether the kernel, asked directly, knows of no end of the connection.
    pub(crate) fn is_surely_open(&self) -> bool {
        use rustix::net::RecvFlags;
        let mut byte = [0];
        let peeked = rustix::net::recv(&self.io, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Err(rustix::io::Errno::AGAIN))
    }

    /// Takes the connection apart for a tunnel: the socket, and what was read beyond the head.
    pub(crate) fn into_parts(self) -> (TcpStream, BytesMut) {
        (self.io, self.read)
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        mut self: Box<Self>,
        head: Head<'_>,
        body: Body,
        bounds: Bounds,
    ) -> Result<Answer, Box<Failure>> {
        self.outbox.reset();
        let out = &mut self.outbox.out;
        write_request(out, head.method, head.target);
        write_fields(out, head.headers);
        let framing = request_framing(&body, head.method);
        write_framing(out, framing);
        out.extend_from_slice(b"\r\n");
        let upload = if head.expects_continue && !body.is_empty() {
            Upload::Waiting(Instant::now() + CONTINUE_WAIT)
        } else {
            Upload::Sending
        };
        let mut exchange = Exchange {
            connection: self,
            body_touched: false,
            framing: framing.unwrap_or(Framing::Close),
            body,
            upload,
            bounds,
        };
        exchange.connection.watchdog.clear();
        match poll_fn(|cx| exchange.poll_answer(cx, head)).await {
            Ok(head) => Ok(Answer { head, exchange }),
            Err(kind) => Err(Box::new(Failure {
                kind,
                answer_begun: !exchange.connection.read.is_empty(),
                body: exchange.untouched_body(),
            })),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        poll_read(cx, &mut self.io, &mut self.read)
    }
}

/// How a request's body is framed; a request without one says nothing unless its method means that
/// there usually is one (RFC 9110 section 8.6).
fn request_framing(body: &Body, method: &Method) -> Option<Framing> {
    if body.is_empty() {
        let usual = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        return usual.then_some(Framing::Length(0));
    }
    let length = http_body::Body::size_hint(body).exact();
    Some(length.map_or(Framing::Chunked, Framing::Length))
}

impl Exchange {
    fn untouched_body(self) -> Option<Body> {
        if matches!(self.body, Body::Empty) && self.outbox_sent() == 0 {
            return Some(Body::Empty);
        }
        (!self.body_touched).then_some(self.body)
    }

    fn outbox_sent(&self) -> u64 {
        self.connection.outbox.sent()
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        request: Head<'_>,
    ) -> Poll<Result<ResponseHead, FailureKind>> {
        self.poll_upload(cx)?;
        loop {
            let read = &mut self.connection.read;
            if !read.is_empty() {
                let (method, maps) = (request.method, request.header_maps);
                let parsed = parse_response(read, HEAD_LIMITS, method, maps);
                match parsed.map_err(FailureKind::Malformed)? {
                    Some(head) if is_interim(head.status) => {
                        if head.status == StatusCode::CONTINUE {
                            self.start_upload();
                            self.poll_upload(cx)?;
                        }
                        request.interim.tell(head);
                        continue;
                    }
                    Some(head) => return Poll::Ready(Ok(head)),
                    None => {}
                }
            }
            match self.connection.poll_read(cx) {
                Poll::Ready(Ok(0)) => {
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Err(FailureKind::Closed(error)));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(FailureKind::Closed(error))),
                Poll::Pending => return self.poll_deadline(cx).map(Err),
            }
        }
    }

    /// Is ready when nothing came in time.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<FailureKind> {
        if !self.connection.watchdog.is_set() {
            match self.upload {
                Upload::Waiting(until) => self.connection.watchdog.set_at(until),
                Upload::Sending => self.connection.watchdog.set(self.bounds.idle_timeout),
                Upload::Done | Upload::Refused => {
                    self.connection.watchdog.set(self.bounds.response_timeout);
                }
            }
        }
        ready!(self.connection.watchdog.poll(cx));
        if matches!(self.upload, Upload::Waiting(_)) {
            self.start_upload();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(FailureKind::Timeout)
    }

    fn start_upload(&mut self) {
        if matches!(self.upload, Upload::Waiting(_)) {
            self.upload = Upload::Sending;
            self.connection.watchdog.clear();
        }
    }

    /// Sends as much of the request as goes. A backend that stops reading is no failure yet: it
    /// may have answered.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), FailureKind> {
        let connection = &mut self.connection;
        let sent = connection.outbox.sent();
        let result = match self.upload {
            Upload::Done | Upload::Refused => return Ok(()),
            Upload::Waiting(_) => match connection.outbox.poll_flush(cx, &mut connection.io) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(SendError::Io(error))),
                Poll::Ready(Ok(())) | Poll::Pending => return Ok(()),
            },
            Upload::Sending => {
                self.body_touched = true;
                connection.outbox.poll_send(
                    cx,
                    &mut connection.io,
                    &mut self.body,
                    &mut self.framing,
                    self.bounds.max_body_bytes,
                )
            }
        };
        if connection.outbox.sent() != sent {
            connection.watchdog.clear();
        }
        self.upload = match result {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => Upload::Done,
            Poll::Ready(Err(SendError::Io(_))) => Upload::Refused,
            Poll::Ready(Err(SendError::TooLarge)) => return Err(FailureKind::TooLarge),
            Poll::Ready(Err(SendError::WrongLength)) => {
                return Err(FailureKind::RequestBody(BodyError::Truncated));
            }
            Poll::Ready(Err(SendError::Body(error))) => {
                return Err(FailureKind::RequestBody(error));
            }
        };
        connection.watchdog.clear();
        Ok(())
    }
}

/// Whether another head follows this one.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

impl Answer {
    /// Takes the connection, after `101 Switching Protocols`.
    pub(crate) fn into_connection(self) -> Connection {
        *self.exchange.connection
    }
}
