//! The typed client of a router's control socket. Not for the requests that the router forwards.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use towpath_model::routing::{RouteTable, RouterReport};

/// The field with the number of the last change.
pub(crate) const CHANGE: HeaderName = HeaderName::from_static("towpath-change");

/// How long a call may take beyond the time that it was asked to wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a call to the router failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answers on the socket.
    #[error("cannot reach the router on {}", socket.display())]
    Unreachable {
        /// The control socket.
        socket: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The router has a newer table.
    #[error("the router refused an older table: {0}")]
    Older(String),
    /// The router answered with another status.
    #[error("the router answered {status}: {reason}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// What the router said.
        reason: String,
    },
    /// The exchange broke off.
    #[error("the call to the router broke off")]
    Http(#[source] hyper::Error),
    /// The router did not answer in time.
    #[error("the router did not answer in time")]
    Timeout,
    /// A value could not be written or read as JSON.
    #[error("the call to the router has malformed JSON")]
    Json(#[source] serde_json::Error),
}

/// A report, and the number of the change that it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedReport {
    /// Give this to [`RouterClient::report_after`] to wait for the next change.
    pub change: u64,
    /// The report.
    pub report: RouterReport,
}

/// A client of the router behind one control socket. Each call opens its own connection, so a
/// client outlives any number of restarts of the router.
#[derive(Debug, Clone)]
pub struct RouterClient {
    socket: PathBuf,
}

impl RouterClient {
    /// Makes a client. Nothing is opened yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// Returns the path of the control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Gives the router a whole table. When this returns, the table is in force on every worker and
    /// on disk: a backend that it does not name gets no new request, and the report has everything
    /// that is still in flight to it.
    pub async fn put_table(&self, table: &RouteTable) -> Result<RouterReport, Error> {
        let body = serde_json::to_vec(table).map_err(Error::Json)?;
        let answer = self
            .call(Method::PUT, "/v1/table", body, Duration::ZERO)
            .await?;
        Ok(numbered(&answer)?.report)
    }

    /// Returns the report of this moment.
    pub async fn report(&self) -> Result<NumberedReport, Error> {
        numbered(
            &self
                .call(Method::GET, "/v1/report", Vec::new(), Duration::ZERO)
                .await?,
        )
    }

    /// Waits until something happened after the change with this number (a backend that left the
    /// table became idle, an instance stopped or began to answer, listener faults changed), at most
    /// for `wait` (a minute at most), and returns the report of then. Cancel-safe.
    pub async fn report_after(&self, change: u64, wait: Duration) -> Result<NumberedReport, Error> {
        let path = format!(
            "/v1/report?after_change={change}&wait_ms={}",
            wait.as_millis()
        );
        numbered(&self.call(Method::GET, &path, Vec::new(), wait).await?)
    }

    /// Waits until the router ends or hangs up, as it does on a caller that says nothing for half a
    /// minute: ask it then. Returns at once when it cannot be reached. Cancel-safe.
    pub async fn hung_up(&self) {
        if let Ok(mut stream) = UnixStream::connect(&self.socket).await {
            // Nothing is asked, so whatever comes is the end.
            drop(stream.read_u8().await);
        }
    }

    /// Returns the metrics as text for Prometheus.
    pub async fn metrics(&self) -> Result<String, Error> {
        let answer = self
            .call(Method::GET, "/metrics", Vec::new(), Duration::ZERO)
            .await?;
        Ok(String::from_utf8_lossy(answer.body()).into_owned())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        wait: Duration,
    ) -> Result<Response<Bytes>, Error> {
        let exchange = self.exchange(method, path, body);
        let answer = tokio::time::timeout(wait + CALL_TIMEOUT, exchange)
            .await
            .map_err(|_| Error::Timeout)??;
        let reason = || String::from_utf8_lossy(answer.body()).into_owned();
        match answer.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::CONFLICT => Err(Error::Older(reason())),
            status => Err(Error::Refused {
                status,
                reason: reason(),
            }),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Bytes>, Error> {
        let unreachable = |source| Error::Unreachable {
            socket: self.socket.clone(),
            source,
        };
        let io = UnixStream::connect(&self.socket)
            .await
            .map_err(unreachable)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(io))
            .await
            .map_err(Error::Http)?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap_or_default();
        let host = http::HeaderValue::from_static("router");
        request.headers_mut().insert(header::HOST, host);
        let exchange = async {
            let response = sender.send_request(request).await.map_err(Error::Http)?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(Error::Http)?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        // The connection is driven here, by the caller's task, for as long as the call takes.
        let mut connection = std::pin::pin!(connection);
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            biased;
            answer = exchange.as_mut() => answer,
            ended = connection.as_mut() => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(Error::Http(error)),
            },
        }
    }
}

fn numbered(answer: &Response<Bytes>) -> Result<NumberedReport, Error> {
    let number = answer
        .headers()
        .get(CHANGE)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(NumberedReport {
        change: number.unwrap_or(0),
        report: serde_json::from_slice(answer.body()).map_err(Error::Json)?,
    })
}
