//! TCP listeners: a connection goes whole to one backend. Not HTTP.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use http::StatusCode;
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, timeout_at};

use crate::admission::{Admission, Choice, Pick, Query, admit};
use crate::downstream::Place;
use crate::downstream::h1::ClientEnd;
use crate::forward::Tunnel;
use crate::instance::Instance;
use crate::upstream::h1::Connection;

/// Serves one connection of a TCP listener to its end.
///
/// In the counters a connection that a backend accepted is an answer of class 2xx, and one that
/// none accepted is unanswered. It counts as upgraded while it is open.
pub(crate) async fn serve(io: TcpStream, peer: IpAddr, place: Place) {
    if io.set_nodelay(true).is_err() {
        return;
    }
    let Some((connection, pick, took)) = connect(&place).await else {
        tracing::debug!(client.address = %peer, "a TCP connection found no backend");
        return;
    };
    if let Some(target) = pick.target() {
        target.counters.answered(place.worker, StatusCode::OK, took);
    }
    let idle_timeout = pick.route.policy.idle_timeout;
    let (backend, early) = connection.into_parts();
    let client = ClientEnd {
        io,
        early: BytesMut::new(),
    };
    let tunnel = Tunnel {
        io: backend,
        early,
        idle_timeout,
        lease: pick.lease.upgrade(),
    };
    crate::tunnel::run(client, tunnel).await;
}

async fn connect(place: &Place) -> Option<(Box<Connection>, Pick, Duration)> {
    let query = Query {
        listener: place.listener,
        host: "",
        path: "",
        headers: None,
    };
    let mut tried: Vec<Arc<Instance>> = Vec::new();
    let mut held_since = None;
    while tried.len() < place.shared.limits.attempts {
        let mut swaps = place.shared.swaps();
        match admit(&place.shared, query, Choice::Weighted, &tried) {
            Admission::Forward(pick) => {
                let started = Instant::now();
                let instance = Arc::clone(pick.lease.instance());
                match Connection::open(&instance, pick.route.policy.connect_timeout).await {
                    Ok(connection) => return Some((connection, pick, started.elapsed())),
                    Err(error) => refused(place, &pick, &instance, &error),
                }
                tried.push(instance);
            }
            Admission::Hold(route, max_wait_ms) => {
                let _held = route.state.hold(place.shared.limits.held_requests)?;
                let since = *held_since.get_or_insert_with(Instant::now);
                let until = since + Duration::from_millis(max_wait_ms);
                timeout_at(until, swaps.changed()).await.ok()?.ok()?;
            }
            Admission::Maintenance(_) | Admission::NoRoute | Admission::NoBackend(_) => {
                return None;
            }
        }
    }
    None
}

fn refused(place: &Place, pick: &Pick, instance: &Instance, error: &std::io::Error) {
    tracing::debug!(instance.id = %instance.id, %error, "a backend did not accept a TCP connection");
    instance.eject();
    if let Some(target) = pick.target() {
        target.counters.unanswered(place.worker);
    }
}
