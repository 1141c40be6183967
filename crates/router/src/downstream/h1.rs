//! One HTTP/1.1 connection of a client: its requests one after the other. Not HTTP/2, which it only
//! recognises.

mod inbox;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_util::sync::CancellationToken;

pub(crate) use inbox::ClientBody;
use inbox::{Inbox, locked};

use super::PREFACE;
use super::response::{Asked, write_head, write_switch};
use crate::body::Body;
use crate::codec::{Decoder, HeadError, HeadLimits, RequestHead, parse_request};
use crate::config::Limits;
use crate::forward::{Origin, Outcome, Tunnel, forward, reply};
use crate::header_maps::HeaderMaps;
use crate::headers::expects_continue;
use crate::interim::Interim;
use crate::receive::poll_read;
use crate::transfer::Outbox;
use crate::watchdog::Watchdog;

/// How long a client may take to see that it was refused, before its connection is reset.
const LINGER: Duration = Duration::from_secs(2);

/// How much of what a refused client still sends is read and thrown away.
const LINGER_BYTES: usize = 1 << 20;

/// The longest that a client may take to read anything at all of a response.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);

/// How a connection ended, or what it became.
#[derive(Debug)]
pub(super) enum End {
    Closed,
    /// It speaks HTTP/2; these bytes of it were read.
    Http2(TcpStream, BytesMut),
    /// It was upgraded.
    Tunnel(Box<ClientEnd<TcpStream>>, Box<Tunnel>),
}

/// The client's end of an upgraded connection.
#[derive(Debug)]
pub(crate) struct ClientEnd<C> {
    pub(crate) io: C,
    /// What the client sent behind its head.
    pub(crate) early: BytesMut,
}

/// A connection of a client.
#[derive(Debug)]
pub(super) struct Client {
    inbox: Arc<Mutex<Inbox>>,
    io: OwnedWriteHalf,
    outbox: Outbox,
    watchdog: Watchdog,
    head_limits: HeadLimits,
    head_timeout: Duration,
    keep_alive: Duration,
    fresh: bool,
}

enum Received {
    Head(Box<RequestHead>),
    Refused(HeadError),
    TimedOut,
    Http2,
    End,
}

enum Next {
    Another,
    Close,
    Tunnel(Box<Tunnel>),
}

impl Client {
    pub(super) fn new(io: TcpStream, limits: &Limits) -> Self {
        let (read, write) = io.into_split();
        Self {
            inbox: Arc::new(Mutex::new(Inbox::new(read, limits.keep_alive))),
            io: write,
            outbox: Outbox::default(),
            watchdog: Watchdog::default(),
            head_limits: HeadLimits {
                bytes: limits.head_bytes,
                fields: limits.head_fields,
            },
            head_timeout: limits.head_timeout,
            keep_alive: limits.keep_alive,
            fresh: true,
        }
    }

    /// Serves requests until the connection ends or becomes something else.
    pub(super) async fn serve(mut self, origin: &Origin, closing: &CancellationToken) -> End {
        let mut closed = pin!(closing.cancelled());
        loop {
            let received =
                poll_fn(|cx| self.poll_head(cx, closed.as_mut(), &origin.header_maps)).await;
            let next = match received {
                Received::End => return End::Closed,
                Received::Http2 => return self.into_http2(),
                Received::Refused(error) => self.refuse(&head_refusal(error)).await,
                Received::TimedOut => {
                    self.refuse(&(
                        StatusCode::REQUEST_TIMEOUT,
                        "the head did not arrive in time",
                    ))
                    .await
                }
                Received::Head(head) => self.exchange(head, origin, closing).await,
            };
            match next {
                Next::Another => {}
                Next::Close => return End::Closed,
                Next::Tunnel(tunnel) => return self.into_tunnel(tunnel),
            }
        }
    }

