//! The route table: what the control plane tells the router, and what the router reports back.
//! Not how requests are forwarded.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{EnvironmentId, InstanceId, WorkloadId};
use crate::traffic::RouteTraffic;

/// The sum of the weights of a route's targets: one hundredth of a percent is the unit.
pub const FULL_WEIGHT: u32 = 10_000;

/// For so long an answer of a name server may be kept by whoever asked: addresses move with every
/// release.
pub const NAME_TTL: Duration = Duration::from_secs(1);

/// The port that names are asked for at.
pub const NAME_PORT: u16 = 53;

/// A whole snapshot of everything that the router serves.
///
/// A table replaces the one before it in one step. A connection that is still wanted survives the
/// step; a backend that is no longer named gets no new request and its requests in flight go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Grows with every table. The router refuses a table older than the one it has.
    pub generation: u64,
    /// The generation of each environment's part, acknowledged back as a whole.
    pub environments: BTreeMap<EnvironmentId, u64>,
    /// The sockets to listen on, and the routes behind each.
    pub listeners: BTreeMap<SocketAddr, Listener>,
    /// The sockets to answer questions for names on (DNS, over UDP and TCP). One that cannot be
    /// opened is a [`ListenerFault`], as a listener is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<SocketAddr, NameServer>,
}

/// The names of an environment's services, for instances that resolve them over the network.
///
/// The answer depends on who asks: while two releases run side by side, the candidate's instances
/// are told the candidate's addresses and everybody else is told those of the stable release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameServer {
    /// The environment that the names belong to.
    pub environment: EnvironmentId,
    /// The first view that has the client is the one that answers it. A client that is in none waits
    /// a moment for a table that has it: an instance may ask before anybody knows its address. Then
    /// it is refused.
    pub views: Vec<View>,
}

/// What some clients are told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The addresses that the clients ask from. Empty means every client, so that such a view comes
    /// last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<IpAddr>,
    /// The addresses behind each name, which is compared without regard to case and to a final dot.
    /// A name without an address exists and has none: it is not asked of anybody else.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Every other name is refused, so that the clients ask the resolvers that they have beside this
    /// one. It is asked of the machine's resolvers where this is not set.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refuses_others: bool,
}

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// What is spoken on it.
    pub protocol: Protocol,
    /// The routes, tried by the most specific host first, then by the longest path prefix.
    pub routes: Vec<Route>,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1, HTTP/2 with prior knowledge, and upgrades.
    Http,
    /// Bytes: a connection goes whole to one backend. Exactly one route.
    Tcp,
}

/// Requests that match go to one of the targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The environment that owns the route.
    pub environment: EnvironmentId,
    /// The name within the environment, for metrics: the service, or `service:port`.
    pub name: String,
    /// Host names to match (`Host` or `:authority`, without the port, case-insensitive). A leading
    /// `*.` matches exactly one more label. Empty matches every host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The path prefix to match, on segment boundaries. `/` matches every path.
    pub path_prefix: String,
    /// Where the requests go. Weights add up to [`FULL_WEIGHT`], or there is no target at all
    /// (503 until there is one).
    pub targets: Vec<Target>,
    /// While a verdict on a candidate is out: safe requests that it fails are replayed once on the
    /// target named here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shield: Option<Shield>,
    /// Whether requests are forwarded at all.
    #[serde(default)]
    pub mode: RouteMode,
    /// Limits and timeouts.
    #[serde(default)]
    pub policy: RoutePolicy,
}

/// One release's side of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The workload, for the counters.
    pub workload: WorkloadId,
    /// Its share of [`FULL_WEIGHT`].
    pub weight: u32,
    /// Healthy instances. A target with weight but no backend counts as failing: its requests are
    /// given to the other targets, never to an instance that is not in the table.
    pub backends: Vec<Backend>,
}

/// One instance that may be given requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The instance.
    pub instance: InstanceId,
    /// Where it listens.
    pub address: SocketAddr,
}

/// The canary shield of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shield {
    /// The candidate, whose failures are hidden.
    pub candidate: WorkloadId,
    /// The stable side, which answers in its place.
    pub stable: WorkloadId,
}

/// Whether a route forwards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum RouteMode {
    /// Requests are forwarded.
    #[default]
    Serving,
    /// Requests are held, then forwarded when the mode changes back, or answered 504 when
    /// `max_wait_ms` is over.
    Paused {
        /// The longest that one request is held.
        max_wait_ms: u64,
    },
    /// Requests are answered 503 with a page and `Retry-After`.
    Maintenance {
        /// The page, HTML; a plain one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        page: Option<String>,
        /// Seconds for `Retry-After`.
        retry_after_s: u32,
    },
}

/// Limits and timeouts of a route. Every phase of a request has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoutePolicy {
    /// To open a connection to a backend.
    pub connect_timeout_ms: u64,
    /// From the request's last byte to the answer's first.
    pub response_timeout_ms: u64,
    /// Longest silence in either direction of a body, and of an upgraded or TCP connection.
    pub idle_timeout_ms: u64,
    /// Largest request body in bytes; larger ones are answered 413.
    pub max_body_bytes: u64,
    /// Requests in a second for the whole route, with a burst of as many; 0 is no limit. More are
    /// answered 429.
    pub rate_limit_per_s: u32,
    /// Send a client back to the release that answered it first (by a cookie).
    pub sticky: bool,
}

impl Default for RoutePolicy {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 2_000,
            response_timeout_ms: 60_000,
            idle_timeout_ms: 300_000,
            max_body_bytes: 1 << 30,
            rate_limit_per_s: 0,
            sticky: false,
        }
    }
}

/// What the router reports. Counters are cumulative since `boot`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterReport {
    /// Chosen anew at each start of the router: counters start again at nothing when it changes.
    pub boot: String,
    /// The generation of the table in force.
    pub generation: u64,
    /// The generation of each environment's part of it.
    pub environments: BTreeMap<EnvironmentId, u64>,
    /// Listeners of the table that could not be opened. They are tried again with every table.
    pub faults: Vec<ListenerFault>,
    /// Instances with requests in flight, named in the table or not. One that is absent has none.
    pub loads: Vec<BackendLoad>,
    /// Counters of every route and workload that ever had a request and is still in the table, or
    /// left it less than an hour ago.
    pub traffic: Vec<RouteTraffic>,
}

/// A listener that could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerFault {
    /// The socket address.
    pub address: SocketAddr,
    /// Why, in the words of the operating system.
    pub reason: String,
}

/// What an instance is busy with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendLoad {
    /// The instance.
    pub instance: InstanceId,
    /// Requests whose answer is not complete.
    pub in_flight: u32,
    /// Upgraded (WebSocket) and TCP connections.
    pub upgraded: u32,
    /// Whether the router's own passive or active checks hold it to be answering.
    pub answering: bool,
}

impl RouterReport {
    /// Returns what `instance` is busy with.
    pub fn load(&self, instance: &InstanceId) -> Option<&BackendLoad> {
        self.loads.iter().find(|load| &load.instance == instance)
    }
}
