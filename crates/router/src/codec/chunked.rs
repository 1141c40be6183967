//! The chunked coding (RFC 9112 section 7.1). Not the other framings.

use bytes::{Buf, BytesMut};
use http::HeaderMap;

use super::head::fields;
use super::{Decoded, Malformed, length_of, take};

/// Longest line with a chunk's size and its extensions.
const MAX_SIZE_LINE: usize = 512;

/// Largest trailer section.
const MAX_TRAILERS: usize = 16 * 1024;

/// Where in a chunked body the decoder is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// Before the size of a chunk.
    #[default]
    Size,
    /// In a chunk, with so many bytes to come.
    Data(u64),
    /// Before the line end after a chunk.
    DataEnd,
    /// After the last chunk.
    Trailers,
}

impl Chunked {
    /// Takes the next part from the front of `input`.
    pub(super) fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, Malformed> {
        loop {
            match self {
                Self::Size => {
                    let Some(size) = size_line(input)? else {
                        return Ok(Decoded::Incomplete);
                    };
                    *self = if size == 0 {
                        Self::Trailers
                    } else {
                        Self::Data(size)
                    };
                }
                Self::Data(_) if input.is_empty() => return Ok(Decoded::Incomplete),
                Self::Data(left) => {
                    let data = take(input, *left);
                    *left -= length_of(&data);
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(Decoded::Data(data));
                }
                Self::DataEnd => {
                    match input.get(..2) {
                        Some(b"\r\n") => input.advance(2),
                        Some(_) => return Err(Malformed("a chunk does not end in CRLF")),
                        None => return Ok(Decoded::Incomplete),
                    }
                    *self = Self::Size;
                }
                Self::Trailers => return trailers(input),
            }
        }
    }
}

/// Takes a line `size [;extensions] CRLF` from the front of `input`, if it is whole.
fn size_line(input: &mut BytesMut) -> Result<Option<u64>, Malformed> {
    let Some(end) = input.iter().take(MAX_SIZE_LINE).position(|&c| c == b'\n') else {
        return if input.len() >= MAX_SIZE_LINE {
            Err(Malformed("a chunk size line is too long"))
        } else {
            Ok(None)
        };
    };
    let line = input.split_to(end + 1);
    let line = line
        .strip_suffix(b"\r\n")
        .ok_or(Malformed("a chunk size line ends in a bare LF"))?;
    if line.contains(&b'\r') {
        return Err(Malformed("a bare CR in a chunk size line"));
    }
    let digits = line.iter().take_while(|c| c.is_ascii_hexdigit()).count();
    let (size, rest) = line.split_at(digits);
    let rest = rest.trim_ascii_start();
    if !(1..=16).contains(&digits) || !(rest.is_empty() || rest.starts_with(b";")) {
        return Err(Malformed("a chunk size is not a hexadecimal number"));
    }
    let size = std::str::from_utf8(size)
        .ok()
        .and_then(|size| u64::from_str_radix(size, 16).ok());
    size.map(Some)
        .ok_or(Malformed("a chunk size is not a hexadecimal number"))
}

fn trailers(input: &mut BytesMut) -> Result<Decoded, Malformed> {
    match input.get(..2) {
        Some(b"\r\n") => {
            input.advance(2);
            return Ok(Decoded::End);
        }
        Some(_) => {}
        None => return Ok(Decoded::Incomplete),
    }
    let Some(end) = input
        .windows(4)
        .take(MAX_TRAILERS)
        .position(|four| four == b"\r\n\r\n")
    else {
        return if input.len() > MAX_TRAILERS {
            Err(Malformed("the trailer section is too large"))
        } else {
            Ok(Decoded::Incomplete)
        };
    };
    let section = input.split_to(end + 4).freeze();
    let mut trailers: HeaderMap = fields(&section)?;
    for framing in ["transfer-encoding", "content-length", "host", "connection"] {
        trailers.remove(framing);
    }
    Ok(Decoded::Trailers(trailers))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Whole = (Vec<u8>, HeaderMap);

    /// Feeds `wire` in pieces of `step` bytes; returns the data and the trailers.
    fn decode(wire: &[u8], step: usize) -> Result<Option<Whole>, Malformed> {
        let (mut chunked, mut input, mut data) = (Chunked::default(), BytesMut::new(), Vec::new());
        for piece in wire.chunks(step) {
            input.extend_from_slice(piece);
            loop {
                match chunked.decode(&mut input)? {
                    Decoded::Data(more) => data.extend_from_slice(&more),
                    Decoded::Trailers(trailers) => return Ok(Some((data, trailers))),
                    Decoded::End => return Ok(Some((data, HeaderMap::new()))),
                    Decoded::Incomplete => break,
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_are_joined_however_they_arrive() {
        let wire = b"4;a=b\r\nWiki\r\nA \r\npedia in c\r\n0\r\nx-sum: 1\r\n\r\n";
        for step in 1..wire.len() {
            let (data, trailers) = decode(wire, step).unwrap().unwrap();
            assert_eq!(data, b"Wikipedia in c");
            assert_eq!(trailers["x-sum"], "1");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for wire in [
            &b"4\nWiki\r\n0\r\n\r\n"[..],
            b"4\r\nWikiX\r\n0\r\n\r\n",
            b"+4\r\nWiki\r\n",
            b"0x4\r\nWiki\r\n",
            b"\r\n",
            b"11111111111111111\r\n",
            b"4 4\r\nWiki\r\n",
            b"4;a\rb\r\nWiki\r\n",
            b"0\r\nbad field\r\n\r\n",
        ] {
            assert!(decode(wire, wire.len()).is_err(), "{}", wire.escape_ascii());
        }
        assert!(decode(&[b'1'; 600], 7).is_err());
    }
}
