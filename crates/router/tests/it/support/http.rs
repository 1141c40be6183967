//! Clients: one that speaks HTTP, and one that sends given bytes.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::PATIENCE;

/// A keep-alive connection.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
}

/// A whole answer.
pub(crate) type Answer = Response<Bytes>;

/// The text of an answer.
pub(crate) fn text(answer: &Answer) -> &str {
    std::str::from_utf8(answer.body()).unwrap()
}

impl Client {
    /// Opens a connection.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let io = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        Self {
            sender,
            _connection: tasks,
        }
    }

    /// Sends a request and returns the whole answer, or what went wrong.
    pub(crate) async fn try_send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Answer> {
        let exchange = async {
            self.sender.ready().await?;
            let (parts, body) = self.sender.send_request(request).await?.into_parts();
            Ok(Response::from_parts(
                parts,
                body.collect().await?.to_bytes(),
            ))
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .expect("no answer")
    }

    /// Sends a request and returns the whole answer.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// Gets `path`.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(get(path)).await
    }
}

/// A request without a body.
pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    request("GET", path, &[], "")
}

/// A request.
pub(crate) fn request(
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(path);
    if !fields
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        builder = builder.header("host", "shop.test");
    }
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    builder
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

/// Gets `path` over a connection of its own.
pub(crate) async fn get_once(address: SocketAddr, path: &str) -> Answer {
    Client::connect(address).await.get(path).await
}

/// Sends a request over a connection of its own and returns the status.
pub(crate) async fn status_of(address: SocketAddr, request: Request<Full<Bytes>>) -> StatusCode {
    Client::connect(address).await.send(request).await.status()
}

/// Sends `bytes` and returns everything that comes back until the connection ends.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut io = TcpStream::connect(address).await.unwrap();
    io.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, io.read_to_end(&mut answer)).await;
    read.expect("the connection stays open").unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
