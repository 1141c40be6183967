//! The head of a CGI answer (RFC 3875 section 6). Not its body.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// The longest head that is read, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;

/// The fields that are passed on: those that Git writes.
const FIELDS: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::PRAGMA,
];

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
}

/// Finds where the head ends: the place of the body. `None` while it has not ended.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    let after = |end: &[u8]| {
        let at = bytes.windows(end.len()).position(|window| window == end)?;
        Some(at + end.len())
    };
    let ends = [after(b"\r\n\r\n"), after(b"\n\n")];
    ends.into_iter().flatten().min()
}

/// Reads a head. `None` when it is none.
pub(super) fn parse(bytes: &[u8]) -> Option<Head> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut head = Head {
        status: StatusCode::OK,
        fields: HeaderMap::new(),
    };
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next()?;
            head.status = StatusCode::from_bytes(code.as_bytes()).ok()?;
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        if FIELDS.contains(&name) {
            head.fields.append(name, HeaderValue::from_str(value).ok()?);
        }
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_with_its_status_and_the_fields_that_git_writes() {
        let bytes = b"Status: 404 Not Found\r\nContent-Type: text/plain\r\nX-Other: 1\r\n\r\nbody";
        let at = end(bytes).unwrap();
        assert_eq!(&bytes[at..], b"body");
        let head = parse(&bytes[..at]).unwrap();
        assert_eq!(head.status, StatusCode::NOT_FOUND);
        assert_eq!(head.fields.len(), 1);
        assert_eq!(head.fields[header::CONTENT_TYPE], "text/plain");
    }

    #[test]
    fn without_a_status_it_is_good() {
        let head = parse(b"Pragma: no-cache\n\n").unwrap();
        assert_eq!(head.status, StatusCode::OK);
    }

    #[test]
    fn what_is_no_head_is_refused() {
        assert_eq!(end(b"Status: 200 OK\r\nContent-"), None);
        for bad in [
            &b"no field\r\n\r\n"[..],
            b"Status: x\r\n\r\n",
            b"\xff: 1\r\n\r\n",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
