//! Where a control plane elsewhere is, as people write it. Not how it is reached.

use hyper::http::uri::Authority;

/// The port of `https://` where none is named (RFC 9110 section 4.2.2).
const HTTPS_PORT: u16 = 443;

/// The port of `http://` where none is named (RFC 9110 section 4.2.1).
const HTTP_PORT: u16 = 80;

/// Why there can be no client of a control plane elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// It is no address.
    #[error(
        "`{address}` is no address of a control plane: {reason}; write https://HOST:PORT, http://HOST:PORT or HOST:PORT"
    )]
    Address {
        /// What was written.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The authorities that are to be trusted cannot be read.
    #[error("no certificate of an authority can be read: {0}")]
    Authorities(String),
}

/// Where a control plane is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remote {
    /// HTTP in the clear, at what the system resolves.
    Plain(String),
    /// HTTPS.
    Tls(Secure),
}

/// Where a control plane is that speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Secure {
    /// As it was written: host, and port where one was named.
    pub(super) authority: String,
    /// The name or address that the certificate has to be for.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Remote {
    /// Reads `https://host:port`, `http://host:port` or `host:port`. What has no scheme is taken as it is.
    pub(super) fn parse(address: &str) -> Result<Self, RemoteError> {
        let Some((scheme, rest)) = address.split_once("://") else {
            return Ok(Self::Plain(address.to_owned()));
        };
        let bad = |reason| RemoteError::Address {
            address: address.to_owned(),
            reason,
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            // The address is not repeated: what is before the sign may be a secret.
            return Err(RemoteError::Address {
                address: format!("{scheme}://..."),
                reason: "there is a name or a password in it",
            });
        }
        if authority.contains(['/', '?', '#']) {
            return Err(bad("there is more in it than a host and a port"));
        }
        let parsed: Authority = authority.parse().map_err(|_| bad("it has no good host"))?;
        let host = parsed.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        let named = authority.len() > parsed.host().len();
        let port = match parsed.port_u16() {
            None if named => return Err(bad("it has no good port")),
            port => port,
        };
        if scheme.eq_ignore_ascii_case("https") {
            return Ok(Self::Tls(Secure {
                authority: authority.to_owned(),
                host: host.to_owned(),
                port: port.unwrap_or(HTTPS_PORT),
            }));
        }
        if scheme.eq_ignore_ascii_case("http") {
            let port = port.unwrap_or(HTTP_PORT);
            return Ok(Self::Plain(format!("{}:{port}", parsed.host())));
        }
        Err(bad("it is neither of http nor of https"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(authority: &str, host: &str, port: u16) -> Remote {
        Remote::Tls(Secure {
            authority: authority.to_owned(),
            host: host.to_owned(),
            port,
        })
    }

    #[test]
    fn an_address_with_https_is_reached_over_tls_and_every_other_in_the_clear() {
        let plain = |address: &str| Remote::Plain(address.to_owned());
        for (text, remote) in [
            (
                "https://ship.example:4222",
                tls("ship.example:4222", "ship.example", 4222),
            ),
            (
                "HTTPS://ship.example/",
                tls("ship.example", "ship.example", 443),
            ),
            ("https://[::1]:4222", tls("[::1]:4222", "::1", 4222)),
            (
                "https://10.0.0.7:4222",
                tls("10.0.0.7:4222", "10.0.0.7", 4222),
            ),
            ("http://ship.example:4222/", plain("ship.example:4222")),
            ("http://[::1]", plain("[::1]:80")),
            ("ship.example:4222", plain("ship.example:4222")),
            ("127.0.0.1:4222", plain("127.0.0.1:4222")),
        ] {
            assert_eq!(Remote::parse(text).unwrap(), remote, "{text}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for text in [
            "https://",
            "https://:4222",
            "https://ship.example:port",
            "https://ship.example:",
            "https://ship.example/towpath",
            "https://a b",
            "ftp://ship.example",
        ] {
            let refused = Remote::parse(text).unwrap_err().to_string();
            assert!(refused.contains(text), "{refused}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let refused = Remote::parse("https://me:hush@ship.example").unwrap_err();
        assert!(!refused.to_string().contains("hush"), "{refused}");
    }
}
