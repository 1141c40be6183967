//! What the router process is told at its start, and what can go wrong there. Not the routes.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the router process.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory of `routes.json`, the last table. It is created when absent.
    pub state_dir: PathBuf,
    /// The path of the control socket. It is made with mode 0600; a stale one is replaced.
    pub control_socket: PathBuf,
    /// The number of worker threads; each has its own listeners and connections.
    pub workers: NonZeroUsize,
    /// Limits that hold for every listener.
    pub limits: Limits,
    /// Who is asked for names that no table has.
    pub resolvers: Resolvers,
}

/// Whom the router's name servers ask for names that are not theirs.
#[derive(Debug, Clone)]
pub enum Resolvers {
    /// The name servers of a `resolv.conf`, which is read again when it may have changed.
    File(PathBuf),
    /// These.
    Addresses(Vec<SocketAddr>),
}

impl Config {
    /// Makes a configuration with the default limits and the machine's resolvers.
    pub fn new(state_dir: PathBuf, control_socket: PathBuf, workers: NonZeroUsize) -> Self {
        Self {
            state_dir,
            control_socket,
            workers,
            limits: Limits::default(),
            resolvers: Resolvers::File("/etc/resolv.conf".into()),
        }
    }
}

/// Limits that hold for every listener. Those of one route are in its policy.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest head of a request (request line and fields) in bytes; larger ones are answered 431.
    pub head_bytes: usize,
    /// Largest number of fields in a head; more are answered 431.
    pub head_fields: usize,
    /// Longest time from the first byte of a request's head to its last; 408 after that.
    pub head_timeout: Duration,
    /// Longest silence between two requests on one client connection.
    pub keep_alive: Duration,
    /// Most requests held at once by a paused route; more are answered 503.
    pub held_requests: u32,
    /// Most backends tried for one request.
    pub attempts: usize,
    /// Longest time that requests in flight have to finish when the process is told to stop.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 * 1024,
            head_fields: 100,
            head_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            held_requests: 10_000,
            attempts: 3,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// Why the router process could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory could not be made.
    #[error("cannot create the state directory {}", path.display())]
    StateDir {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The control socket could not be opened.
    #[error("cannot open the control socket {}", path.display())]
    ControlSocket {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The state directory could not be locked.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The file that is locked.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another router has the state directory, or answers on the control socket.
    #[error("another router is running on the control socket {}", path.display())]
    AlreadyRunning {
        /// The socket.
        path: PathBuf,
    },
    /// A worker thread could not be started.
    #[error("cannot start a worker thread")]
    Worker(#[source] io::Error),
}
