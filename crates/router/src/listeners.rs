//! Opens and closes the listening sockets that a table names. Not what is done with connections.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towpath_model::routing::{ListenerFault, Protocol, RouteTable};

use crate::worker::{Listen, Worker};

/// Connections that wait in the kernel to be accepted, for each worker.
const BACKLOG: u32 = 4_096;

/// The longest that a closing listener's accept loops take to be gone.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Open {
    protocol: Protocol,
    closing: CancellationToken,
    accepting: TaskTracker,
}

/// The listening sockets of all workers.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    open: HashMap<SocketAddr, Open>,
    faults: BTreeMap<SocketAddr, String>,
}

impl Listeners {
    /// Makes the open sockets those that `table` names. Returns whether the faults changed.
    pub(crate) async fn reconcile(&mut self, table: &RouteTable, workers: &[Worker]) -> bool {
        let wanted = |address: &SocketAddr| table.listeners.get(address).map(|one| one.protocol);
        let surplus: Vec<SocketAddr> = self
            .open
            .iter()
            .filter(|(address, open)| wanted(address) != Some(open.protocol))
            .map(|(&address, _)| address)
            .collect();
        for address in surplus {
            self.close(address).await;
        }
        let mut faults = BTreeMap::new();
        for (&address, listener) in &table.listeners {
            if !self.open.contains_key(&address)
                && let Err(error) = self.listen(address, listener.protocol, workers).await
            {
                faults.insert(address, error.to_string());
            }
        }
        for (address, reason) in &faults {
            if self.faults.get(address) != Some(reason) {
                tracing::error!(listener.address = %address, %reason, "cannot listen, will try again");
            }
        }
        let changed = faults != self.faults;
        self.faults = faults;
        changed
    }

    async fn listen(
        &mut self,
        address: SocketAddr,
        protocol: Protocol,
        workers: &[Worker],
    ) -> io::Result<()> {
        // Sockets that share a port do not notice others that do: a bind that shares nothing does.
        drop(bind(address, Sharing::Alone)?);
        let sockets = workers
            .iter()
            .map(|_| {
                bind(address, Sharing::BetweenWorkers)?
                    .listen(BACKLOG)?
                    .into_std()
            })
            .collect::<io::Result<Vec<_>>>()?;
        let open = Open {
            protocol,
            closing: CancellationToken::new(),
            accepting: TaskTracker::new(),
        };
        for (worker, socket) in workers.iter().zip(sockets) {
            let listen = Listen {
                address,
                socket,
                protocol,
                closing: open.closing.clone(),
                accepting: open.accepting.clone(),
            };
            worker.listen.send(listen).await.map_err(io::Error::other)?;
        }
        tracing::info!(listener.address = %address, "listening");
        self.open.insert(address, open);
        Ok(())
    }

    async fn close(&mut self, address: SocketAddr) {
        if let Some(open) = self.open.remove(&address) {
            open.closing.cancel();
            open.accepting.close();
            if tokio::time::timeout(CLOSE_WAIT, open.accepting.wait())
                .await
                .is_err()
            {
                tracing::warn!(listener.address = %address, "a listener is slow to close");
            }
            tracing::info!(listener.address = %address, "no longer listening");
        }
    }

    /// Stops accepting everywhere.
    pub(crate) fn close_all(&mut self) {
        for (_, open) in self.open.drain() {
            open.closing.cancel();
        }
    }

    pub(crate) fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    pub(crate) fn faults(&self) -> Vec<ListenerFault> {
        let fault = |(&address, reason): (&SocketAddr, &String)| ListenerFault {
            address,
            reason: reason.clone(),
        };
        self.faults.iter().map(fault).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    BetweenWorkers,
}

fn bind(address: SocketAddr, sharing: Sharing) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(sharing == Sharing::BetweenWorkers)?;
    socket.bind(address)?;
    Ok(socket)
}
