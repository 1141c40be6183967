//! One name server: its sockets, and the questions that come over them. Not the answers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{Transport, Verdict, answer};
use super::resolvers::{Resolvers, framed, own};
use crate::shared::Shared;

/// The largest question over UDP.
const MAX_QUESTION: usize = 4_096;

/// TCP connections at once; more are closed at once. Few clients ever need one.
const MAX_CONNECTIONS: usize = 64;

/// Connections that wait in the kernel to be accepted.
const BACKLOG: u32 = 128;

/// The longest silence on a TCP connection.
const IDLE: Duration = Duration::from_secs(10);

/// The longest that a client waits which no view has: an instance asks as soon as it runs, and its
/// address is in the table some milliseconds later. Shorter than the patience of every resolver.
const UNKNOWN_WAIT: Duration = Duration::from_secs(2);

/// Clients that wait at once; more are refused at once.
pub(super) const MAX_UNKNOWN: usize = 256;

/// How long a socket rests after it failed.
const REST: Duration = Duration::from_millis(50);

/// The sockets of a name server.
#[derive(Debug)]
pub(super) struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// Opens both sockets, or none.
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let tcp = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        tcp.set_reuseaddr(true)?;
        tcp.bind(address)?;
        Ok(Self {
            udp: UdpSocket::bind(address).await?,
            tcp: tcp.listen(BACKLOG)?,
        })
    }
}

/// A running name server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) resolvers: Arc<Resolvers>,
    /// The places of clients that no view has.
    pub(super) unknown: Arc<Semaphore>,
    /// It stops when this is cancelled.
    pub(super) closing: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Server {
    /// Starts to answer.
    pub(super) fn start(self, sockets: Sockets) {
        let tasks = self.tasks.clone();
        tasks.spawn(self.clone().serve_udp(Arc::new(sockets.udp)));
        tasks.spawn(self.serve_tcp(sockets.tcp));
        tasks.close();
    }

    async fn serve_udp(self, socket: Arc<UdpSocket>) {
        let mut packet = vec![0; MAX_QUESTION];
        loop {
            let received = tokio::select! {
                () = self.closing.cancelled() => return,
                received = socket.recv_from(&mut packet) => received,
            };
            match received {
                Ok((length, client)) => {
                    let question = packet.get(..length).unwrap_or_default();
                    self.datagram(&socket, question, client).await;
                }
                Err(error) => {
                    tracing::debug!(names.address = %self.address, %error, "cannot receive");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Answers a datagram; what cannot be answered at once is answered in a task of its own.
    async fn datagram(&self, socket: &Arc<UdpSocket>, question: &[u8], client: SocketAddr) {
        let verdict = match self.decide(question, client.ip(), Transport::Udp) {
            Verdict::Drop => return,
            Verdict::Reply(reply) => return send(socket, &reply, client).await,
            later @ (Verdict::Forward(_) | Verdict::Unknown(_)) => later,
        };
        let (server, socket, question) = (self.clone(), Arc::clone(socket), question.to_vec());
        self.tasks.spawn(async move {
            let settled = server.settle(verdict, &question, client.ip(), Transport::Udp);
            if let Some(Some(reply)) = server.unless_closing(settled).await {
                send(&socket, &reply, client).await;
            }
        });
    }

    /// Returns what is sent back in the end.
    async fn settle(
        &self,
        verdict: Verdict,
        question: &[u8],
        client: IpAddr,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let verdict = match verdict {
            Verdict::Unknown(refusal) => {
                let known = self.wait_for(question, client, transport);
                match timeout(UNKNOWN_WAIT, known).await {
                    Ok(Some(verdict)) => verdict,
                    Ok(None) | Err(_) => return Some(refusal),
                }
            }
            verdict => verdict,
        };
        match verdict {
            Verdict::Drop => None,
            Verdict::Reply(reply) | Verdict::Unknown(reply) => Some(reply),
            Verdict::Forward(question) => match self.resolvers.place() {
                None => Some(question.failure),
                Some(_place) => {
                    let own = own(&self.shared.table().names);
                    Some(self.resolvers.ask(&question, &own).await)
                }
            },
        }
    }

    /// Waits for a table in which a view has the client. `None` where too many wait already.
    async fn wait_for(
        &self,
        question: &[u8],
        client: IpAddr,
        transport: Transport,
    ) -> Option<Verdict> {
        let _place = self.unknown.try_acquire().ok()?;
        let mut swaps = self.shared.swaps();
        loop {
            match self.decide(question, client, transport) {
                Verdict::Unknown(_) => {}
                verdict => return Some(verdict),
            }
            swaps.changed().await.ok()?;
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = self.closing.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((io, client)) => {
                    if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                        let server = self.clone();
                        self.tasks.spawn(async move {
                            let serving = server.connection(io, client.ip());
                            if let Some(Err(error)) = server.unless_closing(serving).await {
                                tracing::debug!(client.address = %client, %error,
                                    "a connection for names failed");
                            }
                            drop(place);
                        });
                    }
                }
                Err(error) => {
                    tracing::debug!(names.address = %self.address, %error, "cannot accept");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// Answers the questions of a connection, one after the other.
    async fn connection(&self, mut io: TcpStream, client: IpAddr) -> io::Result<()> {
        loop {
            let length = match timeout(IDLE, io.read_u16()).await? {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                length => length?,
            };
            let mut question = vec![0; usize::from(length)];
            timeout(IDLE, io.read_exact(&mut question)).await??;
            let verdict = self.decide(&question, client, Transport::Tcp);
            let settled = self.settle(verdict, &question, client, Transport::Tcp);
            let Some(reply) = settled.await else {
                return Ok(());
            };
            timeout(IDLE, io.write_all(&framed(&reply)?)).await??;
        }
    }

    /// Decides by the names in force at this moment.
    fn decide(&self, question: &[u8], client: IpAddr, transport: Transport) -> Verdict {
        let table = self.shared.table();
        match table.names.get(&self.address) {
            Some(views) => answer(question, client, transport, views),
            None => Verdict::Drop,
        }
    }

    async fn unless_closing<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            () = self.closing.cancelled() => None,
            done = work => Some(done),
        }
    }
}

/// Sends a datagram. One that cannot be sent is lost, as one that is lost on its way.
async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(reply, client).await {
        tracing::debug!(client.address = %client, %error, "an answer could not be sent");
    }
}
