//! What load to make: the target and its streams, checked before anything is sent. It starts
//! nothing.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::{Method, Uri};

/// The header in which an app says which version answered, where its stream names no other. A 5xx
/// that carries it came from the app itself; one without it was made on the way, by the router.
pub const VERSION_HEADER: &str = "x-launches-version";

/// Slowest and fastest accepted rates, per second.
const RATES: std::ops::RangeInclusive<f64> = 0.01..=100_000.0;

/// Everything that one load generator does.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// Where connections are opened, normally the router.
    pub target: SocketAddr,
    /// The value of the `Host` header.
    pub host: String,
    /// What is asked, side by side. Names must differ.
    pub streams: Vec<Stream>,
}

/// One kind of request, asked at a constant rate.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Name in counts and failures.
    pub name: String,
    /// How connections are used.
    pub kind: Kind,
    /// Requests (for a WebSocket: messages) per second. Open loop: slow answers do not lower it.
    pub rate: f64,
    /// Path and query. `{n}` becomes the number of the request, from 0.
    pub path: String,
    /// The request's method. A WebSocket is always opened by GET.
    pub method: Method,
    /// The request's body, if it has one.
    pub payload: Option<Payload>,
    /// Text that a good answer's body contains; nothing is checked when it is `None`.
    pub expect: Option<String>,
    /// The header in which the app says which version answered.
    pub version_header: &'static str,
    /// The longest that one request may take, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// Requests outstanding at once. Beyond it requests wait, and their waiting is part of their
    /// latency. It bounds memory and file descriptors, not the rate.
    pub max_in_flight: usize,
}

/// How a stream uses connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A new connection for each request, closed after the answer.
    Plain,
    /// Connections that are used again, in turn. More are opened only while all are busy.
    KeepAlive {
        /// How many connections are kept.
        connections: usize,
    },
    /// As `Plain`, for answers that take long; it has a longer timeout by default.
    Slow,
    /// Sessions that send messages all the time and wait for each to be echoed.
    WebSocket {
        /// How many sessions are held open; they share the stream's rate.
        sessions: usize,
    },
}

/// The body of a request.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The value of `Content-Type`.
    pub content_type: String,
    /// The body. `{n}` becomes the number of the request, from 0.
    pub body: String,
}

/// Why a plan cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// There is nothing to do.
    #[error("the plan has no streams")]
    Empty,
    /// Counts are kept by name.
    #[error("two streams are named {0}")]
    SameName(String),
    /// The rate is not a number of requests per second that can be kept.
    #[error("stream {stream}: a rate of {rate} per second is not between 0.01 and 100000")]
    Rate {
        /// The stream's name.
        stream: String,
        /// What was asked for.
        rate: f64,
    },
    /// Nothing could ever be sent.
    #[error("stream {0}: needs at least one connection, session and request in flight")]
    NoRoom(String),
    /// The path or host cannot be part of an HTTP request.
    #[error("stream {stream}: cannot build its request")]
    Request {
        /// The stream's name.
        stream: String,
        /// What is wrong.
        #[source]
        source: hyper::http::Error,
    },
}

impl Stream {
    /// GET requests, each on a connection of its own.
    pub fn plain(path: &str, rate: f64) -> Self {
        Self::new("plain", Kind::Plain, path, rate)
    }

    /// GET requests over four connections that are kept.
    pub fn keep_alive(path: &str, rate: f64) -> Self {
        Self::new("keep-alive", Kind::KeepAlive { connections: 4 }, path, rate)
    }

    /// GET requests whose answers take long.
    pub fn slow(path: &str, rate: f64) -> Self {
        Self::new("slow", Kind::Slow, path, rate)
    }

    /// Messages over so many WebSocket sessions, `rate` per second in all.
    pub fn websocket(path: &str, sessions: usize, rate: f64) -> Self {
        Self::new("websocket", Kind::WebSocket { sessions }, path, rate)
    }

