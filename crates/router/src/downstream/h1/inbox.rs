//! What a client sends: the bytes that were read, and the body of the request that is under way.
//! Not the answers.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http_body::Frame;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use crate::body::{BodyError, PolledFrame};
use crate::codec::{Decoded, Decoder, Malformed};
use crate::receive::poll_read;
use crate::watchdog::Watchdog;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What is received; shared with the body of the request that is under way.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(super) io: OwnedReadHalf,
    pub(super) read: BytesMut,
    pub(super) decoder: Decoder,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(super) continue_due: bool,
    watchdog: Watchdog,
    idle_timeout: Duration,
    pub(super) closed: bool,
}

pub(super) fn locked(inbox: &Mutex<Inbox>) -> MutexGuard<'_, Inbox> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The body of a request from a client that speaks HTTP/1.1.
#[derive(Debug)]
pub(crate) struct ClientBody {
    pub(super) inbox: Arc<Mutex<Inbox>>,
    pub(super) length: Option<u64>,
}

impl ClientBody {
    /// The number of bytes to come, if it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Is ready with the next part, or with nothing at the end.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> PolledFrame {
        let mut inbox = locked(&self.inbox);
        let inbox = &mut *inbox;
        loop {
            let decoded = inbox.decoder.decode(&mut inbox.read);
            match decoded.map_err(|Malformed(rule)| BodyError::Malformed(rule))? {
                Decoded::Data(data) => {
                    inbox.watchdog.clear();
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
            inbox.send_continue()?;
            match poll_read(cx, &mut inbox.io, &mut inbox.read) {
                Poll::Ready(Ok(0)) => {
                    inbox.closed = true;
                    return Poll::Ready(Some(Err(BodyError::Truncated)));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    inbox.closed = true;
                    return Poll::Ready(Some(Err(BodyError::Io(error))));
                }
                Poll::Pending => {
                    if !inbox.watchdog.is_set() {
                        inbox.watchdog.set(inbox.idle_timeout);
                    }
                    ready!(inbox.watchdog.poll(cx));
                    return Poll::Ready(Some(Err(BodyError::Idle)));
                }
            }
        }
    }
}

impl Inbox {
    pub(super) fn new(io: OwnedReadHalf, idle_timeout: Duration) -> Self {
        Self {
            io,
            read: BytesMut::new(),
            decoder: Decoder::Done,
            continue_due: false,
            watchdog: Watchdog::default(),
            idle_timeout,
            closed: false,
        }
    }

    /// Tells the client to send the body, if it waits for that.
    ///
    /// The socket's buffer is empty when a client waits, so the twenty-five bytes always fit; a
    /// failure to write them is a failure of the connection.
    fn send_continue(&mut self) -> Result<(), BodyError> {
        if !std::mem::take(&mut self.continue_due) {
            return Ok(());
        }
        let stream: &TcpStream = self.io.as_ref();
        match stream.try_write(CONTINUE) {
            Ok(written) if written == CONTINUE.len() => Ok(()),
            Ok(_) => Err(BodyError::Io(io::ErrorKind::WriteZero.into())),
            Err(error) => Err(BodyError::Io(error)),
        }
    }
}
