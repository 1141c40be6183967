//! TLS on a TCP port: the handshakes, before anything is asked. Not the certificate, and not what is
//! served on the connections that come of it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;
use towpath_api::problem::MEDIA_TYPE;

use crate::certificate::Certificate;
use crate::problem::Error;

/// How long a client may take from its connection to the end of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many handshakes may be in progress. Each is a few tens of KiB and a descriptor; who comes then
/// waits in the kernel's queue until one ends, [`HANDSHAKE_TIMEOUT`] at the longest.
const HANDSHAKES_MAX: usize = 256;

/// The first byte of a connection of TLS: a record of its handshake (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// How long a client that does not speak TLS has for taking its answer.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How much of what such a client has sent is read.
const REFUSED_BYTES_MAX: u64 = 64 * 1024;

type Connection = (TlsStream<TcpStream>, SocketAddr);

/// A TCP listener whose connections come when their handshake is over. One that takes its time holds
/// up nobody else.
#[derive(Debug)]
pub(crate) struct TlsListener {
    tcp: TcpListener,
    certificate: Certificate,
    handshakes: JoinSet<io::Result<Connection>>,
}

impl TlsListener {
    pub(crate) fn new(tcp: TcpListener, certificate: Certificate) -> Self {
        Self {
            tcp,
            certificate,
            handshakes: JoinSet::new(),
        }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    /// Cancel-safe. Handshakes go on whether or not this is waited for; dropping the listener ends them.
    async fn accept(&mut self) -> Connection {
        loop {
            let has_room = self.handshakes.len() < HANDSHAKES_MAX;
            tokio::select! {
                (stream, address) = Listener::accept(&mut self.tcp), if has_room => {
                    let config = self.certificate.current();
                    self.handshakes.spawn(in_time(stream, address, config));
                }
                Some(ended) = self.handshakes.join_next() => {
                    match ended.map_err(io::Error::other).flatten() {
                        Ok(connection) => return connection,
                        Err(error) => tracing::debug!(%error, "a client did not come to speak TLS"),
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

async fn in_time(
    stream: TcpStream,
    address: SocketAddr,
    config: Arc<ServerConfig>,
) -> io::Result<Connection> {
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, shake_hands(stream, config)).await??;
    Ok((stream, address))
}

async fn shake_hands(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first != [HANDSHAKE_RECORD] {
        // Whoever does not take the answer is not waited for.
        drop(tokio::time::timeout(REFUSAL_TIMEOUT, refuse(&mut stream)).await);
        return Err(io::ErrorKind::InvalidData.into());
    }
    TlsAcceptor::from(config).accept(stream).await
}

/// Answers what is taken for a request of HTTP in the clear, and ends the connection.
async fn refuse(stream: &mut TcpStream) -> io::Result<()> {
    let problem = Error::NoTls.problem();
    let body = serde_json::to_string(&problem).map_err(io::Error::other)?;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with something unread would take the answer back (RFC 9293 section 3.10.4).
    let mut rest = stream.take(REFUSED_BYTES_MAX);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tempfile::TempDir;
    use tokio::time::Instant;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::crypto::aws_lc_rs;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;

    /// Clients of a listener, who trust it.
    struct Clients {
        address: SocketAddr,
        tls: TlsConnector,
        _files: TempDir,
    }

    async fn listener() -> (TlsListener, Clients) {
        let names = vec!["localhost".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let files = TempDir::new().unwrap();
        let path = |name| files.path().join(name);
        std::fs::write(path("cert.pem"), cert.pem()).unwrap();
        std::fs::write(path("key.pem"), signing_key.serialize_pem()).unwrap();
        let certificate = Certificate::load(path("cert.pem"), path("key.pem")).unwrap();
        let tcp = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let clients = Clients {
            address: tcp.local_addr().unwrap(),
            tls: TlsConnector::from(Arc::new(client)),
            _files: files,
        };
        (TlsListener::new(tcp, certificate), clients)
    }

    impl Clients {
        async fn silent(&self, count: usize) -> Vec<TcpStream> {
            let mut streams = Vec::new();
            for _ in 0..count {
                streams.push(TcpStream::connect(self.address).await.unwrap());
            }
            streams
        }

        async fn speak(&self) {
            let stream = TcpStream::connect(self.address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            self.tls.connect(name, stream).await.unwrap();
        }
    }

    /// Accepts connections until something is done.
    async fn accepting<T>(listener: &mut TlsListener, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                accepted = listener.accept() => drop(accepted),
            }
        }
    }

    #[tokio::test]
    async fn clients_that_say_nothing_do_not_hold_up_one_that_speaks() {
        let (mut listener, clients) = listener().await;
        let silent = clients.silent(20).await;
        let begun = Instant::now();
        accepting(&mut listener, clients.speak()).await;
        assert!(begun.elapsed() < HANDSHAKE_TIMEOUT);
        assert!(listener.handshakes.len() >= silent.len(), "they still may");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_let_go_at_its_deadline() {
        let (mut listener, clients) = listener().await;
        let mut silent = clients.silent(1).await;
        let begun = Instant::now();
        let read = accepting(&mut listener, silent[0].read(&mut [0])).await;
        assert_eq!(read.unwrap(), 0);
        assert!(begun.elapsed() >= HANDSHAKE_TIMEOUT);
    }

    #[tokio::test]
    async fn no_more_handshakes_are_in_progress_than_there_is_room_for() {
        let (mut listener, clients) = listener().await;
        let silent = accepting(&mut listener, clients.silent(HANDSHAKES_MAX)).await;
        let speak = clients.speak();
        tokio::pin!(speak);
        assert!((&mut speak).now_or_never().is_none());
        while listener.handshakes.len() < HANDSHAKES_MAX {
            assert!(listener.accept().now_or_never().is_none());
            tokio::task::yield_now().await;
        }
        assert!(listener.accept().now_or_never().is_none());
        let count = listener.handshakes.len();
        assert_eq!(count, HANDSHAKES_MAX, "the one that speaks waits");
        drop(silent);
        accepting(&mut listener, &mut speak).await;
    }

    #[tokio::test]
    async fn a_request_in_the_clear_is_told_so_and_the_connection_ends() {
        let (mut listener, clients) = listener().await;
        let mut stream = clients.silent(1).await.remove(0);
        let asks = async {
            let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = accepting(&mut listener, asks).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("HTTPS is spoken here"), "{answer}");
    }
}
