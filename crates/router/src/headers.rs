//! The fields that a proxy must take away and those that it adds. Not framing, which each
//! connection writes for itself.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version};

use crate::codec::Noted;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACEPARENT_LENGTH: usize = 55;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Why a request is answered 400 by its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadRequest(pub(crate) &'static str);

/// Returns the authority that a request is for: that of its target, else the `Host` field
/// (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
pub(crate) fn authority(
    target: &Uri,
    headers: &HeaderMap,
    version: Version,
) -> Result<HeaderValue, BadRequest> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(BadRequest("more than one Host field"));
    }
    if let Some(authority) = target.authority() {
        // User information is not part of a host, and no client should send it.
        let text = authority.as_str();
        let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
        return HeaderValue::from_str(host)
            .map_err(|_| BadRequest("the target's authority is not a host"));
    }
    match host {
        Some(host) if is_authority(host) => Ok(host.clone()),
        Some(_) => Err(BadRequest("the Host field is not a host")),
        None if version == Version::HTTP_10 => Ok(HeaderValue::from_static("")),
        None => Err(BadRequest("no Host field")),
    }
}

/// Whether `host` has only characters of a host and a port.
fn is_authority(host: &HeaderValue) -> bool {
    host.as_bytes()
        .iter()
        .all(|&c| c.is_ascii_graphic() && !matches!(c, b'/' | b'?' | b'#' | b'@' | b','))
}

/// Returns the protocol that a request asks to change to (RFC 9110 section 7.8).
pub(crate) fn upgrade(headers: &HeaderMap, version: Version) -> Option<HeaderValue> {
    if version != Version::HTTP_11 || !has_option(headers, b"upgrade") {
        return None;
    }
    headers.get(header::UPGRADE).cloned()
}

fn options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&c| c == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty())
}

fn has_option(headers: &HeaderMap, name: &[u8]) -> bool {
    options(headers).any(|option| option.eq_ignore_ascii_case(name))
}

