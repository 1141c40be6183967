//! Asks the machine's own resolvers for names that are not ours. Not a cache and not a resolver: it
//! passes on what they say.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::question::{Forward, is_failure, is_truncated};
use super::views::Views;
use crate::config::Resolvers as Source;

/// Questions under way at once; more fail at once. Each has a socket and its packet.
const MAX_UNDER_WAY: usize = 256;

/// The longest that a question is under way, over all resolvers.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that one resolver is waited for before the next is asked, or the same again.
const ATTEMPT: Duration = Duration::from_millis(1_500);

/// How long the resolvers that were read from a file are believed.
const FILE_AGE: Duration = Duration::from_secs(5);

/// The resolvers of a file that are used, as in the C library.
const MAX_RESOLVERS: usize = 3;

/// The largest answer over UDP that is taken.
const MAX_REPLY: usize = 4_096;

/// The resolvers of the machine.
#[derive(Debug)]
pub(super) struct Resolvers {
    source: Source,
    read: Mutex<Option<Known>>,
    under_way: Arc<Semaphore>,
}

/// What a file said, and when.
#[derive(Debug)]
struct Known {
    at: Instant,
    addresses: Vec<SocketAddr>,
}

impl Resolvers {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            read: Mutex::default(),
            under_way: Arc::new(Semaphore::new(MAX_UNDER_WAY)),
        }
    }

    /// Takes the place of one question, if there is one.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.under_way).try_acquire_owned().ok()
    }

    /// Returns the answer for the client: what a resolver said, or that it failed.
    ///
    /// `own` are the name servers of this router, which are not asked.
    pub(super) async fn ask(&self, question: &Forward, own: &[SocketAddr]) -> Vec<u8> {
        let mut resolvers = self.addresses().await;
        resolvers.retain(|resolver| !own.iter().any(|own| is_served_by(*resolver, *own)));
        match first_answer(question, &resolvers).await {
            Some(reply) => question.finish(reply),
            None => question.failure.clone(),
        }
    }

    async fn addresses(&self) -> Vec<SocketAddr> {
        let path = match &self.source {
            Source::Addresses(addresses) => return addresses.clone(),
            Source::File(path) => path,
        };
        if let Some(known) = self.known() {
            return known;
        }
        let addresses = read(path).await;
        let mut kept = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.insert(Known {
            at: Instant::now(),
            addresses,
        });
        known.addresses.clone()
    }

    fn known(&self) -> Option<Vec<SocketAddr>> {
        let kept = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept
            .as_ref()
            .filter(|known| known.at.elapsed() < FILE_AGE)?;
        Some(known.addresses.clone())
    }
}

/// The sockets of the router's own name servers.
pub(super) fn own(servers: &HashMap<SocketAddr, Views>) -> Vec<SocketAddr> {
    servers.keys().copied().collect()
}

fn is_served_by(resolver: SocketAddr, own: SocketAddr) -> bool {
    let everywhere = own.ip().is_unspecified() && resolver.ip().is_loopback();
    own.port() == resolver.port() && (everywhere || own.ip() == resolver.ip())
}

async fn read(path: &Path) -> Vec<SocketAddr> {
    match tokio::fs::read_to_string(path).await {
        Ok(text) => parse(&text),
        Err(error) => {
            tracing::warn!(file.path = %path.display(), %error, "cannot read the resolvers");
            Vec::new()
        }
    }
}

/// Reads the `nameserver` lines of a `resolv.conf` (resolv.conf(5)).
fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == "nameserver").then_some(())?;
            let address: IpAddr = words.next()?.parse().ok()?;
            Some(SocketAddr::new(address, 53))
        })
        .take(MAX_RESOLVERS)
        .collect()
}

/// Asks one resolver after the other, from the first again after the last, until one answers.
async fn first_answer(question: &Forward, resolvers: &[SocketAddr]) -> Option<Vec<u8>> {
    let deadline = Instant::now() + TIMEOUT;
    let mut failure = None;
    let mut refusals = 0;
    for &resolver in resolvers.iter().cycle() {
        let until = deadline.min(Instant::now() + ATTEMPT);
        match timeout_at(until, ask_over_udp(question, resolver)).await {
            Ok(Ok(reply)) if is_failure(&reply) => {
                failure = Some(reply);
                refusals += 1;
            }
            Ok(Ok(reply)) if is_truncated(&reply) => {
                let whole = timeout_at(deadline, ask_over_tcp(question, resolver)).await;
                return Some(whole.ok().and_then(Result::ok).unwrap_or(reply));
            }
            Ok(Ok(reply)) => return Some(reply),
            Ok(Err(error)) => {
                tracing::debug!(resolver.address = %resolver, %error, "a resolver cannot be asked");
                refusals += 1;
            }
            Err(_) => {}
        }
        if refusals >= resolvers.len() || Instant::now() >= deadline {
            break;
        }
    }
    failure
}

/// Sends the question from a port and under an id of its own, so that nobody can guess them.
async fn ask_over_udp(question: &Forward, resolver: SocketAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr = if resolver.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    let id = rand::random();
    socket.send(&question.packet_with(id)).await?;
    let mut reply = vec![0; MAX_REPLY];
    loop {
        let length = socket.recv(&mut reply).await?;
        let received = reply.get(..length).unwrap_or_default();
        if question.is_answered_by(received, id) {
            return Ok(received.to_vec());
        }
    }
}

async fn ask_over_tcp(question: &Forward, resolver: SocketAddr) -> io::Result<Vec<u8>> {
    let mut io = timeout(ATTEMPT, TcpStream::connect(resolver)).await??;
    let id = rand::random();
    io.write_all(&framed(&question.packet_with(id))?).await?;
    let length = io.read_u16().await?;
    let mut reply = vec![0; usize::from(length)];
    io.read_exact(&mut reply).await?;
    if question.is_answered_by(&reply, id) {
        Ok(reply)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Writes a message as it goes over TCP: its length first (RFC 1035 section 4.2.2).
pub(super) fn framed(message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    Ok([&length.to_be_bytes(), message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolvers_of_a_file_are_its_first_three_name_servers() {
        let text = "# nameserver 192.0.2.9\nsearch example.com\n nameserver 192.0.2.1 # one\n\
            nameserver fe80::1%eth0\nnameserver ::1\nnameserver\nnameserver x\n\
            nameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let found: Vec<_> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[::1]:53", "192.0.2.2:53"]);
    }

    #[test]
    fn a_name_server_of_the_router_is_not_a_resolver() {
        let is_own = |resolver: &str, own: &str| {
            is_served_by(resolver.parse().unwrap(), own.parse().unwrap())
        };
        assert!(is_own("172.20.0.1:53", "172.20.0.1:53"));
        assert!(is_own("127.0.0.53:53", "0.0.0.0:53"));
        assert!(!is_own("192.0.2.1:53", "0.0.0.0:53"));
        assert!(!is_own("172.20.0.1:5353", "172.20.0.1:53"));
    }
}
