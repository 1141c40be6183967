//! Bytes both ways between a client and a backend, after an upgrade or on a TCP listener. Not
//! what the bytes mean.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::downstream::h1::ClientEnd;
use crate::forward::Tunnel;
use crate::receive::poll_read;
use crate::watchdog::Watchdog;

/// One direction.
#[derive(Debug)]
struct Flow {
    waiting: BytesMut,
    state: FlowState,
    /// Whether the sink may still hold something back.
    unflushed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FlowState {
    Open,
    /// The source ended; its end is still to be told.
    Ending,
    Ended,
}

impl Flow {
    fn new(early: BytesMut) -> Self {
        Self {
            waiting: early,
            state: FlowState::Open,
            unflushed: false,
        }
    }

    /// Moves what can be moved. Is ready when the source ended and the sink was told.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut (impl AsyncRead + Unpin),
        sink: &mut (impl AsyncWrite + Unpin),
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.waiting.is_empty() {
                let written = ready!(Pin::new(&mut *sink).poll_write(cx, &self.waiting))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                *moved = true;
                self.unflushed = true;
                self.waiting.advance(written);
            }
            if self.unflushed {
                ready!(Pin::new(&mut *sink).poll_flush(cx))?;
                self.unflushed = false;
            }
            match self.state {
                FlowState::Ended => return Poll::Ready(Ok(())),
                FlowState::Ending => {
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx))?;
                    self.state = FlowState::Ended;
                }
                FlowState::Open => {
                    if ready!(poll_read(cx, source, &mut self.waiting))? == 0 {
                        self.state = FlowState::Ending;
                    } else {
                        *moved = true;
                    }
                }
            }
        }
    }
}

/// Copies both ways until both sides ended, one failed, or nothing moved for the idle timeout.
pub(crate) async fn run<C>(client: ClientEnd<C>, tunnel: Tunnel)
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let ClientEnd {
        io: mut client,
        early: from_client,
    } = client;
    let Tunnel {
        io: mut backend,
        early: from_backend,
        idle_timeout,
        lease,
    } = tunnel;
    let (mut up, mut down) = (Flow::new(from_client), Flow::new(from_backend));
    let mut watchdog = Watchdog::default();
    let result = poll_fn(|cx| {
        let mut moved = false;
        let up = up.poll(cx, &mut client, &mut backend, &mut moved)?;
        let down = down.poll(cx, &mut backend, &mut client, &mut moved)?;
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if moved || !watchdog.is_set() {
            watchdog.set(idle_timeout);
        }
        watchdog
            .poll(cx)
            .map(|()| Err(io::Error::from(io::ErrorKind::TimedOut)))
    })
    .await;
    if let Err(error) = result {
        tracing::debug!(%error, "a tunnel ended");
    }
    drop((client, backend));
    drop(lease);
}
