//! HTTP/1.1 on the wire (RFC 9112): heads and body framing, in both directions. No sockets.
//!
//! Strict on purpose: what two parsers could read in two ways is refused, never repaired.

mod chunked;
mod head;
mod noted;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

pub(crate) use chunked::Chunked;
pub(crate) use head::{
    HeadError, HeadLimits, RequestHead, ResponseHead, parse_request, parse_response, write_fields,
    write_request, write_status,
};
pub(crate) use noted::Noted;

/// Bytes that do not follow RFC 9112, and the rule that they break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// How much of a body is still to come.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// All until the connection is closed; responses only.
    UntilClose,
    /// Nothing.
    Done,
}

/// What was decoded.
#[derive(Debug)]
pub(crate) enum Decoded {
    Data(Bytes),
    Trailers(HeaderMap),
    /// More bytes have to be read first.
    Incomplete,
    End,
}

impl Decoder {
    /// Makes a decoder for a body of `length` bytes.
    pub(crate) fn length(length: u64) -> Self {
        if length == 0 {
            Self::Done
        } else {
            Self::Length(length)
        }
    }

    /// Takes the next part of the body from the front of `input`.
    pub(crate) fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, Malformed> {
        match self {
            Self::Done => Ok(Decoded::End),
            _ if input.is_empty() => Ok(Decoded::Incomplete),
            Self::UntilClose => Ok(Decoded::Data(input.split().freeze())),
            Self::Length(left) => {
                let data = take(input, *left);
                *left -= length_of(&data);
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Decoded::Data(data))
            }
            Self::Chunked(chunked) => {
                let decoded = chunked.decode(input)?;
                if matches!(decoded, Decoded::End | Decoded::Trailers(_)) {
                    *self = Self::Done;
                }
                Ok(decoded)
            }
        }
    }
}

/// Takes up to `most` bytes from the front of `input`.
fn take(input: &mut BytesMut, most: u64) -> Bytes {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    input.split_to(input.len().min(most)).freeze()
}

fn length_of(data: &[u8]) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}
