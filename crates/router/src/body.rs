//! The body of a message, whatever it comes from. Not its framing on the wire.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use crate::downstream::h1::ClientBody;
use crate::instance::InFlight;
use crate::upstream::h1::ResponseBody;

/// The body of a request or a response on its way through.
#[derive(Debug)]
pub(crate) enum Body {
    /// No body.
    Empty,
    /// All of it, already here.
    Full(Bytes),
    /// From an HTTP/2 stream of a client.
    Stream(Incoming),
    /// From an HTTP/2 stream of a backend, which is busy until its end.
    Leased(
        Incoming,
        #[expect(dead_code, reason = "held, never read")] InFlight,
    ),
    /// From a client that speaks HTTP/1.1.
    Client(ClientBody),
    /// From a backend that speaks HTTP/1.1.
    Upstream(Box<ResponseBody>),
}

/// What a body gives when it is polled.
pub(crate) type PolledFrame = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the connection failed in the middle of a body")]
    Io(#[source] io::Error),
    #[error("the connection was closed in the middle of a body")]
    Truncated,
    #[error("nothing came for longer than the idle timeout")]
    Idle,
    #[error("the framing of the body is malformed: {0}")]
    Malformed(&'static str),
    #[error("the stream failed in the middle of a body")]
    Stream(#[source] hyper::Error),
}

impl Body {
    /// Whether there is certainly nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        http_body::Body::is_end_stream(self)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Stream(incoming) | Self::Leased(incoming, _) => {
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                if frame.is_none() {
                    *self = Self::Empty;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Stream)))
            }
            Self::Client(body) => {
                let frame = ready!(body.poll_frame(cx));
                if frame.is_none() {
                    *self = Self::Empty;
                }
                Poll::Ready(frame)
            }
            Self::Upstream(body) => {
                let frame = ready!(body.poll_frame(cx));
                if frame.is_none() {
                    *self = Self::Empty;
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(incoming) | Self::Leased(incoming, _) => incoming.is_end_stream(),
            Self::Client(_) | Self::Upstream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Self::Stream(incoming) | Self::Leased(incoming, _) => incoming.size_hint(),
            Self::Client(body) => body
                .length()
                .map_or_else(SizeHint::new, SizeHint::with_exact),
            Self::Upstream(body) => body
                .length()
                .map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}
