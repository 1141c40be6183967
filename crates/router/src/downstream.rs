//! Connections from clients: HTTP/1.1, and HTTP/2 with prior knowledge. Not what is done with their
//! requests: that is `forward`.

pub(crate) mod h1;
mod h2;
mod response;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderValue;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::forward::Origin;
use crate::header_maps::HeaderMaps;
use crate::shared::Shared;

/// The first bytes of an HTTP/2 connection (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a worker gives to each of its connections.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) shared: Arc<Shared>,
    pub(crate) worker: usize,
    pub(crate) tasks: TaskTracker,
    pub(crate) listener: SocketAddr,
    pub(crate) header_maps: Arc<HeaderMaps>,
    /// Connections end after the request in flight when this is cancelled.
    pub(crate) closing: CancellationToken,
}

impl Place {
    fn origin(&self, peer: IpAddr) -> Origin {
        Origin {
            shared: Arc::clone(&self.shared),
            worker: self.worker,
            tasks: self.tasks.clone(),
            listener: self.listener,
            header_maps: Arc::clone(&self.header_maps),
            peer: HeaderValue::try_from(peer.to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("")),
        }
    }
}

/// Serves one connection of an HTTP listener to its end.
pub(crate) async fn serve(io: TcpStream, peer: IpAddr, place: Place) {
    if io.set_nodelay(true).is_err() {
        return;
    }
    let origin = place.origin(peer.to_canonical());
    match h1::Client::new(io, &place.shared.limits)
        .serve(&origin, &place.closing)
        .await
    {
        h1::End::Closed => {}
        h1::End::Http2(io, prefix) => h2::serve(io, prefix, origin, place.closing).await,
        h1::End::Tunnel(client, tunnel) => crate::tunnel::run(*client, *tunnel).await,
    }
}
