//! A stream of bytes to and from something that runs on Docker: what is left of an HTTP connection
//! when Docker has taken it over. Not what runs.
//!
//! The client library has such streams too, but takes the output of a terminal for frames where it
//! begins with a control character.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, ReadHalf, WriteHalf};
use towpath_model::console::Output;

use super::client::Trouble;
use super::shared::Shared;
use super::wire::{self, Wire};

/// The most bytes that are handed on at a time.
const PIECE_BYTES: usize = 32 * 1024;

/// The head of a frame: the stream, three zeros, the length (Docker Engine API, "Attach to a
/// container", stream format).
const HEAD_BYTES: usize = 8;

/// Where it is written to.
pub(super) type Writer = WriteHalf<TokioIo<Upgraded>>;

/// Has Docker take a connection over. `body` is JSON.
pub(super) async fn open(
    shared: &Shared,
    path: &str,
    body: String,
    form: Form,
) -> Result<(Reader, Writer), Trouble> {
    let docker = shared.client.get().await?;
    let version = docker.client_version();
    let path = format!(
        "/v{}.{}{path}",
        version.major_version, version.minor_version
    );
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .body(body.boxed_unsync())
        .map_err(|error| Trouble::Refused(error.to_string()))?;
    let mut wire = Wire::connect(&shared.client).await?;
    let answer = wire.send(request).await?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(wire::refusal(answer).await);
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(|error| {
        let host = shared.client.host();
        Trouble::Away(format!("Docker at {host} does not answer: {error}"))
    })?;
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    let reader = Reader {
        read,
        form,
        head: [0; HEAD_BYTES],
        filled: 0,
        left: 0,
        _wire: wire,
    };
    Ok((reader, write))
}

/// What the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Frames of two streams.
    Frames,
    /// A terminal's.
    Raw,
}

/// Where it is read from.
pub(super) struct Reader {
    read: ReadHalf<TokioIo<Upgraded>>,
    form: Form,
    head: [u8; HEAD_BYTES],
    /// So much of the head of a frame was read.
    filled: usize,
    /// So much of a frame is to come.
    left: usize,
    _wire: Wire,
}

impl Reader {
    /// Returns the next bytes; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Output>> {
        while self.form == Form::Frames && self.left == 0 {
            let rest = self.head.get_mut(self.filled..).unwrap_or_default();
            let count = self.read.read(rest).await?;
            if count == 0 {
                return Ok(None);
            }
            self.filled += count;
            if self.filled == HEAD_BYTES {
                self.filled = 0;
                self.left = length(self.head);
            }
        }
        let wanted = match self.form {
            Form::Raw => PIECE_BYTES,
            Form::Frames => self.left.min(PIECE_BYTES),
        };
        let mut piece = vec![0; wanted];
        let count = self.read.read(&mut piece).await?;
        if count == 0 {
            return Ok(None);
        }
        piece.truncate(count);
        self.left = self.left.saturating_sub(count);
        Ok(Some(match (self.form, self.head) {
            (Form::Frames, [2, ..]) => Output::Stderr(piece),
            (Form::Frames | Form::Raw, _) => Output::Stdout(piece),
        }))
    }
}

fn length(head: [u8; HEAD_BYTES]) -> usize {
    let [_, _, _, _, a, b, c, d] = head;
    usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_frame_is_in_its_last_four_bytes() {
        assert_eq!(length([1, 0, 0, 0, 0, 1, 0, 2]), 65_538);
    }
}
