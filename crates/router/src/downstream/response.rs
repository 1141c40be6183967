//! How a response is framed for an HTTP/1.1 client. Not where the response comes from.

use std::cell::RefCell;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, Method, Response, StatusCode, Version, header};

use crate::body::Body;
use crate::codec::{write_fields, write_status};
use crate::forward::CloseAfter;
use crate::transfer::{Framing, write_framing};

/// What of a request decides how its response is framed.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) keep_alive: bool,
}

/// Writes the head of `response`; returns how its body is framed and whether the connection stays
/// open behind it.
pub(super) fn write_head(
    out: &mut Vec<u8>,
    response: &mut Response<Body>,
    asked: &Asked,
) -> (Framing, bool) {
    let status = response.status();
    let length = http_body::Body::size_hint(response.body()).exact();
    let no_body = asked.method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let headers = response.headers_mut();
    let framing = if no_body {
        if status == StatusCode::NO_CONTENT {
            headers.remove(header::CONTENT_LENGTH);
        }
        None
    } else {
        headers.remove(header::CONTENT_LENGTH);
        Some(match length {
            Some(length) => Framing::Length(length),
            None if asked.version == Version::HTTP_11 => Framing::Chunked,
            None => Framing::Close,
        })
    };
    if no_body {
        *response.body_mut() = Body::Empty;
    }
    let told_to_close = response.extensions().get::<CloseAfter>().is_some();
    let keep_alive = asked.keep_alive && framing != Some(Framing::Close) && !told_to_close;
    write_status(out, status);
    write_fields(out, response.headers());
    write_framing(out, framing);
    if !response.headers().contains_key(header::DATE) {
        write_date(out);
    }
    write_connection(out, asked.version, keep_alive);
    out.extend_from_slice(b"\r\n");
    (framing.unwrap_or(Framing::Length(0)), keep_alive)
}

fn write_connection(out: &mut Vec<u8>, version: Version, keep_alive: bool) {
    if !keep_alive {
        out.extend_from_slice(b"connection: close\r\n");
    } else if version == Version::HTTP_10 {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
}

/// Writes the head of an answer that switches protocols.
pub(super) fn write_switch(out: &mut Vec<u8>, headers: &HeaderMap) {
    write_status(out, StatusCode::SWITCHING_PROTOCOLS);
    write_fields(out, headers);
    out.extend_from_slice(b"\r\n");
}

thread_local! {
    /// The `Date` field of this second, written once for all answers of the thread.
    static DATE: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
}

fn write_date(out: &mut Vec<u8>) {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse).tv_sec;
    DATE.with_borrow_mut(|(second, line)| {
        if *second != now {
            let since = Duration::from_secs(u64::try_from(now).unwrap_or(0));
            *line = format!("date: {}\r\n", httpdate::HttpDate::from(UNIX_EPOCH + since));
            *second = now;
        }
        out.extend_from_slice(line.as_bytes());
    });
}