    fn new(name: &str, kind: Kind, path: &str, rate: f64) -> Self {
        let seconds = if kind == Kind::Slow { 60 } else { 10 };
        Self {
            name: name.to_owned(),
            kind,
            rate,
            path: path.to_owned(),
            method: Method::GET,
            payload: None,
            expect: None,
            version_header: VERSION_HEADER,
            timeout: Duration::from_secs(seconds),
            max_in_flight: 1_000,
        }
    }

    /// Gives the stream another name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Makes it POST requests with this body, in which `{n}` is the number of the request.
    #[must_use]
    pub fn posting(mut self, content_type: &str, body: &str) -> Self {
        self.method = Method::POST;
        self.payload = Some(Payload {
            content_type: content_type.to_owned(),
            body: body.to_owned(),
        });
        self
    }

    /// Counts an answer as wrong whose body does not contain this text.
    #[must_use]
    pub fn expecting(mut self, text: &str) -> Self {
        self.expect = Some(text.to_owned());
        self
    }

    /// Says in which header, in lower case, the app tells its version.
    #[must_use]
    pub fn versioned_by(mut self, header: &'static str) -> Self {
        self.version_header = header;
        self
    }

    /// Sets the longest that one request may take.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn check(&self, host: &str) -> Result<(), PlanError> {
        if !RATES.contains(&self.rate) {
            return Err(PlanError::Rate {
                stream: self.name.clone(),
                rate: self.rate,
            });
        }
        let slots = match self.kind {
            Kind::Plain | Kind::Slow => 1,
            Kind::KeepAlive { connections } => connections,
            Kind::WebSocket { sessions } => sessions,
        };
        if slots == 0 || self.max_in_flight == 0 {
            return Err(PlanError::NoRoom(self.name.clone()));
        }
        Uri::builder()
            .scheme("http")
            .authority(host)
            .path_and_query(self.path.replace("{n}", "0"))
            .build()
            .map(drop)
            .map_err(|source| PlanError::Request {
                stream: self.name.clone(),
                source,
            })
    }
}

impl LoadPlan {
    /// Makes sure that every request of the plan can be built.
    pub(crate) fn check(&self) -> Result<(), PlanError> {
        if self.streams.is_empty() {
            return Err(PlanError::Empty);
        }
        for (index, stream) in self.streams.iter().enumerate() {
            if self
                .streams
                .iter()
                .take(index)
                .any(|other| other.name == stream.name)
            {
                return Err(PlanError::SameName(stream.name.clone()));
            }
            stream.check(&self.host)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(streams: Vec<Stream>) -> LoadPlan {
        LoadPlan {
            target: ([127, 0, 0, 1], 1).into(),
            host: "shop.example".to_owned(),
            streams,
        }
    }

    #[test]
    fn a_plan_that_cannot_be_kept_is_refused() {
        let cases = [
            (plan(vec![]), "the plan has no streams"),
            (
                plan(vec![Stream::plain("/", 1.0), Stream::plain("/b", 1.0)]),
                "two streams are named plain",
            ),
            (
                plan(vec![Stream::plain("/", 0.0)]),
                "a rate of 0 per second",
            ),
            (
                plan(vec![Stream::plain("/", f64::NAN)]),
                "a rate of NaN per second",
            ),
            (
                plan(vec![Stream::websocket("/ws", 0, 1.0)]),
                "needs at least one",
            ),
            (
                plan(vec![Stream::plain("/a b", 1.0)]),
                "cannot build its request",
            ),
        ];
        for (plan, expected) in cases {
            let error = plan.check().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error} does not say {expected}");
        }
    }

    #[test]
    fn a_plan_with_numbered_paths_is_accepted() {
        let streams = vec![
            Stream::plain("/entries?n={n}", 5.0),
            Stream::keep_alive("/", 5.0),
        ];
        plan(streams).check().expect("the plan is fine");
    }
}
