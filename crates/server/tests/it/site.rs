//! A server on its sockets, over a platform in memory, and requests as bytes. Not what is shown on it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use towpath_api::Client;
use towpath_server::{Config, Context, Listeners, serve};
use towpath_testkit::world::World;

/// Longer than anything here takes.
const LONGEST: Duration = Duration::from_secs(20);

pub(crate) struct Site {
    pub(crate) directory: TempDir,
    pub(crate) stop: CancellationToken,
    pub(crate) tcp: SocketAddr,
    world: Arc<World>,
    server: JoinSet<std::io::Result<()>>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

impl Site {
    pub(crate) async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let world = Arc::new(World::default());
        let platform = world.platform(directory.path()).await.unwrap();
        let doors = Config {
            socket: directory.path().join("towpath.sock"),
            tcp: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            certificate: None,
        };
        let listeners = Listeners::open(&doors).await.unwrap();
        let tcp = listeners.tcp_address().unwrap();
        let stop = CancellationToken::new();
        let context = Context {
            platform,
            version: "0".to_owned(),
            stop: stop.clone(),
        };
        let mut server = JoinSet::new();
        server.spawn(serve(listeners, context));
        Self {
            directory,
            stop,
            tcp,
            world,
            server,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("towpath.sock")
    }

    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    pub(crate) fn client(&self) -> Client {
        Client::unix(self.socket(), "ada")
    }

    /// Asks over the owner's socket. `head` is what comes after the method and before the fields
    /// that every request has.
    pub(crate) async fn ask(&self, head: &str, body: &[u8]) -> Answer {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        exchange(stream, head, body).await
    }

    /// Asks over TCP.
    pub(crate) async fn ask_tcp(&self, head: &str, body: &[u8]) -> Answer {
        let stream = TcpStream::connect(self.tcp).await.unwrap();
        exchange(stream, head, body).await
    }

    /// Waits until the server has ended.
    pub(crate) async fn ended(&mut self) {
        let ended = tokio::time::timeout(LONGEST, self.server.join_next()).await;
        ended.expect("it ends in time").unwrap().unwrap().unwrap();
    }
}

/// Sends a request and reads the answer to the end of the connection.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    head: &str,
    body: &[u8],
) -> Answer {
    let (line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let length = if fields.to_ascii_lowercase().contains("content-length") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let fields = if fields.is_empty() || fields.ends_with("\r\n") {
        fields.to_owned()
    } else {
        format!("{fields}\r\n")
    };
    let head = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}{fields}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server that has refused may not read the rest.
    drop(stream.write_all(body).await);
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LONGEST, stream.read_to_end(&mut bytes)).await;
    drop(read.expect("it answers in time"));
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no status in {text:?}")),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}
