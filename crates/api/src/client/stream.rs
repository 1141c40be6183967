//! Answers that go on: JSON values as they come, one a line, or as server-sent events. Not what they
//! mean.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::Error;
use super::transport::{Answer, broken};

/// The longest line that is read.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Values as the control plane sends them. Dropping it closes the connection.
#[derive(Debug)]
pub struct JsonStream<T> {
    answer: Answer,
    address: String,
    buffer: Buffer,
    values: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonStream<T> {
    pub(super) fn new(answer: Answer, address: String) -> Self {
        Self {
            answer,
            address,
            buffer: Buffer::default(),
            values: PhantomData,
        }
    }

    /// Returns the next value; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            while let Some(line) = self.buffer.line() {
                if let Some(json) = payload(&line) {
                    return serde_json::from_slice(json).map(Some).map_err(|error| {
                        Error::Malformed {
                            address: self.address.clone(),
                            reason: error.to_string(),
                        }
                    });
                }
            }
            match self.answer.next().await? {
                Some(piece) => self.buffer.push(&piece)?,
                None => return Ok(None),
            }
        }
    }
}

/// Returns the JSON in a line: all of it, or what follows `data:` (server-sent events, WHATWG HTML
/// section 9.2). Other fields, comments and empty lines have none.
fn payload(line: &[u8]) -> Option<&[u8]> {
    if line.starts_with(b"{") {
        return Some(line);
    }
    let data = line.strip_prefix(b"data:")?;
    Some(data.strip_prefix(b" ").unwrap_or(data))
}

/// Bytes that came in and are not read yet.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// So many of them are known to have no line end.
    searched: usize,
}

impl Buffer {
    fn push(&mut self, piece: &[u8]) -> Result<(), Error> {
        if self.bytes.len() + piece.len() > LINE_BYTES_MAX {
            return Err(broken("a line of the answer is too long"));
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Takes the next whole line out, without its end.
    fn line(&mut self) -> Option<Vec<u8>> {
        let unsearched = self.bytes.get(self.searched..).unwrap_or_default();
        let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let rest = self.bytes.split_off(self.searched + at + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        self.searched = 0;
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_however_the_bytes_come() {
        let mut buffer = Buffer::default();
        let mut lines = Vec::new();
        for byte in b"{\"a\":1}\r\n\n: alive\ndata: {}\ndata:{}\nevent: x\n{\"half\"" {
            buffer.push(&[*byte]).unwrap();
            lines.extend(buffer.line());
        }
        let payloads: Vec<_> = lines.iter().filter_map(|line| payload(line)).collect();
        assert_eq!(payloads, [&b"{\"a\":1}"[..], b"{}", b"{}"]);
    }
}
