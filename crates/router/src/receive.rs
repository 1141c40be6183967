//! Reads from sockets into buffers. Not what the bytes mean.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

/// How much is read at once.
const READ_SIZE: usize = 16 * 1024;

/// Reads more into `buffer`; nothing means the end.
pub(crate) fn poll_read(
    cx: &mut Context<'_>,
    io: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let mut piece = [MaybeUninit::uninit(); READ_SIZE];
    let mut piece = ReadBuf::uninit(&mut piece);
    ready!(Pin::new(io).poll_read(cx, &mut piece))?;
    buffer.extend_from_slice(piece.filled());
    Poll::Ready(Ok(piece.filled().len()))
}
