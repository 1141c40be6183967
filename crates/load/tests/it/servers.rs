//! Servers that do exactly what a test tells them. They are no HTTP implementation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A server on a free port; dropping it drops its connections.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

/// What a server does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Writes these bytes and keeps the connection.
    Write(String),
    /// Writes these bytes and closes the connection.
    WriteAndClose(String),
    /// Closes the connection without a word.
    Drop,
    /// Never answers.
    Hang,
}

/// A complete answer.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

impl Server {
    /// Serves each connection, by its number from 0, with `serve`.
    pub(crate) async fn connections<S, F>(serve: S) -> Self
    where
        S: Fn(u64, TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let accepted = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&accepted);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                served.spawn(serve(counter.fetch_add(1, Ordering::SeqCst), stream));
                while served.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            accepted,
            _tasks: tasks,
        }
    }

    /// Does with each request, by its number from 0 and its text, what `act` says.
    pub(crate) async fn requests<A>(act: A) -> Self
    where
        A: Fn(u64, &str) -> Act + Clone + Send + Sync + 'static,
    {
        let numbers = Arc::new(AtomicU64::new(0));
        Self::connections(move |_, stream| serve(stream, act.clone(), Arc::clone(&numbers))).await
    }

    /// Connections accepted up to now.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn serve<A: Fn(u64, &str) -> Act>(mut stream: TcpStream, act: A, numbers: Arc<AtomicU64>) {
    while let Some(request) = read_request(&mut stream).await {
        match act(numbers.fetch_add(1, Ordering::SeqCst), &request) {
            Act::Write(bytes) => {
                if stream.write_all(bytes.as_bytes()).await.is_err() {
                    return;
                }
            }
            Act::WriteAndClose(bytes) => {
                drop(stream.write_all(bytes.as_bytes()).await);
                return;
            }
            Act::Drop => return,
            Act::Hang => std::future::pending().await,
        }
    }
}

/// Reads a head and, by its content length, a body.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, value)| value.trim().parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return Some(text);
            }
        }
        let read = stream
            .read(&mut buffer)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        text.push_str(&String::from_utf8_lossy(buffer.get(..read)?));
    }
}
