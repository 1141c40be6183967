//! A worker thread: its runtime, its accept loops, its connections. Not what is listened on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towpath_model::routing::Protocol;

use crate::downstream::{self, Place};
use crate::header_maps::HeaderMaps;
use crate::shared::Shared;
use crate::tcp;

/// How often idle connections to backends are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// How long an accept loop rests when the process has no file descriptor left.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// A listening socket for a worker to accept from.
#[derive(Debug)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    pub(crate) socket: std::net::TcpListener,
    pub(crate) protocol: Protocol,
    /// Accepting stops, and connections end after the request in flight, when this is cancelled.
    pub(crate) closing: CancellationToken,
    /// Tracks the accept loops of the listener.
    pub(crate) accepting: TaskTracker,
}

/// A running worker. Dropping `listen` makes it finish.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) listen: mpsc::Sender<Listen>,
    pub(crate) thread: std::thread::JoinHandle<()>,
}

/// Starts the worker with this index.
pub(crate) fn start(index: usize, shared: Arc<Shared>) -> io::Result<Worker> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Listeners come one table at a time; the control side waits when a worker is behind.
    let (listen, commands) = mpsc::channel(64);
    let thread = std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || runtime.block_on(run(index, shared, commands)))?;
    Ok(Worker { listen, thread })
}

async fn run(index: usize, shared: Arc<Shared>, mut commands: mpsc::Receiver<Listen>) {
    let tasks = TaskTracker::new();
    let header_maps = Arc::default();
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(listen) => accept_from(index, &shared, &tasks, &header_maps, listen),
                None => break,
            },
            _ = sweep.tick() => sweep_idle(index, &shared),
        }
    }
    tasks.close();
    let grace = shared.limits.shutdown_grace;
    if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
        tracing::warn!(
            worker.connections = tasks.len(),
            "connections are cut at the end of the grace"
        );
    }
}

fn accept_from(
    index: usize,
    shared: &Arc<Shared>,
    tasks: &TaskTracker,
    header_maps: &Arc<HeaderMaps>,
    listen: Listen,
) {
    match TcpListener::from_std(listen.socket) {
        Ok(listener) => {
            let place = Place {
                shared: Arc::clone(shared),
                worker: index,
                tasks: tasks.clone(),
                listener: listen.address,
                header_maps: Arc::clone(header_maps),
                closing: listen.closing,
            };
            let accepting = listen
                .accepting
                .track_future(accept(listener, listen.protocol, place));
            tasks.spawn(accepting);
        }
        Err(error) => {
            tracing::error!(listener.address = %listen.address, %error, "a worker cannot listen");
        }
    }
}

/// Accepts until the listener closes; what waits in the kernel then is still accepted.
async fn accept(listener: TcpListener, protocol: Protocol, place: Place) {
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            () = place.closing.cancelled() => return,
        };
        match accepted {
            Ok((io, peer)) => serve(io, peer, protocol, &place),
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::error!(listener.address = %place.listener, %error, "cannot accept");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

fn serve(io: TcpStream, peer: SocketAddr, protocol: Protocol, place: &Place) {
    let connection = place.clone();
    match protocol {
        Protocol::Http => drop(
            place
                .tasks
                .spawn(downstream::serve(io, peer.ip(), connection)),
        ),
        Protocol::Tcp => drop(place.tasks.spawn(tcp::serve(io, peer.ip(), connection))),
    }
}

fn sweep_idle(index: usize, shared: &Shared) {
    let table = shared.table();
    for listener in table.listeners.values() {
        for route in listener.routes.iter() {
            let backends = route.targets.iter().flat_map(|target| &target.backends);
            backends.for_each(|instance| instance.sweep(index));
        }
    }
}
