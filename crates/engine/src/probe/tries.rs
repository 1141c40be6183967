//! One try of a check over the network. Not its repetition.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Opens a connection and closes it.
pub(super) async fn tcp(address: SocketAddr) -> Result<(), String> {
    connect(address).await.map(drop)
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address)
        .await
        .map_err(|error| format!("cannot connect to {address}: {}", reason(&error)))
}

/// Asks for a path over a new connection. Good is 200 to 399; no redirect is followed.
pub(super) async fn http(address: SocketAddr, path: &str) -> Result<(), String> {
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, "towpath-probe")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("`{path}` is not a path: {error}"))?;
    let stream = connect(address).await?;
    let broken = |error: hyper::Error| format!("GET {path} from {address}: {}", deepest(&error));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let response = sender.send_request(request);
    tokio::pin!(connection, response);
    // The connection has to be driven until the answer's head is there, and no longer.
    let response = tokio::select! {
        response = &mut response => response,
        _ = &mut connection => response.await,
    };
    let status = response.map_err(broken)?.status();
    if (200..400).contains(&status.as_u16()) {
        Ok(())
    } else {
        Err(format!("GET {path} from {address} was answered {status}"))
    }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

/// Returns the first cause: what hyper says above it is about itself.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