    /// Waits for the next head. Between requests the connection ends when the listener closes.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        closed: Pin<&mut impl Future<Output = ()>>,
        maps: &HeaderMaps,
    ) -> Poll<Received> {
        let mut inbox = locked(&self.inbox);
        loop {
            if !inbox.read.is_empty() {
                if self.fresh && is_preface(&inbox.read) {
                    if inbox.read.len() >= PREFACE.len() {
                        return Poll::Ready(Received::Http2);
                    }
                } else {
                    match parse_request(&mut inbox.read, self.head_limits, maps) {
                        Ok(Some(head)) => return Poll::Ready(Received::Head(Box::new(head))),
                        Ok(None) => {}
                        Err(error) => return Poll::Ready(Received::Refused(error)),
                    }
                }
            }
            let idle = inbox.read.is_empty();
            let inbox = &mut *inbox;
            match poll_read(cx, &mut inbox.io, &mut inbox.read) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Received::End),
                Poll::Ready(Ok(_)) => {
                    if idle {
                        self.watchdog.clear();
                    }
                }
                Poll::Pending => {
                    if idle && closed.poll(cx).is_ready() {
                        return Poll::Ready(Received::End);
                    }
                    if !self.watchdog.is_set() {
                        self.watchdog.set(if idle {
                            self.keep_alive
                        } else {
                            self.head_timeout
                        });
                    }
                    ready!(self.watchdog.poll(cx));
                    return Poll::Ready(if idle {
                        Received::End
                    } else {
                        Received::TimedOut
                    });
                }
            }
        }
    }

    /// Forwards one request and sends the response.
    async fn exchange(
        &mut self,
        head: Box<RequestHead>,
        origin: &Origin,
        closing: &CancellationToken,
    ) -> Next {
        self.fresh = false;
        self.watchdog.clear();
        let mut asked = Asked {
            method: head.method.clone(),
            version: head.version,
            keep_alive: head.keep_alive,
        };
        let (noted, interim) = (head.noted, Interim::for_version(head.version));
        let request = self.request(*head);
        self.outbox.reset();
        let outcome = {
            let mut forwarding = pin!(forward(origin, request, noted, &interim));
            poll_fn(|cx| match forwarding.as_mut().poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending => {
                    interim.take(&mut self.outbox.out);
                    self.poll_gone(cx).map(|()| None)
                }
            })
            .await
        };
        interim.take(&mut self.outbox.out);
        asked.keep_alive &= !closing.is_cancelled();
        match outcome {
            None => Next::Close,
            Some(Outcome::Response(response)) => {
                self.respond(response, asked, &origin.header_maps).await
            }
            Some(Outcome::Switch(head, tunnel)) => self.switch(head.headers(), tunnel).await,
        }
    }

    fn request(&mut self, head: RequestHead) -> Request<Body> {
        let length = match head.body {
            Decoder::Length(length) => Some(length),
            Decoder::Done => Some(0),
            Decoder::Chunked(_) | Decoder::UntilClose => None,
        };
        let body = if length == Some(0) {
            Body::Empty
        } else {
            let mut inbox = locked(&self.inbox);
            inbox.continue_due =
                head.version == Version::HTTP_11 && expects_continue(&head.headers);
            inbox.decoder = head.body;
            Body::Client(ClientBody {
                inbox: Arc::clone(&self.inbox),
                length,
            })
        };
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.uri_mut() = head.target;
        *request.version_mut() = head.version;
        *request.headers_mut() = head.headers;
        request
    }

    /// Is ready when the client closed the connection while it waits for an answer. Also sends
    /// `100 Continue` when the body is asked for.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.outbox.is_flushed()
            && matches!(
                self.outbox.poll_flush(cx, &mut self.io),
                Poll::Ready(Err(_))
            )
        {
            return Poll::Ready(());
        }
        let mut inbox = locked(&self.inbox);
        if !matches!(inbox.decoder, Decoder::Done) {
            return if inbox.closed {
                Poll::Ready(())
            } else {
                Poll::Pending
            };
        }
        // One pipelined request is read ahead; more waits in the kernel.
        if !inbox.read.is_empty() {
            return Poll::Pending;
        }
        let inbox = &mut *inbox;
        match ready!(poll_read(cx, &mut inbox.io, &mut inbox.read)) {
            Ok(0) | Err(_) => Poll::Ready(()),
            Ok(_) => Poll::Pending,
        }
    }

    async fn respond(
        &mut self,
        mut response: Response<Body>,
        mut asked: Asked,
        maps: &HeaderMaps,
    ) -> Next {
        // A body that was not read to its end cannot be told from the next request.
        let unread = !matches!(locked(&self.inbox).decoder, Decoder::Done);
        asked.keep_alive &= !unread;
        self.outbox.reset();
        let (mut framing, keep_alive) = write_head(&mut self.outbox.out, &mut response, &asked);
        maps.give(std::mem::take(response.headers_mut()));
        let body = response.body_mut();
        self.watchdog.clear();
        let sent = poll_fn(|cx| {
            let before = self.outbox.sent();
            let sent = self
                .outbox
                .poll_send(cx, &mut self.io, body, &mut framing, u64::MAX);
            if sent.is_pending() {
                if self.outbox.sent() != before || self.outbox.is_flushed() {
                    self.watchdog.clear();
                }
                if !self.outbox.is_flushed() {
                    if !self.watchdog.is_set() {
                        self.watchdog.set(WRITE_TIMEOUT);
                    }
                    ready!(self.watchdog.poll(cx));
                    return Poll::Ready(None);
                }
                ready!(self.poll_gone(cx));
                return Poll::Ready(None);
            }
            sent.map(Some)
        })
        .await;
        self.watchdog.clear();
        match sent {
            Some(Ok(())) if keep_alive => Next::Another,
            Some(Ok(())) => {
                if unread {
                    self.linger().await;
                }
                Next::Close
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a response could not be sent whole");
                Next::Close
            }
            None => Next::Close,
        }
    }

    async fn refuse(&mut self, refusal: &(StatusCode, &'static str)) -> Next {
        let asked = Asked {
            method: http::Method::GET,
            version: Version::HTTP_11,
            keep_alive: false,
        };
        let maps = HeaderMaps::default();
        let next = self
            .respond(reply(refusal.0, refusal.1), asked, &maps)
            .await;
        self.linger().await;
        next
    }

    /// Lets the client read the answer before the connection goes: data that arrives on a closed
    /// socket makes the kernel throw away what the client has not read yet (RFC 9112 section 9.6).
    async fn linger(&mut self) {
        if self.io.shutdown().await.is_err() {
            return;
        }
        let mut left = LINGER_BYTES;
        let drain = poll_fn(|cx| {
            let mut inbox = locked(&self.inbox);
            let inbox = &mut *inbox;
            loop {
                inbox.read.clear();
                match ready!(poll_read(cx, &mut inbox.io, &mut inbox.read)) {
                    Ok(0) | Err(_) => return Poll::Ready(()),
                    Ok(read) if read >= left => return Poll::Ready(()),
                    Ok(read) => left -= read,
                }
            }
        });
        // The end of the time is as good an end as that of the connection.
        drop(tokio::time::timeout(LINGER, drain).await);
    }

    async fn switch(&mut self, headers: &HeaderMap, tunnel: Box<Tunnel>) -> Next {
        self.outbox.reset();
        write_switch(&mut self.outbox.out, headers);
        match poll_fn(|cx| self.outbox.poll_flush(cx, &mut self.io)).await {
            Ok(()) => Next::Tunnel(tunnel),
            Err(_) => Next::Close,
        }
    }

    /// Joins the halves of the socket again.
    fn rejoin(self) -> Option<(TcpStream, BytesMut)> {
        let inbox = Arc::into_inner(self.inbox)?;
        let inbox = inbox.into_inner().unwrap_or_else(PoisonError::into_inner);
        Some((inbox.io.reunite(self.io).ok()?, inbox.read))
    }

    fn into_http2(self) -> End {
        self.rejoin()
            .map_or(End::Closed, |(io, read)| End::Http2(io, read))
    }

    fn into_tunnel(self, tunnel: Box<Tunnel>) -> End {
        self.rejoin().map_or(End::Closed, |(io, early)| {
            End::Tunnel(Box::new(ClientEnd { io, early }), tunnel)
        })
    }
}

fn is_preface(read: &[u8]) -> bool {
    let length = read.len().min(PREFACE.len());
    read.get(..length) == PREFACE.get(..length)
}

fn head_refusal(error: HeadError) -> (StatusCode, &'static str) {
    match error {
        HeadError::Malformed(rule) => (StatusCode::BAD_REQUEST, rule),
        HeadError::TooLarge => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the head is larger than is allowed",
        ),
        HeadError::NotImplemented(rule) => (StatusCode::NOT_IMPLEMENTED, rule),
    }
}
