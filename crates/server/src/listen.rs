//! The sockets, and the server's life on them. Not what is served.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::{Context, Door, service};
use crate::certificate::Certificate;
use crate::tls::TlsListener;

/// The longest path of a unix socket, its end included (`sun_path` in unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// How long requests may take to end when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Where the server listens.
#[derive(Debug, Clone)]
pub struct Config {
    /// The path of the unix socket, made with mode 0600.
    pub socket: PathBuf,
    /// A TCP address, where a bearer token is asked for.
    pub tcp: Option<SocketAddr>,
    /// What TLS is spoken with on TCP; without it HTTP in the clear is.
    pub certificate: Option<Certificate>,
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path of the socket does not fit.
    #[error(
        "the path of the socket {} is longer than {SOCKET_PATH_MAX} bytes: use a data directory with a shorter path",
        .0.display()
    )]
    LongPath(PathBuf),
    /// Another server answers on the socket.
    #[error("another control plane answers on {}", .0.display())]
    InUse(PathBuf),
    /// The socket cannot be opened.
    #[error("cannot listen on {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The TCP address is taken.
    #[error("port {} of {} is in use by another program: name another address with --listen", .0.port(), .0.ip())]
    PortInUse(SocketAddr),
    /// The TCP address cannot be opened.
    #[error("cannot listen on {address}")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Sockets that are open.
#[derive(Debug)]
pub struct Listeners {
    unix: UnixListener,
    socket: PathBuf,
    tcp: Option<TcpListener>,
    certificate: Option<Certificate>,
}

impl Listeners {
    /// Opens all sockets. A stale unix socket is replaced, a live one is refused.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let tcp = match config.tcp {
            Some(address) => Some(open_tcp(address).await?),
            None => None,
        };
        Ok(Self {
            unix: open_unix(&config.socket).await?,
            socket: config.socket.clone(),
            tcp,
            certificate: config.certificate.clone(),
        })
    }

    /// Returns the TCP address that is listened on.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref()?.local_addr().ok()
    }
}

async fn open_tcp(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => Error::PortInUse(address),
            _ => Error::Tcp { address, source },
        })
}

async fn open_unix(path: &Path) -> Result<UnixListener, Error> {
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(Error::LongPath(path.to_owned()));
    }
    let failed = |source| Error::Socket {
        path: path.to_owned(),
        source,
    };
    match UnixStream::connect(path).await {
        Ok(_) => return Err(Error::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => std::fs::remove_file(path).map_err(failed)?,
    }
    // It is made under another name and gets its mode before anybody can find it.
    let hidden = path.with_extension(format!("{}", std::process::id()));
    drop(std::fs::remove_file(&hidden));
    if hidden.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(Error::LongPath(path.to_owned()));
    }
    let listener = UnixListener::bind(&hidden).map_err(failed)?;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&hidden, mode).map_err(failed)?;
    std::fs::rename(&hidden, path).map_err(failed)?;
    Ok(listener)
}

/// Serves until [`Context::stop`] is cancelled and the requests in flight ended, or five seconds
/// later at the latest.
pub async fn serve(listeners: Listeners, context: Context) -> io::Result<()> {
    let stop = context.stop.clone();
    let mut servers: JoinSet<io::Result<()>> = JoinSet::new();
    let owner = service(context.clone(), Door::Owner);
    servers.spawn(until(&stop, listeners.unix, owner));
    if let Some(tcp) = listeners.tcp {
        let bearer = service(context, Door::Bearer);
        match listeners.certificate {
            Some(own) => servers.spawn(until(&stop, TlsListener::new(tcp, own), bearer)),
            None => servers.spawn(until(&stop, tcp, bearer)),
        };
    }
    let ended = async {
        while let Some(ended) = servers.join_next().await {
            ended.map_err(io::Error::other)??;
        }
        Ok(())
    };
    let outcome = tokio::select! {
        outcome = ended => outcome,
        () = async { stop.cancelled().await; tokio::time::sleep(STOP_GRACE).await } => Ok(()),
    };
    // The next server replaces a socket that is left.
    drop(std::fs::remove_file(&listeners.socket));
    outcome
}

/// Returns the life of one listener: it ends when `stop` is cancelled and its requests have ended.
fn until<L: Listener<Addr: Debug>>(
    stop: &CancellationToken,
    listener: L,
    served: Router,
) -> impl Future<Output = io::Result<()>> + Send + 'static {
    axum::serve(listener, served)
        .with_graceful_shutdown(stop.clone().cancelled_owned())
        .into_future()
}
