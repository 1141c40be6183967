//! One HTTP/2 connection to a backend (prior knowledge), shared by a worker's requests. Only for
//! gRPC, which HTTP/1.1 cannot carry; everything else goes over HTTP/1.1.

use std::fmt;
use std::io;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::body::Body;
use crate::instance::Instance;

/// A handle of an HTTP/2 connection.
#[derive(Clone)]
pub(crate) struct Multiplexed(http2::SendRequest<Body>);

impl fmt::Debug for Multiplexed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multiplexed")
            .field("closed", &self.0.is_closed())
            .finish()
    }
}

/// Runs hyper's tasks on the tracker of the worker that owns the connection.
#[derive(Debug, Clone)]
pub(crate) struct Tasks(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

impl Multiplexed {
    /// Returns the open connection of `worker` to `instance`, or opens one.
    pub(crate) async fn get(
        instance: &Instance,
        worker: usize,
        timeout: Duration,
        tasks: &TaskTracker,
    ) -> io::Result<Self> {
        if let Some(open) = instance
            .multiplexed(worker)
            .filter(|open| !open.0.is_closed())
        {
            return Ok(open);
        }
        let opened = tokio::time::timeout(timeout, Self::open(instance, tasks))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        instance.set_multiplexed(worker, opened.clone());
        Ok(opened)
    }

    async fn open(instance: &Instance, tasks: &TaskTracker) -> io::Result<Self> {
        let io = TcpStream::connect(instance.address).await?;
        io.set_nodelay(true)?;
        let (sender, connection) = http2::Builder::new(Tasks(tasks.clone()))
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        tasks.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection to a backend failed");
            }
        });
        Ok(Self(sender))
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> hyper::Result<Response<Incoming>> {
        self.0.ready().await?;
        self.0.send_request(request).await
    }
}
