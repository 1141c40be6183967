//! The load of the comparison: each connection asks again as soon as it is answered. It fails at
//! nothing and counts everything.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

const REQUEST: &[u8] = b"GET /some/path?with=query HTTP/1.1\r\nHost: shop.test\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) comparison\r\nAccept: text/html,*/*;q=0.8\r\n\
    Accept-Language: en\r\nAccept-Encoding: gzip\r\nCookie: session=0123456789abcdef\r\n\r\n";

const BODY: usize = 1024;

/// What one proxy did in one round.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) requests: u32,
    pub(crate) failed: u32,
    pub(crate) took: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// The processor time of the proxy.
    pub(crate) cpu: Duration,
}

impl Round {
    pub(crate) fn rate(&self) -> f64 {
        f64::from(self.requests) / self.took.as_secs_f64()
    }

    pub(crate) fn cpu_per_request_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / f64::from(self.requests)
    }

    /// Returns the median of each figure; failures are summed.
    pub(crate) fn median(rounds: &[Self]) -> Self {
        let mut by_cpu = rounds.to_vec();
        by_cpu.sort_by(|a, b| a.cpu_per_request_us().total_cmp(&b.cpu_per_request_us()));
        let middle = |mut values: Vec<Duration>| {
            values.sort();
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        let mut median = by_cpu.swap_remove(by_cpu.len() / 2);
        median.p50 = middle(rounds.iter().map(|round| round.p50).collect());
        median.p99 = middle(rounds.iter().map(|round| round.p99).collect());
        median.failed = rounds.iter().map(|round| round.failed).sum();
        median
    }
}

/// Sends requests over so many connections for `time`.
pub(crate) async fn run(
    address: SocketAddr,
    connections: u32,
    time: Duration,
) -> io::Result<Round> {
    let start = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn(client(address, start + time));
    }
    let (mut latencies, mut failed) = (Vec::new(), 0);
    while let Some(done) = clients.join_next().await {
        let (more, failures) = done.map_err(io::Error::other)??;
        latencies.extend(more);
        failed += failures;
    }
    latencies.sort_unstable();
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied();
    Ok(Round {
        requests: u32::try_from(latencies.len()).unwrap_or(u32::MAX),
        failed,
        took: start.elapsed(),
        p50: at(50).unwrap_or_default(),
        p99: at(99).unwrap_or_default(),
        cpu: Duration::ZERO,
    })
}

/// Sends so many requests over so many connections, and fails when one fails.
pub(crate) async fn run_count(
    address: SocketAddr,
    connections: u32,
    requests: u32,
) -> io::Result<()> {
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn(async move {
            let mut io = connect(address).await?;
            let mut read = Vec::with_capacity(8192);
            for _ in 0..requests / connections {
                exchange(&mut io, &mut read).await?;
            }
            io::Result::Ok(())
        });
    }
    while let Some(done) = clients.join_next().await {
        done.map_err(io::Error::other)??;
    }
    Ok(())
}

async fn client(address: SocketAddr, until: Instant) -> io::Result<(Vec<Duration>, u32)> {
    let (mut latencies, mut failed) = (Vec::new(), 0);
    let mut io = connect(address).await?;
    let mut read = Vec::with_capacity(8192);
    while Instant::now() < until {
        let sent = Instant::now();
        if exchange(&mut io, &mut read).await.is_ok() {
            latencies.push(sent.elapsed());
        } else {
            failed += 1;
            io = connect(address).await?;
        }
    }
    Ok((latencies, failed))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let io = TcpStream::connect(address).await?;
    io.set_nodelay(true)?;
    Ok(io)
}

async fn exchange(io: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<()> {
    io.write_all(REQUEST).await?;
    read.clear();
    loop {
        if io.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let head = read.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head
            && read.len() >= head + 4 + BODY
        {
            let good = read.starts_with(b"HTTP/1.1 200 ") && read.len() == head + 4 + BODY;
            return if good {
                Ok(())
            } else {
                Err(io::ErrorKind::InvalidData.into())
            };
        }
    }
}
