//! The bytes between a client and a command that runs for it, once a request with
//! `Upgrade: towpath-console` was answered 101.
//!
//! Each frame is its kind (one byte), the length of what follows (four bytes, the largest first),
//! and that many bytes:
//!
//! | from | kind | what follows |
//! |---|---|---|
//! | client | 0 | bytes for the standard input |
//! | client | 1 | nothing: the standard input ends |
//! | client | 2 | the terminal's size: columns and rows, two bytes each, the larger first |
//! | server | 16 | bytes of the standard output, or of the terminal |
//! | server | 17 | bytes of the standard error |
//! | server | 18 | a `CommandEnd` in JSON: nothing follows |
//! | server | 19 | nothing: the connection lives |
//!
//! Kinds that one does not know are passed over. A client that closes the connection before the end
//! has the command killed.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::console::{CommandEnd, TerminalSize};

/// What is asked for in the field `Upgrade`.
pub const PROTOCOL: &str = "towpath-console";

/// The most that a frame may have. Senders keep their pieces far below.
const LARGEST: usize = 1 << 20;

const HEAD_BYTES: usize = 5;

const STDIN: u8 = 0;
const STDIN_END: u8 = 1;
const RESIZE: u8 = 2;
const STDOUT: u8 = 16;
const STDERR: u8 = 17;
const END: u8 = 18;
const ALIVE: u8 = 19;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// Bytes for the standard input.
    Stdin(Bytes),
    /// The standard input ends.
    StdinEnd,
    /// The terminal has another size.
    Resize(TerminalSize),
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// Bytes of the standard output, or of the terminal.
    Stdout(Bytes),
    /// Bytes of the standard error.
    Stderr(Bytes),
    /// The command ended.
    End(CommandEnd),
    /// The connection lives.
    Alive,
}

/// Why bytes are no frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame is too large.
    #[error("a frame of {0} bytes is too large")]
    TooLarge(usize),
    /// What follows the head is not what the kind says.
    #[error("a frame of kind {0} cannot be understood")]
    Malformed(u8),
}

/// A side's frames.
pub trait Frame: Sized {
    /// Reads a frame; `None` where the kind is not known.
    fn read(kind: u8, content: Bytes) -> Result<Option<Self>, FrameError>;

    /// Returns the kind and what follows the head.
    fn parts(&self) -> (u8, Bytes);

    /// Writes a frame.
    fn to_bytes(&self) -> Bytes {
        let (kind, content) = self.parts();
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES + content.len());
        bytes.extend_from_slice(&[kind]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&content);
        bytes.freeze()
    }
}

impl Frame for FromClient {
    fn read(kind: u8, content: Bytes) -> Result<Option<Self>, FrameError> {
        Ok(Some(match (kind, content.as_ref()) {
            (STDIN, _) => Self::Stdin(content),
            (STDIN_END, _) => Self::StdinEnd,
            (RESIZE, &[a, b, c, d]) => Self::Resize(TerminalSize {
                columns: u16::from_be_bytes([a, b]),
                rows: u16::from_be_bytes([c, d]),
            }),
            (RESIZE, _) => return Err(FrameError::Malformed(kind)),
            _ => return Ok(None),
        }))
    }

    fn parts(&self) -> (u8, Bytes) {
        match self {
            Self::Stdin(bytes) => (STDIN, bytes.clone()),
            Self::StdinEnd => (STDIN_END, Bytes::new()),
            Self::Resize(size) => {
                let mut bytes = BytesMut::new();
                bytes.extend_from_slice(&size.columns.to_be_bytes());
                bytes.extend_from_slice(&size.rows.to_be_bytes());
                (RESIZE, bytes.freeze())
            }
        }
    }
}

