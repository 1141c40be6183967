//! A WebSocket session that is kept open and sends messages to be echoed. It judges how sessions and
//! messages end; it does not pace anything else.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use crate::counts::FailureKind;
use crate::generator::Running;
use crate::http::judge;
use crate::schedule::Schedule;
use crate::tally::{Outcome, Start};

/// The pause before a handshake is tried again after one failed.
const RETRY: Duration = Duration::from_millis(50);
/// How long the other side may take to answer a close frame.
const CLOSING: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<TcpStream>;

/// A message that was not echoed yet.
struct Unanswered {
    text: String,
    start: Start,
}

struct Session {
    stream: Arc<Running>,
    number: usize,
    schedule: Schedule,
    sent: u64,
    unanswered: VecDeque<Unanswered>,
    version: Option<String>,
}

/// How a session ended.
enum End {
    /// We closed it, when the load stopped.
    ByUs,
    /// The server closed it as it should.
    ByServer,
    /// It broke.
    Broken(FailureKind, String),
}

/// What the wait inside a session came to.
enum Next {
    Stop,
    Send,
    Expire,
    Received(Option<Result<Message, Error>>),
}

/// Holds one session open until `stop`, opening it again whenever it ends.
pub(crate) async fn keep_session(
    stream: Arc<Running>,
    number: usize,
    schedule: Schedule,
    stop: CancellationToken,
) {
    let unanswered = VecDeque::new();
    let mut session = Session {
        stream,
        number,
        schedule,
        sent: 0,
        unanswered,
        version: None,
    };
    while !(stop.is_cancelled() && session.unanswered.is_empty()) {
        session.expire();
        let opened_at = Instant::now();
        session.stream.tally.sent();
        let end = match session.open().await {
            Ok(socket) => session.converse(socket, &stop).await,
            Err(outcome) => {
                session.stream.tally.session_ended(opened_at, outcome);
                if stop.is_cancelled() {
                    session.lose_all(FailureKind::Connect, "no session to send it again");
                }
                // Ends early on stop; either way the loop looks at the token next.
                drop(timeout(RETRY, stop.cancelled()).await);
                continue;
            }
        };
        session.ended(opened_at, end);
    }
}

impl Session {
    async fn open(&mut self) -> Result<Socket, Outcome> {
        let limit = self.stream.plan.timeout;
        match timeout(limit, self.handshake()).await {
            Ok(Ok(socket)) => {
                self.stream.tally.session_opened();
                Ok(socket)
            }
            Ok(Err(outcome)) => Err(outcome),
            Err(_) => Err(Outcome::lost(
                FailureKind::Timeout,
                format!("{}: no handshake within {limit:?}", self.stream.plan.path),
            )),
        }
    }

    async fn handshake(&mut self) -> Result<Socket, Outcome> {
        let plan = &self.stream.plan;
        let client = &self.stream.client;
        let protocol = |error: Error| Outcome::lost(FailureKind::Protocol, error.to_string());
        let request = format!("ws://{}{}", client.host, plan.path)
            .into_client_request()
            .map_err(protocol)?;
        let tcp = TcpStream::connect(client.target).await.map_err(|error| {
            let text = format!("cannot connect to {}: {error}", client.target);
            Outcome::lost(FailureKind::Connect, text)
        })?;
        // Only delays small writes when it fails.
        drop(tcp.set_nodelay(true));
        let version_of = |headers: &hyper::HeaderMap| {
            let value = headers.get(plan.version_header)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        match tokio_tungstenite::client_async(request, tcp).await {
            Ok((socket, response)) => {
                self.version = version_of(response.headers());
                Ok(socket)
            }
            Err(Error::Http(response)) => {
                let version = version_of(response.headers());
                let status = response.status().as_u16();
                match judge(&plan.path, status, version, None, &[]) {
                    Outcome::Good { version } => {
                        let text = format!("{}: answered {status}, not 101", plan.path);
                        Err(Outcome::Lost {
                            kind: FailureKind::Protocol,
                            text,
                            version,
                        })
                    }
                    bad @ (Outcome::OwnError { .. } | Outcome::Lost { .. }) => Err(bad),
                }
            }
            Err(error) => {
                let (kind, text) = sort(&error);
                Err(Outcome::lost(kind, text))
            }
        }
    }

    async fn converse(&mut self, mut socket: Socket, stop: &CancellationToken) -> End {
        let again: Vec<String> = self.unanswered.iter().map(|m| m.text.clone()).collect();
        for text in again {
            self.stream.tally.resent();
            if let ControlFlow::Break(end) = self.write(&mut socket, text).await {
                return end;
            }
        }
        loop {
            if stop.is_cancelled() && self.unanswered.is_empty() {
                return close(socket).await;
            }
            let turn = match self.next(&mut socket, stop).await {
                Next::Stop => ControlFlow::Continue(()),
                Next::Expire => {
                    self.expire();
                    ControlFlow::Continue(())
                }
                Next::Send => {
                    let text = self.new_message();
                    self.write(&mut socket, text).await
                }
                Next::Received(message) => self.received(message, &mut socket).await,
            };
            if let ControlFlow::Break(end) = turn {
                return end;
            }
        }
    }

    async fn next(&self, socket: &mut Socket, stop: &CancellationToken) -> Next {
        let stopping = stop.is_cancelled();
        let room = self.unanswered.len() < self.stream.plan.max_in_flight;
        let oldest = self
            .unanswered
            .front()
            .map(|m| m.start.actual + self.stream.plan.timeout);
        let expiry = oldest.unwrap_or_else(|| self.schedule.peek());
        tokio::select! {
            message = socket.next() => Next::Received(message),
            () = stop.cancelled(), if !stopping => Next::Stop,
            () = sleep_until(expiry), if oldest.is_some() => Next::Expire,
            () = sleep_until(self.schedule.peek()), if !stopping && room => Next::Send,
        }
    }

    fn new_message(&mut self) -> String {
        let text = format!("towpath-load {} {}", self.number, self.sent);
        self.sent += 1;
        self.stream.tally.sent();
        let start = Start {
            intended: self.schedule.take(),
            actual: Instant::now(),
        };
        self.unanswered.push_back(Unanswered {
            text: text.clone(),
            start,
        });
        text
    }

    async fn write(&self, socket: &mut Socket, text: String) -> ControlFlow<End> {
        match timeout(self.stream.plan.timeout, socket.send(Message::text(text))).await {
            // The close frame that explains this error is still to be read.
            Ok(Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed)) => {
                ControlFlow::Continue(())
            }
            Ok(Err(error)) => {
                let (kind, text) = sort(&error);
                ControlFlow::Break(End::Broken(kind, text))
            }
            Err(_) => ControlFlow::Break(End::Broken(
                FailureKind::Timeout,
                "the other side does not read".to_owned(),
            )),
        }
    }

