//! The table in force, in the form that requests are matched against. Not the wire form, and not
//! how one becomes the other: that is `registry`.

mod matching;
mod route;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::names::Views;

pub(crate) use matching::{HostIndex, normal_host, normal_prefix};
pub(crate) use route::{Policy, REFUSED, Route, RouteState, Target};

/// A compiled route table. It is immutable; what lasts longer than a table is behind `Arc`s.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Counts the swaps of this process, so that no two tables share a version.
    pub(crate) version: u64,
    /// A tree: it is searched for every request, and hashing an address costs more than that.
    pub(crate) listeners: BTreeMap<SocketAddr, ListenerTable>,
    pub(crate) names: HashMap<SocketAddr, Views>,
}

/// The routes behind one listener.
#[derive(Debug)]
pub(crate) struct ListenerTable {
    pub(crate) routes: HostIndex,
}

impl Table {
    /// Returns the route for a request: the most specific host first, then the longest prefix.
    pub(crate) fn find(&self, listener: SocketAddr, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.listeners.get(&listener)?.routes.find(host, path)
    }
}
