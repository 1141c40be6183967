//! gRPC over HTTP/2 (its document "gRPC over HTTP2"): messages in the bodies, and how a call ends. Not
//! the calls, nor what the messages mean.

use std::convert::Infallible;

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

/// What is before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The longest message, as BuildKit has it.
const LONGEST: usize = 16 << 20;

/// How a call ended that was no success: the codes of gRPC that are met here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Unknown,
    InvalidArgument,
    NotFound,
    Unimplemented,
}

impl Code {
    fn text(self) -> &'static str {
        match self {
            Self::Unknown => "2",
            Self::InvalidArgument => "3",
            Self::NotFound => "5",
            Self::Unimplemented => "12",
        }
    }
}

/// A call that failed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) code: Code,
    pub(super) message: String,
}

impl Failed {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// What is answered.
pub(super) type Reply = UnsyncBoxBody<Bytes, Infallible>;

/// Returns the answer to a call that is one message.
pub(super) fn unary(answered: Result<Vec<u8>, Failed>) -> Response<Reply> {
    match answered {
        Ok(message) => {
            let frames = [Frame::data(framed(&message)), Frame::trailers(ended(None))];
            let frames = futures_util::stream::iter(frames.map(Ok));
            respond(StreamBody::new(frames).boxed_unsync())
        }
        Err(failed) => {
            let frames = [Frame::trailers(ended(Some(&failed)))];
            let frames = futures_util::stream::iter(frames.map(Ok));
            respond(StreamBody::new(frames).boxed_unsync())
        }
    }
}

/// Returns an answer with this body.
pub(super) fn respond(body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    response
}

/// Returns how a call ends.
pub(super) fn ended(failed: Option<&Failed>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let code = failed.map_or("0", |failed| failed.code.text());
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    let message = failed.map(|failed| encoded(&failed.message));
    if let Some(Ok(message)) = message.map(HeaderValue::try_from) {
        trailers.insert("grpc-message", message);
    }
    trailers
}

/// Writes a text as a header may have it.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Puts a message's length before it.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(PREFIX + message.len());
    framed.push(0);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed.into()
}

/// The messages of a body, as they come.
#[derive(Debug)]
pub(super) struct Messages<B> {
    body: B,
    come: BytesMut,
}

impl<B> Messages<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    pub(super) fn new(body: B) -> Self {
        Self {
            body,
            come: BytesMut::new(),
        }
    }

    /// Returns the next message; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failed> {
        loop {
            if let Some(message) = take(&mut self.come)? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.come.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(Failed::new(Code::Unknown, error.to_string())),
                None if self.come.is_empty() => return Ok(None),
                None => return Err(Failed::new(Code::Unknown, "a message is cut off")),
            }
        }
    }

    /// Returns the only message of a call.
    pub(super) async fn one(&mut self) -> Result<Bytes, Failed> {
        let message = self.next().await?;
        message.ok_or_else(|| Failed::new(Code::InvalidArgument, "there is no message"))
    }
}

/// Takes a whole message off what has come.
fn take(come: &mut BytesMut) -> Result<Option<Bytes>, Failed> {
    let Some((compressed, [a, b, c, d])) = come
        .first_chunk::<PREFIX>()
        .map(|[compressed, length @ ..]| (*compressed, *length))
    else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if compressed != 0 || length > LONGEST {
        let message = "messages are neither compressed nor longer than 16 MiB";
        return Err(Failed::new(Code::Unimplemented, message));
    }
    if come.len() < PREFIX + length {
        return Ok(None);
    }
    come.advance(PREFIX);
    Ok(Some(come.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_are_found_however_they_are_cut() {
        let mut sent = framed(b"one").to_vec();
        sent.extend_from_slice(&framed(b""));
        sent.extend_from_slice(&framed(b"three"));
        for size in 1..=sent.len() {
            let pieces: Vec<Bytes> = sent.chunks(size).map(Bytes::copy_from_slice).collect();
            let frames = pieces
                .into_iter()
                .map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
            let body = StreamBody::new(futures_util::stream::iter(frames));
            let mut messages = Messages::new(body);
            for expected in ["one", "", "three"] {
                assert_eq!(messages.one().await.unwrap(), expected.as_bytes());
            }
            assert_eq!(messages.next().await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn what_is_too_long_compressed_or_cut_off_is_refused() {
        for sent in [
            &[0, 0xff, 0, 0, 0][..],
            &[1, 0, 0, 0, 0],
            &[0, 0, 0, 0, 2, 9],
        ] {
            let body = http_body_util::Full::new(Bytes::copy_from_slice(sent));
            assert!(Messages::new(body).next().await.is_err(), "{sent:?}");
        }
    }

    #[test]
    fn words_are_written_as_a_header_may_have_them() {
        let failed = Failed::new(Code::NotFound, "100 %\nü");
        let trailers = ended(Some(&failed));
        assert_eq!(trailers.get("grpc-status").unwrap(), "5");
        assert_eq!(trailers.get("grpc-message").unwrap(), "100 %25%0A%C3%BC");
        assert_eq!(ended(None).get("grpc-status").unwrap(), "0");
    }
}