    async fn received(
        &mut self,
        message: Option<Result<Message, Error>>,
        socket: &mut Socket,
    ) -> ControlFlow<End> {
        match message {
            Some(Ok(Message::Text(text))) => self.echoed(text.as_str()),
            Some(Ok(Message::Close(frame))) => {
                // Reading on sends the answer to the close frame.
                drop(timeout(CLOSING, socket.next()).await);
                return ControlFlow::Break(closed_with(frame));
            }
            // Pings are answered by the library; the server's own messages are not counted.
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                let (kind, text) = sort(&error);
                return ControlFlow::Break(End::Broken(kind, text));
            }
            None => {
                let text = "the connection ended without a close frame".to_owned();
                return ControlFlow::Break(End::Broken(FailureKind::Reset, text));
            }
        }
        ControlFlow::Continue(())
    }

    fn echoed(&mut self, text: &str) {
        let Some(place) = self.unanswered.iter().position(|m| m.text == text) else {
            // A tick of the server, or the echo of a message that was given up.
            return;
        };
        if let Some(message) = self.unanswered.remove(place) {
            let version = self.version.clone();
            self.stream
                .tally
                .ended(message.start, Outcome::Good { version });
        }
    }

    /// Gives up the messages that waited too long.
    fn expire(&mut self) {
        let limit = self.stream.plan.timeout;
        while self
            .unanswered
            .front()
            .is_some_and(|m| m.start.actual.elapsed() >= limit)
        {
            if let Some(message) = self.unanswered.pop_front() {
                let text = format!("message {:?} not echoed within {limit:?}", message.text);
                self.stream
                    .tally
                    .ended(message.start, Outcome::lost(FailureKind::Timeout, text));
            }
        }
    }

    fn lose_all(&mut self, kind: FailureKind, why: &str) {
        for message in self.unanswered.drain(..) {
            let text = format!("message {:?}: {why}", message.text);
            self.stream
                .tally
                .ended(message.start, Outcome::lost(kind, text));
        }
    }

    /// Counts the session. Messages that a proper close left unanswered stay, to be sent again: the
    /// server may never have read them.
    fn ended(&mut self, opened_at: Instant, end: End) {
        let version = self.version.take();
        let outcome = match end {
            End::ByUs => Outcome::Good { version },
            End::ByServer => {
                self.stream.tally.session_closed_by_server();
                Outcome::Good { version }
            }
            End::Broken(kind, text) => {
                self.lose_all(kind, &text);
                Outcome::Lost {
                    kind,
                    text: format!("session broke: {text}"),
                    version,
                }
            }
        };
        self.stream.tally.session_ended(opened_at, outcome);
    }
}

/// Closes a session from our side.
async fn close(mut socket: Socket) -> End {
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "the load ends".into(),
    };
    let reply = async {
        if socket.close(Some(frame)).await.is_err() {
            return;
        }
        while let Some(Ok(_)) = socket.next().await {}
    };
    // Nothing is outstanding, so a missing reply costs nobody anything.
    drop(timeout(CLOSING, reply).await);
    End::ByUs
}

fn closed_with(frame: Option<CloseFrame>) -> End {
    match frame {
        None => End::ByServer,
        Some(frame) if matches!(frame.code, CloseCode::Normal | CloseCode::Away) => End::ByServer,
        Some(frame) => End::Broken(
            FailureKind::Reset,
            format!(
                "closed with code {} {:?}",
                u16::from(frame.code),
                frame.reason.as_str()
            ),
        ),
    }
}

fn sort(error: &Error) -> (FailureKind, String) {
    let kind = match error {
        Error::Io(_)
        | Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete,
        ) => FailureKind::Reset,
        _ => FailureKind::Protocol,
    };
    (kind, error.to_string())
}
