//! Sends a head and a body over a socket with HTTP/1.1 framing. Not how they are received.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body as _;
use tokio::io::AsyncWrite;

use crate::body::{Body, BodyError};
use crate::codec::write_fields;

/// Data up to this size is copied behind what waits already, to go out in one write.
const COALESCE: usize = 16 * 1024;

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By its length, of which so much is left.
    Length(u64),
    /// By the last chunk.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// Why a message could not be sent whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the socket failed: {0}")]
    Io(io::Error),
    #[error("the body failed: {0}")]
    Body(BodyError),
    #[error("the body is larger than is allowed")]
    TooLarge,
    #[error("the body is not as long as its length said")]
    WrongLength,
}

/// A message on its way out. Write the head into [`Self::out`] first.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) out: Vec<u8>,
    /// How much of `out` was written.
    written: usize,
    large: Bytes,
    /// Whether the line end of a chunk follows `large`.
    chunk_end: bool,
    sent: u64,
    finished: bool,
}

impl Outbox {
    /// Makes ready for the next message. What waits of the one before it still goes out.
    pub(crate) fn reset(&mut self) {
        self.compact();
        self.large = Bytes::new();
        self.chunk_end = false;
        self.sent = 0;
        self.finished = false;
    }

    /// Returns how much of the body was taken.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.waiting().is_empty() && self.large.is_empty()
    }

    fn waiting(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    /// Forgets what was written.
    fn compact(&mut self) {
        if self.written > 0 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Sends what waits and takes more from `body`, until all is sent or one of them is not ready.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
        body: &mut Body,
        framing: &mut Framing,
        max_bytes: u64,
    ) -> Poll<Result<(), SendError>> {
        self.compact();
        loop {
            let mut waiting = false;
            while !self.finished && self.large.is_empty() && self.out.len() < COALESCE {
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Ready(frame) => self.take(frame, framing, max_bytes)?,
                    Poll::Pending => {
                        waiting = true;
                        break;
                    }
                }
            }
            ready!(self.poll_flush(cx, io)).map_err(SendError::Io)?;
            if self.finished {
                return Poll::Ready(Ok(()));
            }
            if waiting {
                return Poll::Pending;
            }
        }
    }

    /// Sends what waits.
    pub(crate) fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        loop {
            let (head, body) = (self.waiting(), &self.large);
            let next: &[u8] = if head.is_empty() { body } else { head };
            if next.is_empty() {
                self.out.clear();
                self.written = 0;
                return Poll::Ready(Ok(()));
            }
            let is_head = !head.is_empty();
            let written = ready!(Pin::new(&mut *io).poll_write(cx, next))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if is_head {
                self.written += written;
            } else {
                self.large.advance(written);
                if self.large.is_empty() && std::mem::take(&mut self.chunk_end) {
                    self.out.extend_from_slice(b"\r\n");
                }
            }
        }
    }

    fn take(
        &mut self,
        frame: Option<Result<http_body::Frame<Bytes>, BodyError>>,
        framing: &mut Framing,
        max_bytes: u64,
    ) -> Result<(), SendError> {
        let Some(frame) = frame else {
            return self.finish(*framing, None);
        };
        match frame.map_err(SendError::Body)?.into_data() {
            Ok(data) => self.take_data(data, framing, max_bytes),
            Err(other) => match other.into_trailers() {
                Ok(trailers) => self.finish(*framing, Some(&trailers)),
                Err(_) => Ok(()),
            },
        }
    }

    fn take_data(
        &mut self,
        data: Bytes,
        framing: &mut Framing,
        max_bytes: u64,
    ) -> Result<(), SendError> {
        if data.is_empty() {
            return Ok(());
        }
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.sent = self.sent.saturating_add(length);
        if self.sent > max_bytes {
            return Err(SendError::TooLarge);
        }
        let chunked = match framing {
            Framing::Length(left) => {
                *left = left.checked_sub(length).ok_or(SendError::WrongLength)?;
                false
            }
            Framing::Chunked => true,
            Framing::Close => false,
        };
        if chunked {
            write_hex(&mut self.out, length);
        }
        if data.len() <= COALESCE {
            self.out.extend_from_slice(&data);
            if chunked {
                self.out.extend_from_slice(b"\r\n");
            }
        } else {
            self.large = data;
            self.chunk_end = chunked;
        }
        Ok(())
    }

    fn finish(
        &mut self,
        framing: Framing,
        trailers: Option<&http::HeaderMap>,
    ) -> Result<(), SendError> {
        self.finished = true;
        match framing {
            Framing::Length(0) | Framing::Close => Ok(()),
            Framing::Length(_) => Err(SendError::WrongLength),
            Framing::Chunked => {
                self.out.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    write_fields(&mut self.out, trailers);
                }
                self.out.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }
}

/// Writes the field that goes with `framing`.
pub(crate) fn write_framing(output: &mut Vec<u8>, framing: Option<Framing>) {
    match framing {
        Some(Framing::Length(length)) => {
            output.extend_from_slice(b"content-length: ");
            output.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            output.extend_from_slice(b"\r\n");
        }
        Some(Framing::Chunked) => output.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Some(Framing::Close) | None => {}
    }
}

fn write_hex(output: &mut Vec<u8>, length: u64) {
    // Writing to memory never fails.
    drop(write!(output, "{length:x}\r\n"));
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn sent(mut body: Body, mut framing: Framing, max: u64) -> Result<Vec<u8>, SendError> {
        let (mut outbox, mut wire) = (Outbox::default(), Vec::new());
        poll_fn(|cx| outbox.poll_send(cx, &mut wire, &mut body, &mut framing, max)).await?;
        Ok(wire)
    }

    #[tokio::test]
    async fn a_body_is_framed_as_told() {
        let body = || Body::Full(Bytes::from_static(b"hello"));
        assert_eq!(sent(body(), Framing::Length(5), 5).await.unwrap(), b"hello");
        assert_eq!(sent(body(), Framing::Close, 5).await.unwrap(), b"hello");
        assert_eq!(
            sent(body(), Framing::Chunked, 5).await.unwrap(),
            b"5\r\nhello\r\n0\r\n\r\n"
        );
        assert_eq!(
            sent(Body::Empty, Framing::Chunked, 0).await.unwrap(),
            b"0\r\n\r\n"
        );
        let large = Bytes::from(vec![b'x'; 100_000]);
        let wire = sent(Body::Full(large.clone()), Framing::Chunked, u64::MAX)
            .await
            .unwrap();
        assert_eq!(wire, [b"186a0\r\n", &large[..], b"\r\n0\r\n\r\n"].concat());
    }

    #[tokio::test]
    async fn a_body_of_the_wrong_size_is_an_error() {
        let body = || Body::Full(Bytes::from_static(b"hello"));
        for length in [4, 6] {
            let error = sent(body(), Framing::Length(length), 9).await.unwrap_err();
            assert!(matches!(error, SendError::WrongLength));
        }
        assert!(matches!(
            sent(body(), Framing::Chunked, 4).await,
            Err(SendError::TooLarge)
        ));
    }
}
