//! A server that answers everything alike, and keeps what it was told. Not a good one.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[derive(Debug, Default)]
struct Heard {
    connections: usize,
    said: String,
}

/// A server on this machine.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    _tasks: JoinSet<()>,
}

/// What is answered.
#[derive(Debug, Clone)]
enum Answers {
    /// The same, as soon as something was said; nothing at all when empty.
    Once(String),
    /// As a mail server, and this to a whole mail.
    Mail(String),
}

impl Server {
    /// Makes one that says this, whatever it is told.
    pub(crate) async fn new(answer: String) -> Self {
        Self::start(Answers::Once(answer)).await
    }

    /// Makes a mail server that says this to a mail.
    pub(crate) async fn mail(answer: &str) -> Self {
        Self::start(Answers::Mail(answer.to_owned())).await
    }

    async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let mut tasks = JoinSet::new();
        let hear = Arc::clone(&heard);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                hear.lock().unwrap().connections += 1;
                connections.spawn(serve(stream, answers.clone(), Arc::clone(&hear)));
            }
        });
        Self {
            address,
            heard,
            _tasks: tasks,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn connections(&self) -> usize {
        self.heard.lock().unwrap().connections
    }

    /// Returns all that it was told.
    pub(crate) fn said(&self) -> String {
        self.heard.lock().unwrap().said.clone()
    }
}

async fn serve(mut stream: TcpStream, answers: Answers, heard: Arc<Mutex<Heard>>) {
    let mut chunk = vec![0; 64 * 1024];
    if matches!(answers, Answers::Mail(_)) {
        stream.write_all(b"220 here\r\n").await.unwrap();
    }
    let mut in_mail = false;
    let mut answered = false;
    // Who is gone says nothing more.
    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
        let text = String::from_utf8_lossy(chunk.get(..length).unwrap()).into_owned();
        heard.lock().unwrap().said.push_str(&text);
        let answer = match &answers {
            Answers::Once(answer) if answered || answer.is_empty() => continue,
            Answers::Once(answer) => answer.clone(),
            Answers::Mail(answer) if in_mail && text.ends_with("\r\n.\r\n") => {
                in_mail = false;
                format!("{answer}\r\n")
            }
            Answers::Mail(_) if in_mail => continue,
            Answers::Mail(_) if text.starts_with("DATA") => {
                in_mail = true;
                "354 go on\r\n".to_owned()
            }
            Answers::Mail(_) => "250 ok\r\n".to_owned(),
        };
        answered = true;
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        if matches!(answers, Answers::Once(_)) && stream.shutdown().await.is_err() {
            return;
        }
    }
}
