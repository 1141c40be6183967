//! The live line of the site over a WebSocket: ticks, and an echo of what the visitor sends. It ends
//! with a close frame, never with a cut.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::App;
use crate::serve::{Answer, text};

const LARGEST_MESSAGE: usize = 64 * 1024;
/// How long a visitor may take to answer our close frame, or to take a message.
const FAREWELL: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Answers the handshake and starts the session.
pub(super) fn upgrade(app: &Arc<App>, mut request: Request<Incoming>) -> Answer {
    let headers = request.headers();
    let key = headers.get(SEC_WEBSOCKET_KEY).cloned();
    let asked = has(headers, &CONNECTION, "upgrade")
        && has(headers, &UPGRADE, "websocket")
        && has(headers, &SEC_WEBSOCKET_VERSION, "13");
    let (Some(key), true) = (key, asked) else {
        let mut answer = text(
            StatusCode::UPGRADE_REQUIRED,
            "text/plain; charset=utf-8",
            "this page is a WebSocket\n",
        );
        answer
            .headers_mut()
            .insert(UPGRADE, HeaderValue::from_static("websocket"));
        return answer;
    };
    let upgrade = hyper::upgrade::on(&mut request);
    app.sessions.spawn(session(Arc::clone(app), upgrade));
    let mut answer = Response::new(Empty::new().boxed_unsync());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

fn has(headers: &HeaderMap, name: &HeaderName, what: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case(what))
}

async fn session(app: Arc<App>, upgrade: OnUpgrade) {
    // It fails when the visitor left during the handshake.
    let Ok(upgraded) = upgrade.await else { return };
    let config = WebSocketConfig::default().max_message_size(Some(LARGEST_MESSAGE));
    let io = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    if converse(&app, &mut socket).await.is_some() {
        let frame = CloseFrame {
            code: CloseCode::Away,
            reason: "the server restarts".into(),
        };
        let farewell = async {
            if socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        };
        // A visitor who does not say goodbye is not waited for.
        drop(timeout(FAREWELL, farewell).await);
    }
}

/// Talks until the service closes, which is `Some`, or the visitor does.
async fn converse(app: &App, socket: &mut Socket) -> Option<()> {
    let mut ticks = interval(app.config.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut tick = 0_u64;
    loop {
        let message = tokio::select! {
            biased;
            () = app.closing.cancelled() => return Some(()),
            received = socket.next() => match received?.ok()? {
                message @ (Message::Text(_) | Message::Binary(_)) => message,
                // The library answers pings and close frames while it is read from.
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {
                    continue;
                }
            },
            _ = ticks.tick() => {
                tick += 1;
                let version = &app.config.version;
                Message::text(serde_json::json!({ "tick": tick, "version": version }).to_string())
            }
        };
        // A visitor who does not read is let go instead of being waited for.
        timeout(app.config.grace, socket.send(message))
            .await
            .ok()?
            .ok()?;
    }
}