impl Frame for FromServer {
    fn read(kind: u8, content: Bytes) -> Result<Option<Self>, FrameError> {
        Ok(Some(match kind {
            STDOUT => Self::Stdout(content),
            STDERR => Self::Stderr(content),
            END => {
                let end = serde_json::from_slice(&content);
                Self::End(end.map_err(|_| FrameError::Malformed(kind))?)
            }
            ALIVE => Self::Alive,
            _ => return Ok(None),
        }))
    }

    fn parts(&self) -> (u8, Bytes) {
        match self {
            Self::Stdout(bytes) => (STDOUT, bytes.clone()),
            Self::Stderr(bytes) => (STDERR, bytes.clone()),
            Self::End(end) => {
                let json = serde_json::to_vec(end).expect("a wire type has only string keys");
                (END, Bytes::from(json))
            }
            Self::Alive => (ALIVE, Bytes::new()),
        }
    }
}

/// Bytes that came in, as frames.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: BytesMut,
}

impl Frames {
    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next whole frame; `None` when more bytes have to come first.
    pub fn take<F: Frame>(&mut self) -> Result<Option<F>, FrameError> {
        loop {
            let Some(&[kind, a, b, c, d]) = self.bytes.first_chunk::<HEAD_BYTES>() else {
                return Ok(None);
            };
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            if length > LARGEST {
                return Err(FrameError::TooLarge(length));
            }
            if self.bytes.len() < HEAD_BYTES + length {
                return Ok(None);
            }
            self.bytes.advance(HEAD_BYTES);
            let content = self.bytes.split_to(length).freeze();
            if let Some(frame) = F::read(kind, content)? {
                return Ok(Some(frame));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all<F: Frame + PartialEq + std::fmt::Debug>(sent: &[F]) {
        let bytes: Vec<u8> = sent.iter().flat_map(Frame::to_bytes).collect();
        for size in [1, 3, bytes.len()] {
            let mut frames = Frames::default();
            let mut read: Vec<F> = Vec::new();
            for piece in bytes.chunks(size) {
                frames.push(piece);
                while let Some(frame) = frames.take().unwrap() {
                    read.push(frame);
                }
            }
            assert_eq!(read, sent, "in pieces of {size}");
        }
    }

    #[test]
    fn what_one_side_writes_the_other_reads_however_the_bytes_come() {
        read_all(&[
            FromClient::Stdin(Bytes::from_static(b"\x00\xff\n")),
            FromClient::Resize(TerminalSize {
                columns: 300,
                rows: 24,
            }),
            FromClient::Stdin(Bytes::new()),
            FromClient::StdinEnd,
        ]);
        read_all(&[
            FromServer::Stdout(Bytes::from_static(b"out")),
            FromServer::Alive,
            FromServer::Stderr(Bytes::from_static(b"err")),
            FromServer::End(CommandEnd {
                code: 127,
                error: Some("no such program".to_owned()),
            }),
        ]);
    }

    #[test]
    fn kinds_that_are_not_known_are_passed_over() {
        let mut frames = Frames::default();
        frames.push(&[200, 0, 0, 0, 2, 1, 2]);
        frames.push(&FromClient::StdinEnd.to_bytes());
        assert_eq!(frames.take(), Ok(Some(FromClient::StdinEnd)));
    }

    #[test]
    fn what_is_no_frame_is_refused_before_it_takes_memory() {
        let mut frames = Frames::default();
        frames.push(&[0, 0xff, 0xff, 0xff, 0xff]);
        let refused = frames.take::<FromClient>();
        assert!(matches!(refused, Err(FrameError::TooLarge(_))));
        for bytes in [&[2, 0, 0, 0, 1, 1][..], &[18, 0, 0, 0, 1, b'{']] {
            let mut frames = Frames::default();
            frames.push(bytes);
            let client = frames.take::<FromClient>();
            let mut frames = Frames::default();
            frames.push(bytes);
            let server = frames.take::<FromServer>();
            assert!(client.is_err() || server.is_err(), "{bytes:?}");
        }
    }
}
