//! Which fields about the connection a head has, noted while it is parsed. Not what they say.
//!
//! Most heads have none of them, and looking a field up costs more than noting that it is there.

use http::header::{self, HeaderName};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// A set of kinds of fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Noted(u8);

impl Noted {
    /// `Connection`.
    pub(crate) const CONNECTION: Self = Self(1);
    /// `Content-Length`.
    pub(crate) const LENGTH: Self = Self(1 << 1);
    /// `Transfer-Encoding`.
    pub(crate) const CODING: Self = Self(1 << 2);
    /// Other fields for one connection: `Keep-Alive`, `Proxy-Connection`, `TE`, `Upgrade`.
    pub(crate) const OTHER: Self = Self(1 << 3);
    /// For fields that were not looked at one by one.
    pub(crate) const ALL: Self = Self(0xff);

    /// Notes that a head has the field `name`.
    pub(crate) fn note(&mut self, name: &HeaderName) {
        let kind = match *name {
            header::CONNECTION => Self::CONNECTION,
            header::CONTENT_LENGTH => Self::LENGTH,
            header::TRANSFER_ENCODING => Self::CODING,
            header::TE | header::UPGRADE => Self::OTHER,
            _ if *name == KEEP_ALIVE || *name == PROXY_CONNECTION => Self::OTHER,
            _ => return,
        };
        self.0 |= kind.0;
    }

    /// Whether a field of this kind may be there.
    pub(crate) fn has(self, kind: Self) -> bool {
        self.0 & kind.0 != 0
    }

    /// Whether a field may be there that is meant for one connection.
    pub(crate) fn has_any_of_one_connection(self) -> bool {
        self.0 & !Self::LENGTH.0 != 0
    }
}
