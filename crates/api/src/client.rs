//! The typed client of the API: one method for each endpoint. Not how requests travel
//! ([`transport`]) nor how answers that do not end are read ([`stream`]).

mod environment;
mod remote;
mod run;
mod secure;
mod session;
mod stream;
mod transport;

use std::path::PathBuf;

use bytes::Bytes;
use hyper::Method;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use towpath_model::id::Digest;

use crate::git::{JudgeRequest, Judgement};
use crate::problem::Problem;
use crate::{
    Event, NewToken, Release, Repository, RepositoryRequest, ServerInfo, Token, TokenRequest,
    Verification,
};
use remote::Remote;
pub use remote::RemoteError;
pub use run::{Archive, RunLogFilter};
use secure::Connector;
pub use session::{Session, SessionInput, SessionOutput};
pub use stream::JsonStream;
use transport::{Answer, Body, Transport};

/// The field that names who asks, on a socket that only its owner can open.
pub const ACTOR: &str = "towpath-actor";

/// Why a call did not give an answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answers there.
    #[error("no control plane answers on {address}")]
    Unreachable {
        /// The socket or address.
        address: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Whoever answers there does not show to be the control plane.
    #[error("the certificate of {address} is not trusted: {reason}")]
    Untrusted {
        /// The address.
        address: String,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// The control plane said no.
    #[error("{0}")]
    Problem(Problem),
    /// The exchange broke off.
    #[error("the connection to the control plane broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is not what this client understands.
    #[error(
        "the control plane at {address} answered what this client does not understand: {reason}"
    )]
    Malformed {
        /// The socket or address.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Which log lines are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    /// Only these services; all when empty.
    pub services: Vec<String>,
    /// Only this instance, by its number.
    pub instance: Option<u32>,
    /// Only the last so many lines of each instance.
    pub tail: Option<usize>,
    /// Only lines from then on.
    pub since: Option<Timestamp>,
    /// Go on with new lines as they are written.
    pub follow: bool,
}

/// Which lines of the audit trail are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those of this environment, `app/environment`.
    pub environment: Option<String>,
    /// Also those of the environments in which jobs of pipelines run.
    pub jobs: bool,
    /// Only those after this place in the trail.
    pub after: Option<u64>,
    /// At most so many: the latest ones.
    pub limit: Option<u32>,
}

/// A client of one control plane. Each call opens its own connection, so a client outlives any
/// number of restarts of the control plane.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
}

impl Client {
    /// Makes a client of the control plane behind a unix socket. `actor` is who asks.
    pub fn unix(socket: impl Into<PathBuf>, actor: impl Into<String>) -> Self {
        Self {
            transport: Transport::unix(socket.into(), actor.into()),
        }
    }

