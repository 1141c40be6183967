//! What the tests are made of. Not tests.

pub(crate) mod backend;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod router;
pub(crate) mod tables;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The longest that anything in these tests is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Returns an address that nothing listens on.
pub(crate) fn free_address() -> SocketAddr {
    let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap()
}

/// Waits until `condition` is true.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let poll = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, poll).await.is_ok(),
        "never happened: {what}"
    );
}
