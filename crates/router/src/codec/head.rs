//! Request and response heads (RFC 9112 sections 2 to 6). Not their meaning for routing.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri, Version};

use super::{Chunked, Decoder, Malformed, Noted};
use crate::header_maps::HeaderMaps;

/// Largest number of fields that are ever parsed.
const MAX_FIELDS: usize = 128;

/// Fields that are added to a request.
const ADDED_FIELDS: usize = 5;

/// The bounds of a head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLimits {
    pub(crate) bytes: usize,
    pub(crate) fields: usize,
}

/// Why a head cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("{0}")]
    Malformed(&'static str),
    /// More bytes or fields than the limits.
    #[error("the head is too large")]
    TooLarge,
    /// A transfer coding or a version that is not known.
    #[error("{0}")]
    NotImplemented(&'static str),
}

impl From<Malformed> for HeadError {
    fn from(Malformed(rule): Malformed) -> Self {
        Self::Malformed(rule)
    }
}

/// A request's head.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    pub(crate) target: Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) noted: Noted,
    pub(crate) body: Decoder,
    /// Whether the client wants the connection to stay open.
    pub(crate) keep_alive: bool,
}

/// A response's head.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) noted: Noted,
    pub(crate) body: Decoder,
    /// Whether the server leaves the connection open.
    pub(crate) keep_alive: bool,
}

/// Takes a request's head from the front of `input`, if it is whole.
pub(crate) fn parse_request(
    input: &mut BytesMut,
    limits: HeadLimits,
    maps: &HeaderMaps,
) -> Result<Option<RequestHead>, HeadError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let (length, method, version) = match request.parse_with_uninit_headers(input, &mut fields) {
        Ok(httparse::Status::Complete(length)) => {
            let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes());
            let method = method.map_err(|_| HeadError::Malformed("the method is not a token"))?;
            (length, method, version(request.version))
        }
        Ok(httparse::Status::Partial) => return partial(input, limits),
        Err(error) => return Err(refused(error)),
    };
    let target = span(input, request.path.unwrap_or_default().as_bytes());
    let spans = Spans::new(input, request.headers, limits)?;
    if length > limits.bytes {
        return Err(HeadError::TooLarge);
    }
    let head = input.split_to(length).freeze();
    let target = Uri::from_maybe_shared(head.slice(target.0..target.1))
        .map_err(|_| HeadError::Malformed("the request target is not a URI"))?;
    let (headers, noted) = spans.headers(&head, maps)?;
    Ok(Some(RequestHead {
        body: request_body(&headers, noted, version)?,
        keep_alive: is_kept_alive(&headers, noted, version),
        noted,
        method,
        target,
        version,
        headers,
    }))
}

/// Takes a response's head from the front of `input`, if it is whole. `method` is that of the
/// request, which decides whether there is a body.
pub(crate) fn parse_response(
    input: &mut BytesMut,
    limits: HeadLimits,
    method: &Method,
    maps: &HeaderMaps,
) -> Result<Option<ResponseHead>, HeadError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let parsed = parser.parse_response_with_uninit_headers(&mut response, input, &mut fields);
    let (length, status, version) = match parsed {
        Ok(httparse::Status::Complete(length)) => {
            let status = StatusCode::from_u16(response.code.unwrap_or_default());
            let status = status.map_err(|_| HeadError::Malformed("the status is not a status"))?;
            (length, status, version(response.version))
        }
        Ok(httparse::Status::Partial) => return partial(input, limits),
        Err(error) => return Err(refused(error)),
    };
    let spans = Spans::new(input, response.headers, limits)?;
    let head = input.split_to(length).freeze();
    let (headers, noted) = spans.headers(&head, maps)?;
    let framed = (status, method);
    let body = response_body(&headers, noted, version, framed)?;
    let kept = is_kept_alive(&headers, noted, version);
    Ok(Some(ResponseHead {
        keep_alive: kept && !matches!(body, Decoder::UntilClose),
        status,
        headers,
        noted,
        body,
    }))
}

fn partial<T>(input: &BytesMut, limits: HeadLimits) -> Result<Option<T>, HeadError> {
    if input.len() >= limits.bytes {
        Err(HeadError::TooLarge)
    } else {
        Ok(None)
    }
}

fn refused(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        httparse::Error::Version => HeadError::NotImplemented("the HTTP version is not supported"),
        httparse::Error::HeaderName => HeadError::Malformed("a field name is not a token"),
        httparse::Error::HeaderValue => HeadError::Malformed("a field value has forbidden bytes"),
        _ => HeadError::Malformed("the start line or a line end is malformed"),
    }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    }
}

/// Where a part of a buffer starts and ends.
type Span = (usize, usize);

/// Returns where `part`, a slice of `whole`, starts and ends in it.
fn span(whole: &[u8], part: &[u8]) -> Span {
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    (start, start + part.len())
}

/// Where names and values are, so that the bytes can be shared instead of copied.
struct Spans(Vec<(Span, Span)>);

