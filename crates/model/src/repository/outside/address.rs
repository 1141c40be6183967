//! Addresses: of repositories elsewhere, and of the web. Not what is behind them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a repository elsewhere is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP over TLS.
    Https,
    /// HTTP that everybody on the way can read.
    Http,
    /// SSH.
    Ssh,
    /// A directory of this machine.
    File,
}

/// Where a repository elsewhere is: `https://`, `http://`, `ssh://` or `file://`, or `user@host:path`.
/// There is no password in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RemoteUrl {
    text: String,
}

/// A text that is no address of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct BadUrl {
    reason: String,
}

impl RemoteUrl {
    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the host, with its port where it is not the usual one; `None` for a directory.
    pub fn authority(&self) -> Option<&str> {
        let authority = match self.text.split_once("://") {
            Some(("file", _)) => return None,
            Some((_, rest)) => rest.split('/').next()?,
            None => self.text.split(':').next()?,
        };
        let without_user = authority.rsplit_once('@').map(|(_, host)| host);
        Some(without_user.unwrap_or(authority))
    }

    /// Returns the host without a port; `None` for a directory.
    pub fn host(&self) -> Option<&str> {
        let authority = self.authority()?;
        match authority.split_once(']') {
            // An address of IPv6 has colons of its own.
            Some((host, _)) if host.starts_with('[') => authority.get(..=host.len()),
            _ => authority.split(':').next(),
        }
    }

    /// Returns the path, without what begins it.
    pub fn path(&self) -> Option<&str> {
        let rest = match self.text.split_once("://") {
            Some((_, rest)) => rest.split_once('/')?.1,
            None => self.text.split_once(':')?.1,
        };
        Some(rest)
    }

    /// Returns how it is reached.
    pub fn transport(&self) -> Transport {
        let starts = |scheme: &str| self.text.starts_with(scheme);
        if starts("https://") {
            Transport::Https
        } else if starts("http://") {
            Transport::Http
        } else if starts("file://") {
            Transport::File
        } else {
            Transport::Ssh
        }
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RemoteUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = |reason: &str| BadUrl {
            reason: reason.to_owned(),
        };
        let odd = |c: char| c.is_control() || c.is_whitespace();
        if text.is_empty() || text.len() > 2000 || text.starts_with('-') || text.contains(odd) {
            return Err(bad("an address has no spaces and does not begin with `-`"));
        }
        let (authority, path) = match text.split_once("://") {
            Some(("file", path)) if path.starts_with('/') => ("", path),
            Some(("https" | "http" | "ssh", rest)) => rest
                .split_once('/')
                .ok_or_else(|| bad("the address has no path: which repository of the host?"))?,
            Some((scheme, _)) => {
                let schemes = "use https://, http://, ssh:// or file:///, or user@host:path";
                return Err(bad(&format!("`{scheme}` is not spoken: {schemes}")));
            }
            None => text
                .split_once(':')
                .filter(|(host, _)| !host.contains('/'))
                .ok_or_else(|| {
                    bad("use https://, http://, ssh:// or file:///, or user@host:path")
                })?,
        };
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if user.contains(':') || (!user.is_empty() && text.starts_with("http")) {
            return Err(bad(
                "no name and no password belongs into the address: set the secret `credential`",
            ));
        }
        let is_file = text.starts_with("file:");
        if host.starts_with('-') || user.starts_with('-') || (host.is_empty() && !is_file) {
            return Err(bad("the address has no host"));
        }
        if path.is_empty() || path.starts_with('-') {
            return Err(bad(
                "the address has no path: which repository of the host?",
            ));
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for RemoteUrl {
    type Error = BadUrl;
    fn try_from(text: String) -> Result<Self, BadUrl> {
        text.parse()
    }
}

impl From<RemoteUrl> for String {
    fn from(url: RemoteUrl) -> Self {
        url.text
    }
}

/// An address of the web: `https://` or `http://`, a host, and perhaps more. There is no password in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WebUrl(String);

impl WebUrl {
    /// Returns the address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for WebUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = |reason: &str| BadUrl {
            reason: format!("`{text}` is no address of the web: {reason}"),
        };
        let odd = |c: char| c.is_control() || c.is_whitespace();
        if text.len() > 2000 || text.contains(odd) {
            return Err(bad("there is a space in it, or too much of it"));
        }
        let Some(("https" | "http", rest)) = text.split_once("://") else {
            return Err(bad("it begins with https:// or http://"));
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() || authority.contains('@') {
            return Err(bad("it has a host, and no name before it"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for WebUrl {
    type Error = BadUrl;
    fn try_from(text: String) -> Result<Self, BadUrl> {
        text.parse()
    }
}

impl From<WebUrl> for String {
    fn from(url: WebUrl) -> Self {
        url.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_the_known_kinds_and_have_no_password() {
        for (good, transport) in [
            ("https://git.example.com/shop.git", Transport::Https),
            ("http://127.0.0.1:8000/git/shop", Transport::Http),
            ("ssh://git@git.example.com:2222/shop.git", Transport::Ssh),
            ("git@git.example.com:team/shop.git", Transport::Ssh),
            ("file:///srv/shop.git", Transport::File),
        ] {
            let url: RemoteUrl = good.parse().unwrap();
            assert_eq!(url.transport(), transport, "{good}");
        }
        for bad in [
            "",
            "shop",
            "/srv/shop.git",
            "file://shop",
            "ext::sh -c id",
            "ext://x/y",
            "git://git.example.com/shop",
            "--upload-pack=touch /tmp/x",
            "-oProxyCommand=x:y",
            "ssh://-oProxyCommand=x/y",
            "https://ada:password@git.example.com/shop",
            "https://token@git.example.com/shop",
            "https://git.example.com",
            "https:///shop",
            "git@host:-x",
            "https://git.example.com/a b",
        ] {
            assert!(bad.parse::<RemoteUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_taken_apart() {
        for (url, host, authority, path) in [
            (
                "https://git.example.com:3000/a/b.git",
                "git.example.com",
                "git.example.com:3000",
                "a/b.git",
            ),
            (
                "ssh://git@git.example.com:22/a/b",
                "git.example.com",
                "git.example.com:22",
                "a/b",
            ),
            (
                "git@git.example.com:a/b",
                "git.example.com",
                "git.example.com",
                "a/b",
            ),
            ("http://[::1]:80/a", "[::1]", "[::1]:80", "a"),
        ] {
            let url: RemoteUrl = url.parse().unwrap();
            assert_eq!(url.host(), Some(host), "{url}");
            assert_eq!(url.authority(), Some(authority), "{url}");
            assert_eq!(url.path(), Some(path), "{url}");
        }
        let directory: RemoteUrl = "file:///srv/shop".parse().unwrap();
        assert_eq!(directory.host(), None);
    }

    #[test]
    fn an_address_of_the_web_has_a_host_and_nobody_in_it() {
        for good in ["https://ci.example.com", "http://[::1]:80/runs/{run}?x=1"] {
            assert!(good.parse::<WebUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "ci.example.com",
            "ftp://x/y",
            "https://",
            "https:///x",
            "https://a:b@c/d",
            "https://a b",
        ] {
            assert!(bad.parse::<WebUrl>().is_err(), "{bad}");
        }
    }
}
