//! The names in force, in the form that questions are looked up in: who is told which addresses.
//! Not the wire format.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use towpath_model::routing;

/// The names behind one name server.
#[derive(Debug, Default)]
pub(crate) struct Views {
    views: Vec<View>,
    /// Counts answers, so that each begins with another address.
    turn: AtomicUsize,
}

/// What some clients are told.
#[derive(Debug)]
pub(crate) struct View {
    /// Empty means every client.
    clients: HashSet<IpAddr>,
    names: HashMap<String, Vec<IpAddr>>,
    /// What is not one of the names is refused, and not asked of anybody else.
    pub(super) refuses_others: bool,
}

impl From<&routing::NameServer> for Views {
    fn from(server: &routing::NameServer) -> Self {
        Self {
            views: server.views.iter().map(View::from).collect(),
            turn: AtomicUsize::new(0),
        }
    }
}

impl From<&routing::View> for View {
    fn from(view: &routing::View) -> Self {
        let mut names: HashMap<String, Vec<IpAddr>> = HashMap::with_capacity(view.names.len());
        for (name, addresses) in &view.names {
            names
                .entry(normal_name(name))
                .or_default()
                .extend(addresses);
        }
        Self {
            clients: view.clients.iter().map(IpAddr::to_canonical).collect(),
            names,
            refuses_others: view.refuses_others,
        }
    }
}

impl Views {
    /// Returns what `client` is told, if it is told anything at all.
    pub(super) fn of(&self, client: IpAddr) -> Option<&View> {
        let client = client.to_canonical();
        self.views
            .iter()
            .find(|view| view.clients.is_empty() || view.clients.contains(&client))
    }

    /// Returns a number that is another one at each call.
    pub(super) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

impl View {
    /// Returns the addresses behind a name as [`normal_name`] writes it, if it exists.
    pub(super) fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.names.get(name).map(Vec::as_slice)
    }
}

/// Writes a name in the form that names are compared in: in lower case, without the final dot.
pub(super) fn normal_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}