impl Spans {
    fn new(
        input: &[u8],
        parsed: &[httparse::Header<'_>],
        limits: HeadLimits,
    ) -> Result<Self, HeadError> {
        if parsed.len() > limits.fields {
            return Err(HeadError::TooLarge);
        }
        let spans = parsed
            .iter()
            .map(|field| (span(input, field.name.as_bytes()), span(input, field.value)));
        Ok(Self(spans.collect()))
    }

    fn headers(&self, head: &Bytes, maps: &HeaderMaps) -> Result<(HeaderMap, Noted), Malformed> {
        let mut headers = maps.take(self.0.len() + ADDED_FIELDS);
        let mut noted = Noted::default();
        for &(name, value) in &self.0 {
            let name = head.get(name.0..name.1).unwrap_or_default();
            let name = HeaderName::from_bytes(name)
                .map_err(|_| Malformed("a field name is not a token"))?;
            let value = HeaderValue::from_maybe_shared(head.slice(value.0..value.1))
                .map_err(|_| Malformed("a field value has forbidden bytes"))?;
            // Equal lengths are one length; different ones are refused below by their number.
            if name == header::CONTENT_LENGTH && headers.get(&name) == Some(&value) {
                continue;
            }
            noted.note(&name);
            headers.append(name, value);
        }
        Ok((headers, noted))
    }
}

/// Parses a whole section of fields that ends in an empty line.
pub(super) fn fields(section: &Bytes) -> Result<HeaderMap, Malformed> {
    let mut parsed = [httparse::EMPTY_HEADER; MAX_FIELDS];
    match httparse::parse_headers(section, &mut parsed) {
        Ok(httparse::Status::Complete((_, parsed))) => {
            let limits = HeadLimits {
                bytes: usize::MAX,
                fields: MAX_FIELDS,
            };
            let spans =
                Spans::new(section, parsed, limits).map_err(|_| Malformed("too many fields"))?;
            let (fields, _) = spans.headers(section, &HeaderMaps::default())?;
            Ok(fields)
        }
        _ => Err(Malformed("a trailer field is malformed")),
    }
}

/// RFC 9112 section 6.3 for requests, with everything ambiguous refused.
fn request_body(headers: &HeaderMap, noted: Noted, version: Version) -> Result<Decoder, HeadError> {
    let coding = transfer_coding(headers, noted, version)?;
    let length = content_length(headers, noted)?;
    match (coding, length) {
        (Coding::Absent, length) => Ok(Decoder::length(length.unwrap_or(0))),
        (_, Some(_)) => Err(HeadError::Malformed(
            "both Content-Length and Transfer-Encoding",
        )),
        (Coding::Chunked, None) => Ok(Decoder::Chunked(Chunked::default())),
        (Coding::Other, None) => Err(HeadError::NotImplemented(
            "a transfer coding other than chunked",
        )),
    }
}

/// RFC 9112 section 6.3 for responses.
fn response_body(
    headers: &HeaderMap,
    noted: Noted,
    version: Version,
    (status, method): (StatusCode, &Method),
) -> Result<Decoder, HeadError> {
    let no_body = method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let coding = transfer_coding(headers, noted, version)?;
    let length = content_length(headers, noted)?;
    if no_body {
        return Ok(Decoder::Done);
    }
    match (coding, length) {
        (Coding::Absent, Some(length)) => Ok(Decoder::length(length)),
        (Coding::Absent, None) => Ok(Decoder::UntilClose),
        (_, Some(_)) => Err(HeadError::Malformed(
            "both Content-Length and Transfer-Encoding",
        )),
        (Coding::Chunked, None) => Ok(Decoder::Chunked(Chunked::default())),
        (Coding::Other, None) => Err(HeadError::NotImplemented(
            "a transfer coding other than chunked",
        )),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Absent,
    Chunked,
    Other,
}

fn transfer_coding(
    headers: &HeaderMap,
    noted: Noted,
    version: Version,
) -> Result<Coding, HeadError> {
    if !noted.has(Noted::CODING) {
        return Ok(Coding::Absent);
    }
    let mut values = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(value) = values.next() else {
        return Ok(Coding::Absent);
    };
    if version == Version::HTTP_10 {
        return Err(HeadError::Malformed(
            "Transfer-Encoding in an HTTP/1.0 message",
        ));
    }
    let only = values.next().is_none();
    if only && value.as_bytes().eq_ignore_ascii_case(b"chunked") {
        Ok(Coding::Chunked)
    } else {
        Ok(Coding::Other)
    }
}

fn content_length(headers: &HeaderMap, noted: Noted) -> Result<Option<u64>, HeadError> {
    if !noted.has(Noted::LENGTH) {
        return Ok(None);
    }
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let digits = value.to_str().ok().filter(|text| {
            (1..=19).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit())
        });
        let this: u64 = digits
            .and_then(|text| text.parse().ok())
            .ok_or(HeadError::Malformed("Content-Length is not a number"))?;
        if length.is_some_and(|length| length != this) {
            return Err(HeadError::Malformed("Content-Length fields that differ"));
        }
        length = Some(this);
    }
    Ok(length)
}

