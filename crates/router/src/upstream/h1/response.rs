//! The body of a response of a backend. Not its head.

use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http_body::Frame;
use tokio::time::Instant;

use super::{Answer, Exchange, Upload};
use crate::body::{Body, BodyError, PolledFrame};
use crate::codec::{Decoded, Decoder, Malformed};
use crate::instance::InFlight;
use crate::transfer::Outbox;

/// An idle connection keeps no buffer larger than this.
const IDLE_BUFFER: usize = 32 * 1024;

impl Answer {
    /// Makes the body of the response. The connection goes back to `worker`'s idle ones when it was
    /// read to its end.
    pub(crate) fn into_body(self, lease: InFlight, worker: usize) -> Body {
        let mut exchange = self.exchange;
        exchange.connection.watchdog.clear();
        let mut body = ResponseBody {
            length: match self.head.body {
                Decoder::Length(length) => Some(length),
                Decoder::Done => Some(0),
                Decoder::Chunked(_) | Decoder::UntilClose => None,
            },
            decoder: self.head.body,
            keep_alive: self.head.keep_alive,
            open: Some((exchange, lease)),
            worker,
        };
        body.take_whole()
            .unwrap_or_else(|| Body::Upstream(Box::new(body)))
    }
}

/// The body of a response that is still being received.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    open: Option<(Exchange, InFlight)>,
    decoder: Decoder,
    length: Option<u64>,
    keep_alive: bool,
    worker: usize,
}

impl ResponseBody {
    /// The number of bytes to come, if it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Takes a body that is already here whole, which ends the exchange at once.
    fn take_whole(&mut self) -> Option<Body> {
        let (exchange, _) = self.open.as_mut()?;
        let read = &mut exchange.connection.read;
        let body = match self.decoder {
            Decoder::Done => Body::Empty,
            Decoder::Length(length) => {
                let length = usize::try_from(length)
                    .ok()
                    .filter(|&length| length <= read.len())?;
                Body::Full(read.split_to(length).freeze())
            }
            Decoder::Chunked(_) | Decoder::UntilClose => return None,
        };
        self.finish();
        Some(body)
    }

    /// Gives the connection back if it can serve another request, and the lease in any case.
    fn finish(&mut self) {
        self.decoder = Decoder::Done;
        let Some((exchange, lease)) = self.open.take() else {
            return;
        };
        let mut connection = exchange.connection;
        let clean = exchange.upload == Upload::Done && connection.read.is_empty();
        if self.keep_alive && clean {
            connection.idle_since = Instant::now();
            connection.reused = true;
            if connection.read.capacity() > IDLE_BUFFER {
                connection.read = BytesMut::new();
            }
            if connection.outbox.out.capacity() > IDLE_BUFFER {
                connection.outbox = Outbox::default();
            }
            lease.instance().put_idle(self.worker, connection);
        }
    }

    /// Is ready with the next part, or with nothing at the end.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> PolledFrame {
        let frame = ready!(self.poll_decoded(cx));
        if !matches!(frame, Some(Ok(_))) {
            let failed = frame.is_some();
            self.keep_alive &= !failed;
            self.finish();
        }
        Poll::Ready(frame)
    }

    fn poll_decoded(&mut self, cx: &mut Context<'_>) -> PolledFrame {
        let Some((exchange, _)) = self.open.as_mut() else {
            return Poll::Ready(None);
        };
        if let Err(error) = exchange.poll_upload(cx) {
            tracing::debug!(%error, "a request's body failed after the answer had begun");
            exchange.upload = Upload::Refused;
        }
        loop {
            let connection = &mut exchange.connection;
            let decoded = self.decoder.decode(&mut connection.read);
            match decoded.map_err(|Malformed(rule)| BodyError::Malformed(rule))? {
                Decoded::Data(data) => {
                    connection.watchdog.clear();
                    let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    self.length = self.length.map(|left| left.saturating_sub(length));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Decoded::Trailers(trailers) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Decoded::End => return Poll::Ready(None),
                Decoded::Incomplete => {}
            }
            match connection.poll_read(cx) {
                Poll::Ready(Ok(0)) if matches!(self.decoder, Decoder::UntilClose) => {
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Some(Err(BodyError::Truncated))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(BodyError::Io(error)))),
                Poll::Pending => {
                    if !connection.watchdog.is_set() {
                        connection.watchdog.set(exchange.bounds.idle_timeout);
                    }
                    ready!(connection.watchdog.poll(cx));
                    return Poll::Ready(Some(Err(BodyError::Idle)));
                }
            }
        }
    }
}
