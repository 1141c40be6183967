//! The `check` command: asks a service of this app for its health, for the `healthcheck` of a
//! container, which has no other program to ask with.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(2);
const GOOD: &[u8] = b"HTTP/1.1 200 ";

/// Why a service is not well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no answer from {0}")]
    NoAnswer(SocketAddr, #[source] std::io::Error),
    #[error("{address} answered: {line}")]
    Unwell { address: SocketAddr, line: String },
}

/// Succeeds when the service at `address` says that it is well.
pub(crate) async fn run(address: SocketAddr) -> Result<(), Error> {
    let answer = match timeout(PATIENCE, ask(address)).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(elapsed.into()),
    };
    let answer = answer.map_err(|source| Error::NoAnswer(address, source))?;
    if answer.starts_with(GOOD) {
        return Ok(());
    }
    let line = String::from_utf8_lossy(&answer)
        .lines()
        .next()
        .unwrap_or("nothing")
        .to_owned();
    Err(Error::Unwell { address, line })
}

async fn ask(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(answer)
}