/// RFC 9112 section 9.3: an HTTP/1.1 connection is kept unless told otherwise, an older one only
/// when asked to.
fn is_kept_alive(headers: &HeaderMap, noted: Noted, version: Version) -> bool {
    if !noted.has(Noted::CONNECTION) {
        return version == Version::HTTP_11;
    }
    let has = |option: &[u8]| {
        headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&c| c == b','))
            .any(|one| one.trim_ascii().eq_ignore_ascii_case(option))
    };
    !has(b"close") && (version == Version::HTTP_11 || has(b"keep-alive"))
}

/// Writes the start of a request's head, without the fields and the empty line.
pub(crate) fn write_request(output: &mut Vec<u8>, method: &Method, target: &str) {
    output.extend_from_slice(method.as_str().as_bytes());
    output.extend_from_slice(b" ");
    output.extend_from_slice(target.as_bytes());
    output.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Writes the start of a response's head, without the fields and the empty line.
pub(crate) fn write_status(output: &mut Vec<u8>, status: StatusCode) {
    output.extend_from_slice(b"HTTP/1.1 ");
    output.extend_from_slice(status.as_str().as_bytes());
    output.extend_from_slice(b" ");
    output.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    output.extend_from_slice(b"\r\n");
}

/// Writes fields, each with its line end.
pub(crate) fn write_fields(output: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        output.reserve(name.as_str().len() + value.len() + 4);
        output.extend_from_slice(name.as_str().as_bytes());
        output.extend_from_slice(b": ");
        output.extend_from_slice(value.as_bytes());
        output.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 1_000,
        fields: 10,
    };

    fn request(text: &str) -> Result<Option<RequestHead>, HeadError> {
        let maps = HeaderMaps::default();
        parse_request(&mut BytesMut::from(text.as_bytes()), LIMITS, &maps)
    }

    #[test]
    fn a_head_is_taken_only_when_it_is_whole() {
        let mut input = BytesMut::from(&b"GET /a?b HTTP/1.1\r\nHost: h\r\n"[..]);
        let maps = HeaderMaps::default();
        assert!(parse_request(&mut input, LIMITS, &maps).unwrap().is_none());
        input.extend_from_slice(b"\r\nrest");
        let head = parse_request(&mut input, LIMITS, &maps).unwrap().unwrap();
        assert_eq!(
            (head.target.to_string().as_str(), &input[..]),
            ("/a?b", &b"rest"[..])
        );
        assert_eq!(head.headers["host"], "h");
    }

    #[test]
    fn framing_that_could_be_read_in_two_ways_is_refused() {
        for fields in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 4",
            "Content-Length: 4\r\nContent-Length: 5",
            "Content-Length: 4, 4",
            "Content-Length: +4",
            "Content-Length: -4",
            "Content-Length: 4 4",
            "Content-Length: 0x4",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: \u{b}chunked",
            "Transfer-Encoding : chunked",
            "Folded: a\r\n b",
            "Nul: a\0b",
        ] {
            let refused = request(&format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n"));
            assert!(refused.is_err(), "{fields}");
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(request(old).is_err());
        let same = "POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n";
        assert!(matches!(
            request(same).unwrap().unwrap().body,
            Decoder::Length(4)
        ));
    }

    #[test]
    fn heads_beyond_the_limits_are_too_large() {
        let long = format!("GET / HTTP/1.1\r\na: {}", "x".repeat(2_000));
        assert_eq!(request(&long).unwrap_err(), HeadError::TooLarge);
        assert_eq!(
            request(&format!("{long}\r\n\r\n")).unwrap_err(),
            HeadError::TooLarge
        );
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(11));
        assert_eq!(request(&many).unwrap_err(), HeadError::TooLarge);
    }

    #[test]
    fn keep_alive_follows_the_version_and_the_connection_field() {
        for (head, kept) in [
            ("GET / HTTP/1.1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ] {
            assert_eq!(request(head).unwrap().unwrap().keep_alive, kept, "{head}");
        }
    }

    #[test]
    fn a_response_body_is_framed_by_method_status_and_fields() {
        let body = |text: &str, method: &Method| {
            let mut input = BytesMut::from(text.as_bytes());
            parse_response(&mut input, LIMITS, method, &HeaderMaps::default())
                .unwrap()
                .unwrap()
                .body
        };
        let sized = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        assert!(matches!(body(sized, &Method::GET), Decoder::Length(3)));
        assert!(matches!(body(sized, &Method::HEAD), Decoder::Done));
        assert!(matches!(
            body("HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n", &Method::GET),
            Decoder::Done
        ));
        assert!(matches!(
            body("HTTP/1.1 200 OK\r\n\r\n", &Method::GET),
            Decoder::UntilClose
        ));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(matches!(body(chunked, &Method::GET), Decoder::Chunked(_)));
    }
}