/// Takes away the fields that are meant for one connection (RFC 9110 section 7.6.1): those that
/// `Connection` names, and those that are known to be such. `TE: trailers` stays.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = options(headers)
            .filter_map(|option| HeaderName::from_bytes(option).ok())
            .filter(|name| !is_end_to_end(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
    if let Some(codings) = headers.remove(header::TE) {
        let mut codings = codings
            .as_bytes()
            .split(|&c| c == b',')
            .map(<[u8]>::trim_ascii);
        if codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers")) {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
}

/// Fields that `Connection` must not name: taking them away would change what the request is.
fn is_end_to_end(name: &HeaderName) -> bool {
    [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TE,
        header::AUTHORIZATION,
        header::COOKIE,
    ]
    .contains(name)
        || [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST].contains(name)
}

/// Makes a request's fields those that a backend is to see.
pub(crate) fn prepare_request(
    headers: &mut HeaderMap,
    noted: Noted,
    peer: &HeaderValue,
    authority: &HeaderValue,
    upgrade: Option<&HeaderValue>,
) {
    if noted.has_any_of_one_connection() {
        strip_hop_by_hop(headers);
    }
    if noted.has(Noted::LENGTH) {
        headers.remove(header::CONTENT_LENGTH);
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
    headers.insert(FORWARDED_HOST, authority.clone());
    if headers.get(header::HOST) != Some(authority) {
        headers.insert(header::HOST, authority.clone());
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    forwarded_for(headers, peer);
    if !headers.get(TRACEPARENT).is_some_and(is_traceparent) {
        headers.insert(TRACEPARENT, new_traceparent());
    }
}

fn forwarded_for(headers: &mut HeaderMap, peer: &HeaderValue) {
    let before = headers.get_all(FORWARDED_FOR).iter();
    let mut chain: Vec<_> = before.filter_map(|value| value.to_str().ok()).collect();
    let value = if chain.is_empty() {
        peer.clone()
    } else {
        chain.extend(peer.to_str());
        HeaderValue::try_from(chain.join(", ")).unwrap_or_else(|_| peer.clone())
    };
    headers.insert(FORWARDED_FOR, value);
}

/// Whether `value` is a `traceparent` (W3C Trace Context section 3.2).
fn is_traceparent(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else {
        return false;
    };
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        parts.next().filter(|part| {
            part.len() == length && part.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    let (version, trace, parent, flags) = (hex(2), hex(32), hex(16), hex(2));
    let set = |id: Option<&str>| id.is_some_and(|id| id.bytes().any(|c| c != b'0'));
    version.is_some_and(|version| version != "ff") && set(trace) && set(parent) && flags.is_some()
}

fn new_traceparent() -> HeaderValue {
    let trace: u128 = rand::random();
    let parent: u64 = rand::random();
    let mut text = Vec::with_capacity(TRACEPARENT_LENGTH);
    text.extend_from_slice(b"00-");
    write_hex(&mut text, &trace.max(1).to_be_bytes());
    text.push(b'-');
    write_hex(&mut text, &parent.max(1).to_be_bytes());
    text.extend_from_slice(b"-01");
    HeaderValue::from_maybe_shared(Bytes::from(text))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn write_hex(text: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |four: u8| DIGITS.get(usize::from(four)).copied().unwrap_or_default();
    for byte in bytes {
        text.extend_from_slice(&[digit(byte >> 4), digit(byte & 0x0f)]);
    }
}

/// Whether a method asks only for information (RFC 9110 section 9.2.1); TRACE is left out, for
/// nobody needs it replayed.
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a request may be sent twice (RFC 9110 section 9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    is_safe(method) || matches!(*method, Method::PUT | Method::DELETE | Method::TRACE)
}

/// Whether the client waits for `100 Continue` before it sends a body.
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Whether a request is a gRPC call.
pub(crate) fn is_grpc(headers: &HeaderMap, version: Version) -> bool {
    version == Version::HTTP_2
        && headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::try_from(*name).unwrap();
            headers.append(name, HeaderValue::try_from(*value).unwrap());
        }
        headers
    }

    fn prepared(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = headers(fields);
        prepare_request(
            &mut headers,
            Noted::ALL,
            &HeaderValue::from_static("192.0.2.7"),
            &HeaderValue::from_static("shop.test"),
            None,
        );
        headers
    }

    #[test]
    fn fields_of_one_connection_are_not_forwarded() {
        let headers = prepared(&[
            ("Connection", "close, X-Private"),
            ("Connection", "X-Other, Host"),
            ("X-Private", "1"),
            ("X-Other", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Upgrade", "h2c"),
            ("TE", "gzip, trailers"),
            ("X-Kept", "1"),
        ]);
        for gone in [
            "connection",
            "x-private",
            "x-other",
            "keep-alive",
            "proxy-connection",
            "upgrade",
        ] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(headers["te"], "trailers");
        assert_eq!(headers["x-kept"], "1");
        assert_eq!(headers["host"], "shop.test");
    }

    #[test]
    fn who_asked_is_added_and_not_believed() {
        let headers = prepared(&[
            ("X-Forwarded-For", "198.51.100.1"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "evil.test"),
        ]);
        assert_eq!(headers["x-forwarded-for"], "198.51.100.1, 192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "shop.test");
    }

    #[test]
    fn a_trace_is_continued_or_begun() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(prepared(&[("traceparent", good)])["traceparent"], good);
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for bad in ["", "x", zero] {
            let headers = prepared(&[("traceparent", bad)]);
            assert!(is_traceparent(&headers["traceparent"]), "{bad}");
            assert_ne!(headers["traceparent"], bad);
        }
    }

    #[test]
    fn the_authority_is_that_of_the_target_before_the_host_field() {
        let of = |target: &str, fields: &[(&str, &str)], version| {
            authority(&target.parse().unwrap(), &headers(fields), version)
        };
        let v11 = Version::HTTP_11;
        assert_eq!(of("/", &[("Host", "a:1")], v11).unwrap(), "a:1");
        assert_eq!(of("http://u@b/", &[("Host", "a")], v11).unwrap(), "b");
        assert_eq!(of("/", &[], Version::HTTP_10).unwrap(), "");
        assert!(of("/", &[], v11).is_err());
        assert!(of("/", &[("Host", "a"), ("Host", "a")], v11).is_err());
        assert!(of("/", &[("Host", "a/b")], v11).is_err());
        assert!(of("/", &[("Host", "a b")], v11).is_err());
    }
}
