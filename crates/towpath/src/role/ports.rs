//! Which sockets are free, for those who look for one that they will listen on later: until then two
//! control planes of one machine must not find the same. Not who listens on them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Sockets that were found to be free. As long as this is there no other one finds them.
#[derive(Debug, Default)]
pub(crate) struct FreeSockets(Mutex<BTreeMap<u16, Claim>>);

impl FreeSockets {
    /// Tells whether nobody listens on a socket, and no other control plane of this machine found that
    /// before and may listen on it soon. Each port that was free costs a descriptor.
    pub(crate) fn find(&self, address: SocketAddr) -> bool {
        // The map is whole between any two statements that hold the lock.
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let port = address.port();
        let claim = match claims.remove(&port) {
            Some(own) => Some(own),
            None => Claim::of(port),
        };
        let Some(claim) = claim else {
            return false;
        };
        let is_free = TcpListener::bind(address).is_ok();
        if is_free {
            claims.insert(port, claim);
        }
        is_free
    }
}

/// The claim to a port, which ends with the process that has it, however that ends: a socket with a name
/// that is in no file system (unix(7)). Names are those of the network namespace, as ports are.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Claim(
    #[expect(dead_code, reason = "it is kept for being there")] std::os::unix::net::UnixDatagram,
);

#[cfg(target_os = "linux")]
impl Claim {
    /// Returns nothing where somebody else has it.
    fn of(port: u16) -> Option<Self> {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::net::{SocketAddr, UnixDatagram};
        let name = format!("towpath/port/{port}");
        let address = SocketAddr::from_abstract_name(name).ok()?;
        UnixDatagram::bind_addr(&address).ok().map(Self)
    }
}

/// Elsewhere there is no such thing, and whoever comes later to a port fails to listen on it.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Claim;

#[cfg(not(target_os = "linux"))]
impl Claim {
    #[expect(clippy::unnecessary_wraps, reason = "it is what Linux needs")]
    fn of(_: u16) -> Option<Self> {
        Some(Self)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn what_one_found_to_be_free_no_other_finds_as_long_as_that_is_there() {
        let listener = TcpListener::bind(loopback(0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let (one, other) = (FreeSockets::default(), FreeSockets::default());
        assert!(one.find(loopback(port)));
        assert!(!other.find(loopback(port)));
        assert!(one.find(loopback(port)), "it is its own");
        drop(one);
        assert!(other.find(loopback(port)));
    }

    #[test]
    fn a_socket_that_somebody_listens_on_is_not_free_and_nobody_keeps_others_from_it() {
        let listener = TcpListener::bind(loopback(0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (one, other) = (FreeSockets::default(), FreeSockets::default());
        assert!(!one.find(address));
        drop(listener);
        assert!(other.find(address));
    }
}