    /// Makes a client of the control plane at `host:port`, in the clear, with a bearer token.
    pub fn tcp(address: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            transport: Transport::tcp(address.into(), token.into()),
        }
    }

    /// Makes a client of the control plane at `https://host:port`, `http://host:port` or `host:port`,
    /// with a bearer token. Over TLS it trusts whom the machine trusts, and besides the `authorities`,
    /// certificates in PEM. Nothing is asked yet.
    pub fn remote(
        address: &str,
        token: impl Into<String>,
        authorities: Option<&[u8]>,
    ) -> Result<Self, RemoteError> {
        Ok(match Remote::parse(address)? {
            Remote::Plain(address) => Self::tcp(address, token),
            Remote::Tls(secure) => {
                let connector = Connector::new(secure, authorities)?;
                Self {
                    transport: Transport::tls(connector, token.into()),
                }
            }
        })
    }

    /// Returns the socket or address, for people.
    pub fn address(&self) -> String {
        self.transport.address()
    }

    /// Asks what the control plane is.
    pub async fn server(&self) -> Result<ServerInfo, Error> {
        self.get("/v1/server").await
    }

    /// Asks the control plane to stop. What runs goes on running.
    pub async fn stop_server(&self) -> Result<(), Error> {
        self.command(Method::POST, "/v1/server/stop", Body::empty())
            .await
    }

    /// Returns the releases of an app, newest first.
    pub async fn releases(&self, app: &str) -> Result<Vec<Release>, Error> {
        self.get(&format!("/v1/apps/{}/releases", segment(app)))
            .await
    }

    /// Tells whether the control plane has a source tree.
    pub async fn has_source(&self, digest: &Digest) -> Result<bool, Error> {
        let found: Result<crate::SourceInfo, Error> =
            self.get(&format!("/v1/sources/{digest}")).await;
        match found {
            Ok(_) => Ok(true),
            Err(Error::Problem(problem)) if problem.status == 404 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Uploads a source tree: a gzipped tar archive, read from `file`.
    pub async fn put_source(&self, digest: &Digest, file: tokio::fs::File) -> Result<(), Error> {
        let path = format!("/v1/sources/{digest}");
        self.command(Method::PUT, &path, Body::file(file)).await
    }

    /// Returns lines of the audit trail, oldest first.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<Event>, Error> {
        self.get(&format!("/v1/events?{}", event_query(filter)))
            .await
    }

    /// Follows the audit trail: lines as they are written.
    pub async fn follow_events(&self, filter: &EventFilter) -> Result<JsonStream<Event>, Error> {
        let path = format!("/v1/events/stream?{}", event_query(filter));
        self.open(&path).await
    }

    /// Has the whole audit trail checked.
    pub async fn verify_events(&self) -> Result<Verification, Error> {
        self.get("/v1/events/verification").await
    }

    /// Returns what is set up for the repository of an app.
    pub async fn repository(&self, app: &str) -> Result<Repository, Error> {
        self.get(&repository_path(app, "")).await
    }

    /// Sets up the repository of an app.
    pub async fn set_repository(
        &self,
        app: &str,
        request: &RepositoryRequest,
    ) -> Result<(), Error> {
        let body = self.json(request)?;
        self.command(Method::PUT, &repository_path(app, ""), body)
            .await
    }

    /// Has an app follow no repository any more.
    pub async fn unset_repository(&self, app: &str) -> Result<(), Error> {
        let path = repository_path(app, "");
        self.command(Method::DELETE, &path, Body::empty()).await
    }

    /// Sets a secret of the repository of an app: `credential`, `webhook`, `status` or `ca`.
    pub async fn set_repository_secret(
        &self,
        app: &str,
        name: &str,
        value: Bytes,
    ) -> Result<(), Error> {
        let path = repository_path(app, &format!("/secrets/{}", segment(name)));
        self.command(Method::PUT, &path, Body::bytes(value)).await
    }

    /// Has the repository that an app follows fetched from. Returns when that is done.
    pub async fn fetch_repository(&self, app: &str) -> Result<(), Error> {
        let path = repository_path(app, "/fetch");
        self.command(Method::POST, &path, Body::empty()).await
    }

    /// Asks whether a push may be taken.
    pub async fn judge_push(&self, app: &str, request: &JudgeRequest) -> Result<Judgement, Error> {
        let path = format!("/v1/apps/{}/pushes/judgement", segment(app));
        self.post(&path, request).await
    }

    /// Makes a token.
    pub async fn create_token(&self, name: &str) -> Result<NewToken, Error> {
        let request = TokenRequest {
            name: name.to_owned(),
        };
        self.post("/v1/tokens", &request).await
    }

    /// Returns all tokens, oldest first.
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.get("/v1/tokens").await
    }

    /// Revokes a token for ever.
    pub async fn revoke_token(&self, id: &str) -> Result<(), Error> {
        let path = format!("/v1/tokens/{}", segment(id));
        self.command(Method::DELETE, &path, Body::empty()).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let answer = self
            .transport
            .send(Method::GET, path, Body::empty())
            .await?;
        self.read(answer).await
    }

    async fn post<Q: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        request: &Q,
    ) -> Result<T, Error> {
        let body = self.json(request)?;
        let answer = self.transport.send(Method::POST, path, body).await?;
        self.read(answer).await
    }

    /// Sends a request whose answer has nothing to read but its success.
    async fn command(&self, method: Method, path: &str, body: Body) -> Result<(), Error> {
        self.transport.send(method, path, body).await?;
        Ok(())
    }

    async fn open<T: DeserializeOwned>(&self, path: &str) -> Result<JsonStream<T>, Error> {
        let answer = self
            .transport
            .send(Method::GET, path, Body::empty())
            .await?;
        Ok(JsonStream::new(answer, self.address()))
    }

    fn json<Q: Serialize>(&self, request: &Q) -> Result<Body, Error> {
        let bytes = serde_json::to_vec(request).map_err(|error| self.malformed(&error))?;
        Ok(Body::json(Bytes::from(bytes)))
    }

    async fn read<T: DeserializeOwned>(&self, answer: Answer) -> Result<T, Error> {
        let bytes = answer.collect().await?;
        serde_json::from_slice(&bytes).map_err(|error| self.malformed(&error))
    }

    fn malformed(&self, error: &serde_json::Error) -> Error {
        Error::Malformed {
            address: self.address(),
            reason: error.to_string(),
        }
    }
}

fn repository_path(app: &str, rest: &str) -> String {
    format!("/v1/apps/{}/repository{rest}", segment(app))
}

fn event_query(filter: &EventFilter) -> String {
    let mut query = Query::default();
    query.add("environment", filter.environment.as_deref());
    query.add("jobs", filter.jobs.then_some(true));
    query.add("after", filter.after);
    query.add("limit", filter.limit);
    query.0
}

/// A query string in the making.
#[derive(Debug, Default)]
struct Query(String);

impl Query {
    fn add(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            if !self.0.is_empty() {
                self.0.push('&');
            }
            self.0.push_str(name);
            self.0.push('=');
            self.0.push_str(&segment(&value.to_string()));
        }
    }
}

/// Writes a text so that it is one segment of a path, or one value of a query (RFC 3986 section
/// 2.1).
fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_letter_is_escaped_in_a_path() {
        assert_eq!(segment("a/b c?ü"), "a%2Fb%20c%3F%C3%BC");
    }

    #[test]
    fn absent_filters_are_not_in_the_query() {
        let filter = EventFilter {
            jobs: false,
            environment: Some("shop/dev".to_owned()),
            after: None,
            limit: Some(5),
        };
        assert_eq!(event_query(&filter), "environment=shop%2Fdev&limit=5");
    }
}
