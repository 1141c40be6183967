//! Where messages arrive in tests: a web server and a mail server of a few lines, on this machine.
//! Both keep what they were given.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::site::LONGEST;

/// A request, as far as a test looks at it.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Posted {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What arrived.
type Kept<T> = Arc<Mutex<Vec<T>>>;

/// A web server, or a mail server.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    address: SocketAddr,
    kept: Kept<T>,
    _tasks: JoinSet<()>,
}

impl<T: Clone + Send + 'static> Inbox<T> {
    async fn open<F>(at: SocketAddr, serve: fn(TcpStream, Kept<T>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Kept::default();
        let mut tasks = JoinSet::new();
        let keep = Arc::clone(&kept);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&keep)));
            }
        });
        Self {
            address,
            kept,
            _tasks: tasks,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.kept.lock().unwrap().clone()
    }

    /// Waits until so many arrived.
    pub(crate) async fn wait_for(&self, count: usize, log: impl Fn() -> String) -> Vec<T> {
        let deadline = Instant::now() + LONGEST;
        loop {
            let all = self.all();
            if all.len() >= count {
                return all;
            }
            assert!(
                Instant::now() < deadline,
                "{} of {count} messages arrived: {}",
                all.len(),
                log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Inbox<Posted> {
    /// Opens a web server that answers everything with 202.
    pub(crate) async fn web() -> Self {
        Self::open((Ipv4Addr::LOCALHOST, 0).into(), take_posts).await
    }

    /// Opens it at a port that was nobody's.
    pub(crate) async fn web_at(port: u16) -> Self {
        Self::open((Ipv4Addr::LOCALHOST, port).into(), take_posts).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Inbox<String> {
    /// Opens a mail server that takes everything.
    pub(crate) async fn mail() -> Self {
        Self::open((Ipv4Addr::LOCALHOST, 0).into(), take_mail).await
    }
}

async fn take_posts(stream: TcpStream, kept: Kept<Posted>) {
    let mut stream = BufReader::new(stream);
    while let Some(posted) = read_post(&mut stream).await {
        kept.lock().unwrap().push(posted);
        let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\n\r\ntaken";
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

async fn read_post(stream: &mut BufReader<TcpStream>) -> Option<Posted> {
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Posted {
        path,
        headers,
        body,
    })
}

/// Speaks as much SMTP as a client needs that has one mail (RFC 5321).
async fn take_mail(stream: TcpStream, kept: Kept<String>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::from("220 test ready\r\n");
    while stream.write_all(line.as_bytes()).await.is_ok() {
        line.clear();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let word = line.trim().to_ascii_uppercase();
        let answer = match word.split([' ', ':']).next().unwrap() {
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await.unwrap();
                let mut mail = String::new();
                while stream.read_line(&mut mail).await.unwrap() > 0 && !mail.ends_with("\r\n.\r\n")
                {
                }
                kept.lock().unwrap().push(mail);
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        line = format!("{answer}\r\n");
    }
}
