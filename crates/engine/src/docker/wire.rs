//! A connection of our own to Docker, for what the client has no call for: builds by BuildKit, and
//! the session that goes with them. Not the calls.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use super::client::{Client, Trouble};

/// The most that is read of an answer that says what went wrong.
const REFUSAL_BYTES: usize = 64 << 10;

/// What is sent.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Returns a body with nothing in it.
pub(super) fn empty() -> Body {
    http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Tasks that end with their owner, at the latest.
#[derive(Debug, Default)]
pub(super) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        spawn(&self.0, task);
    }

    /// Returns what starts further tasks for as long as the owner is there.
    pub(super) fn starter(&self) -> Starter {
        Starter(Arc::downgrade(&self.0))
    }
}

/// Starts tasks of another owner.
#[derive(Debug, Clone)]
pub(super) struct Starter(Weak<Mutex<JoinSet<()>>>);

impl Starter {
    /// Starts a task, unless the owner is gone.
    pub(super) fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tasks) = self.0.upgrade() {
            spawn(&tasks, task);
        }
    }
}

impl<F> Executor<F> for Starter
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.start(async move { drop(task.await) });
    }
}

fn spawn(tasks: &Mutex<JoinSet<()>>, task: impl Future<Output = ()> + Send + 'static) {
    let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
    while tasks.try_join_next().is_some() {}
    tasks.spawn(task);
}

/// One connection. When it is dropped it is closed, and Docker ends what was asked on it.
#[derive(Debug)]
pub(super) struct Wire {
    sender: SendRequest<Body>,
    host: String,
    _tasks: Tasks,
}

impl Wire {
    /// Connects to where a client does.
    pub(super) async fn connect(client: &Client) -> Result<Self, Trouble> {
        let host = client.host();
        let tasks = Tasks::default();
        let sender = if let Some(path) = host.strip_prefix("unix://") {
            let stream = UnixStream::connect(path).await;
            open(stream.map_err(|error| away(host, &error))?, &tasks).await
        } else {
            let address = host.split_once("://").map_or(host, |(_, address)| address);
            let stream = TcpStream::connect(address.trim_end_matches('/')).await;
            open(stream.map_err(|error| away(host, &error))?, &tasks).await
        };
        Ok(Self {
            sender: sender.map_err(|error| away(host, &error))?,
            host: host.to_owned(),
            _tasks: tasks,
        })
    }

    /// Sends a request, and returns the answer when it begins, whatever it says.
    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Trouble> {
        let mut request = request;
        let local = hyper::header::HeaderValue::from_static("docker");
        request.headers_mut().entry(HOST).or_insert(local);
        let answer = self.sender.send_request(request).await;
        answer.map_err(|error| away(&self.host, &error))
    }
}

async fn open<S>(stream: S, tasks: &Tasks) -> Result<SendRequest<Body>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // How it ends is seen by whoever sends on it.
    tasks.spawn(async move { drop(connection.with_upgrades().await) });
    Ok(sender)
}

/// Returns what an answer says that is no success.
pub(super) async fn refusal(answer: Response<Incoming>) -> Trouble {
    #[derive(serde::Deserialize)]
    struct Said {
        message: String,
    }
    let status = answer.status();
    let body = Limited::new(answer.into_body(), REFUSAL_BYTES)
        .collect()
        .await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let words = match serde_json::from_slice::<Said>(&body) {
        Ok(said) => said.message,
        Err(_) => String::from_utf8_lossy(&body).into_owned(),
    };
    match words.trim() {
        "" => Trouble::Refused(format!("Docker answered {status}")),
        words => Trouble::Refused(words.to_owned()),
    }
}

/// Returns what it means that a connection failed.
pub(super) fn away(host: &str, error: &dyn std::error::Error) -> Trouble {
    Trouble::Away(format!("Docker at {host} does not answer: {error}"))
}
