//! Interim answers (`103 Early Hints` and others, RFC 9110 section 15.2) on their way from a backend
//! to a client. Not `100 Continue` and `101 Switching Protocols`, which mean something to the router.

use std::sync::{Mutex, PoisonError};

use http::{StatusCode, Version};

use crate::codec::{ResponseHead, write_fields, write_status};
use crate::headers::strip_hop_by_hop;

/// A client that reads slower than a backend sends them gets no more than so many bytes.
const MAX_WAITING: usize = 64 * 1024;

/// The interim answers to one request.
#[derive(Debug)]
pub(crate) struct Interim(Option<Mutex<Vec<u8>>>);

impl Interim {
    /// For a client that speaks HTTP/1 in this version: an older one takes none.
    pub(crate) fn for_version(version: Version) -> Self {
        Self((version == Version::HTTP_11).then(Mutex::default))
    }

    /// For a client that is not told. hyper's server for HTTP/2 cannot send them.
    pub(crate) fn untold() -> Self {
        Self(None)
    }

    /// Writes an interim answer, for the client to take.
    pub(crate) fn tell(&self, mut head: ResponseHead) {
        let Some(waiting) = &self.0 else { return };
        if matches!(
            head.status,
            StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS
        ) {
            return;
        }
        strip_hop_by_hop(&mut head.headers);
        head.headers.remove(http::header::CONTENT_LENGTH);
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_WAITING {
            write_status(&mut waiting, head.status);
            write_fields(&mut waiting, &head.headers);
            waiting.extend_from_slice(b"\r\n");
        }
    }

    /// Moves what waits behind `out`.
    pub(crate) fn take(&self, out: &mut Vec<u8>) {
        if let Some(waiting) = &self.0 {
            out.append(&mut waiting.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}
