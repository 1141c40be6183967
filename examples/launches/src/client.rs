//! The other services' way to the store. It keeps no data.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How long a request waits for a store that is away. It is replaced stop-first, because two of
/// them cannot have one volume; whoever asks meanwhile gets a late answer instead of an error.
const PATIENCE: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(40);
/// How long one try may take: the store does nothing but wait for a disk.
const TRY: Duration = Duration::from_secs(5);
const MOST_IDLE: usize = 16;

/// Why the store did not help.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("no answer from the store at {address} (STORE_ADDR)")]
    Away {
        address: String,
        #[source]
        source: Trouble,
    },
    #[error("the store answered {status} to {method} {path}")]
    Status {
        status: StatusCode,
        method: Method,
        path: String,
    },
    #[error("the store's answer to {path} cannot be read")]
    Content {
        path: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path} cannot be asked of the store")]
    Request {
        path: String,
        #[source]
        source: hyper::http::Error,
    },
}

/// Why one try failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Connect(#[from] std::io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("nothing within 5 s")]
    Slow(#[from] tokio::time::error::Elapsed),
}

type Sender = SendRequest<Full<Bytes>>;

#[derive(Debug)]
pub(crate) struct Client {
    address: String,
    idle: Mutex<Vec<Sender>>,
    tasks: TaskTracker,
}

/// Part of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) length: usize,
    pub(crate) items: Vec<Item>,
}

/// An item of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    pub(crate) index: usize,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// Whether an item is new in its list.
#[derive(Debug)]
pub(crate) enum Appended {
    New(Item),
    Existed(Item),
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            idle: Mutex::default(),
            tasks: TaskTracker::new(),
        }
    }

    pub(crate) async fn value(&self, key: &str) -> Result<Option<String>, Error> {
        let path = format!("/keys/{key}");
        match self.ask(Method::GET, &path, "").await? {
            (StatusCode::OK, body) => Ok(Some(String::from_utf8_lossy(&body).into_owned())),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, _) => Err(Error::Status {
                status,
                method: Method::GET,
                path,
            }),
        }
    }

    pub(crate) async fn set(&self, key: &str, value: &str) -> Result<(), Error> {
        let path = format!("/keys/{key}");
        match self.ask(Method::PUT, &path, value).await? {
            (StatusCode::CREATED, _) => Ok(()),
            (status, _) => Err(Error::Status {
                status,
                method: Method::PUT,
                path,
            }),
        }
    }

    /// Sets a key only if nobody did.
    pub(crate) async fn set_new(&self, key: &str, value: &str) -> Result<(), Error> {
        let path = format!("/keys/{key}?new");
        match self.ask(Method::PUT, &path, value).await? {
            (StatusCode::CREATED | StatusCode::CONFLICT, _) => Ok(()),
            (status, _) => Err(Error::Status {
                status,
                method: Method::PUT,
                path,
            }),
        }
    }

    pub(crate) async fn page(&self, list: &str, from: usize, limit: usize) -> Result<Page, Error> {
        let path = format!("/lists/{list}?from={from}&limit={limit}");
        match self.ask(Method::GET, &path, "").await? {
            (StatusCode::OK, body) => read(path, &body),
            (status, _) => Err(Error::Status {
                status,
                method: Method::GET,
                path,
            }),
        }
    }

    pub(crate) async fn item(&self, list: &str, key: &str) -> Result<Option<Item>, Error> {
        let path = format!("/lists/{list}/{key}");
        match self.ask(Method::GET, &path, "").await? {
            (StatusCode::OK, body) => read(path, &body).map(Some),
            (StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST, _) => Ok(None),
            (status, _) => Err(Error::Status {
                status,
                method: Method::GET,
                path,
            }),
        }
    }

    pub(crate) async fn append(
        &self,
        list: &str,
        key: &str,
        value: &str,
    ) -> Result<Appended, Error> {
        let path = format!("/lists/{list}/{key}");
        match self.ask(Method::POST, &path, value).await? {
            (StatusCode::CREATED, body) => read(path, &body).map(Appended::New),
            (StatusCode::CONFLICT, body) => read(path, &body).map(Appended::Existed),
            (status, _) => Err(Error::Status {
                status,
                method: Method::POST,
                path,
            }),
        }
    }

    /// Asks until there is an answer or patience ends. All requests may be repeated without harm.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<(StatusCode, Bytes), Error> {
        let begun = Instant::now();
        loop {
            let request = Request::builder()
                .method(method.clone())
                .uri(path)
                .header(HOST, &self.address)
                .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
                .map_err(|source| Error::Request {
                    path: path.to_owned(),
                    source,
                })?;
            let tried = match tokio::time::timeout(TRY, self.attempt(request)).await {
                Ok(result) => result,
                Err(slow) => Err(slow.into()),
            };
            match tried {
                Ok((status, _)) if is_away(status) && begun.elapsed() < PATIENCE => {}
                Ok(answer) => return Ok(answer),
                Err(_) if begun.elapsed() < PATIENCE => {}
                Err(source) => {
                    return Err(Error::Away {
                        address: self.address.clone(),
                        source,
                    });
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn attempt(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Trouble> {
        let mut sender = self.connection().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(sender);
        }
        Ok((status, body))
    }

    async fn connection(&self) -> Result<Sender, Trouble> {
        loop {
            let idle = self
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            match idle {
                Some(sender) if sender.is_ready() => return Ok(sender),
                Some(_closed) => {}
                None => break,
            }
        }
        let stream = TcpStream::connect(&self.address).await?;
        // Only delays small writes when it fails.
        drop(stream.set_nodelay(true));
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        self.tasks.spawn(async move {
            // Its errors reach the request that uses it.
            drop(connection.await);
        });
        Ok(sender)
    }
}

/// What a proxy between us and the store answers while there is none.
fn is_away(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

fn read<T: DeserializeOwned>(path: String, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|source| Error::Content { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_store_that_is_away_is_waited_for_however_that_looks() {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let client = Client::new(&listener.local_addr().expect("bound").to_string());
        let away = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";
        let here = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n42";
        let serve = async {
            // A cut connection, a proxy's answer, a store that leaves after its answer, a store.
            for answer in ["", away, here, here] {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut head = [0; 1024];
                let read = stream.read(&mut head).await.expect("a request");
                assert!(head[..read].starts_with(b"GET /keys/schema "));
                stream.write_all(answer.as_bytes()).await.expect("sent");
            }
        };
        let ask = async {
            let first = client.value("schema").await.expect("here");
            (first, client.value("schema").await.expect("here again"))
        };
        let (values, ()) = tokio::join!(ask, serve);
        assert_eq!(values, (Some("42".to_owned()), Some("42".to_owned())));
    }
}
