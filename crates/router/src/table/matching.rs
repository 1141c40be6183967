//! Which route a host and a path belong to. Not what the route does.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::Route;

/// The routes of one listener by host.
#[derive(Debug, Default)]
pub(crate) struct HostIndex {
    exact: HashMap<String, Vec<Arc<Route>>>,
    /// By what follows `*.`.
    wildcard: HashMap<String, Vec<Arc<Route>>>,
    any: Vec<Arc<Route>>,
}

impl HostIndex {
    /// Indexes `routes`. Among equals the first wins.
    pub(crate) fn new(routes: impl IntoIterator<Item = (Vec<String>, Arc<Route>)>) -> Self {
        let mut index = Self::default();
        for (hosts, route) in routes {
            if hosts.is_empty() {
                index.any.push(Arc::clone(&route));
            }
            for host in hosts {
                let host = normal_host(&host).into_owned();
                let slot = match host.strip_prefix("*.") {
                    Some(parent) => index.wildcard.entry(parent.to_owned()),
                    None => index.exact.entry(host),
                };
                slot.or_default().push(Arc::clone(&route));
            }
        }
        let lists = index.exact.values_mut().chain(index.wildcard.values_mut());
        for list in lists.chain(std::iter::once(&mut index.any)) {
            list.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        }
        index
    }

    /// Returns all routes; one with several hosts comes several times.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        let named = self.exact.values().chain(self.wildcard.values()).flatten();
        named.chain(&self.any)
    }

    /// Returns the route for a host as [`normal_host`] writes it and an absolute path.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        let exact = || self.exact.get(host);
        let wildcard = || {
            let (label, parent) = host.split_once('.')?;
            (!label.is_empty()).then(|| self.wildcard.get(parent))?
        };
        let under = |routes: &'_ Vec<Arc<Route>>| {
            routes
                .iter()
                .position(|route| is_under(&route.prefix, path))
        };
        let search = |routes: Option<&'_ Vec<Arc<Route>>>| routes.and_then(under);
        if let Some(at) = search(exact()) {
            return exact()?.get(at);
        }
        if let Some(at) = search(wildcard()) {
            return wildcard()?.get(at);
        }
        self.any.get(under(&self.any)?)
    }
}

/// Writes a path prefix without its last slash, so `/` becomes the empty prefix of all paths.
pub(crate) fn normal_prefix(prefix: &str) -> String {
    prefix.trim_end_matches('/').to_owned()
}

/// Whether `path` is `prefix` or lies below it. `prefix` does not end in a slash.
fn is_under(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

/// Writes a `Host` field or an authority in the form that hosts are compared in: without the port
/// and the final dot, in lower case.
pub(crate) fn normal_host(authority: &str) -> Cow<'_, str> {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|c| c.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(routes: &[(&[&str], &str)]) -> HostIndex {
        HostIndex::new(routes.iter().map(|(hosts, prefix)| {
            let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
            (hosts, Arc::new(Route::for_test(prefix)))
        }))
    }

    fn found(index: &HostIndex, host: &str, path: &str) -> Option<String> {
        index
            .find(&normal_host(host), path)
            .map(|route| route.prefix.clone())
    }

    #[test]
    fn the_most_specific_host_wins_before_the_longest_prefix() {
        let index = index(&[
            (&[], "/any/deep"),
            (&["*.example.com"], "/wild"),
            (&["a.example.com"], "/exact"),
            (&["a.example.com"], "/exact/deep"),
            (&[], "/"),
        ]);
        let at = |host, path| found(&index, host, path);
        assert_eq!(
            at("A.example.com:8080", "/exact/deep/x").as_deref(),
            Some("/exact/deep")
        );
        assert_eq!(
            at("a.example.com.", "/exact/deeper").as_deref(),
            Some("/exact")
        );
        assert_eq!(at("a.example.com", "/wild").as_deref(), Some("/wild"));
        assert_eq!(
            at("b.example.com", "/any/deep").as_deref(),
            Some("/any/deep")
        );
        assert_eq!(at("x.b.example.com", "/wild").as_deref(), Some(""));
        assert_eq!(at("example.com", "/wild").as_deref(), Some(""));
    }

    #[test]
    fn a_prefix_matches_on_segment_boundaries_only() {
        let index = index(&[(&[], "/api")]);
        let at = |path| found(&index, "h", path);
        assert_eq!(at("/api").as_deref(), Some("/api"));
        assert_eq!(at("/api/v1").as_deref(), Some("/api"));
        assert_eq!(at("/apiary"), None);
        assert_eq!(at("*"), None);
    }

    #[test]
    fn a_host_is_compared_without_port_case_and_final_dot() {
        for (given, normal) in [
            ("Example.COM:80", "example.com"),
            ("example.com.", "example.com"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(normal_host(given), normal);
        }
    }
}
