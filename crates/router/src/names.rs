//! Names of services for instances that ask for them over the network (DNS, RFC 1035): the servers
//! that a table names. Not the routes of requests.
//!
//! The answer depends on who asks. A candidate's instances are told the candidate's addresses while
//! everybody else is told stable's; the addresses move when the next table is in force, with no
//! instance being told, restarted or connected anew.

mod answer;
mod question;
mod resolvers;
mod server;
mod views;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towpath_model::routing::{ListenerFault, RouteTable};

use crate::config::Resolvers as Source;
use crate::shared::Shared;
use resolvers::Resolvers;
use server::{Server, Sockets};
pub(crate) use views::Views;

/// The longest that a server takes to be gone.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Open {
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// The name servers of the router.
#[derive(Debug)]
pub(crate) struct NameServers {
    shared: Arc<Shared>,
    resolvers: Arc<Resolvers>,
    open: HashMap<SocketAddr, Open>,
    faults: BTreeMap<SocketAddr, String>,
}

impl NameServers {
    pub(crate) fn new(shared: Arc<Shared>, source: Source) -> Self {
        Self {
            shared,
            resolvers: Arc::new(Resolvers::new(source)),
            open: HashMap::new(),
            faults: BTreeMap::new(),
        }
    }

    /// Makes the open servers those that `table` names. Returns whether the faults changed.
    pub(crate) async fn reconcile(&mut self, table: &RouteTable) -> bool {
        let surplus = self
            .open
            .extract_if(|address, _| !table.names.contains_key(address));
        let surplus: Vec<_> = surplus.collect();
        for (address, open) in surplus {
            close(address, open).await;
        }
        let mut faults = BTreeMap::new();
        for &address in table.names.keys() {
            if !self.open.contains_key(&address)
                && let Err(error) = self.open(address).await
            {
                faults.insert(address, error.to_string());
            }
        }
        for (address, reason) in &faults {
            if self.faults.get(address) != Some(reason) {
                tracing::error!(names.address = %address, %reason,
                    "cannot answer for names, will try again");
            }
        }
        let changed = faults != self.faults;
        self.faults = faults;
        changed
    }

    async fn open(&mut self, address: SocketAddr) -> io::Result<()> {
        let sockets = Sockets::open(address).await?;
        let open = Open {
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let server = Server {
            address,
            shared: Arc::clone(&self.shared),
            resolvers: Arc::clone(&self.resolvers),
            unknown: Arc::new(Semaphore::new(server::MAX_UNKNOWN)),
            closing: open.closing.clone(),
            tasks: open.tasks.clone(),
        };
        server.start(sockets);
        tracing::info!(names.address = %address, "answering for names");
        self.open.insert(address, open);
        Ok(())
    }

    /// Stops all servers.
    pub(crate) async fn close_all(&mut self) {
        for (address, open) in std::mem::take(&mut self.open) {
            close(address, open).await;
        }
    }

    pub(crate) fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    pub(crate) fn faults(&self) -> impl Iterator<Item = ListenerFault> {
        self.faults.iter().map(|(&address, reason)| ListenerFault {
            address,
            reason: reason.clone(),
        })
    }
}

async fn close(address: SocketAddr, open: Open) {
    open.closing.cancel();
    if tokio::time::timeout(CLOSE_WAIT, open.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(names.address = %address, "a name server is slow to close");
    }
    tracing::info!(names.address = %address, "no longer answering for names");
}
