//! WebSocket sessions and messages are counted exactly by how they ended.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use towpath_load::{Counts, Handle, LoadPlan, Stream};

use crate::servers::{Act, Server, answer};

/// How a session of the server ends after some echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Never,
    GoingAway,
    Error,
    NoFrame,
    Silence,
}

/// Echoes `echoes` messages of each connection, then ends as told without echoing the next.
async fn echo(stream: TcpStream, echoes: usize, ending: Ending) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    drop(socket.send(Message::text("tick")).await);
    let mut answered = 0;
    while let Some(Ok(message)) = socket.next().await {
        if !message.is_text() || (ending == Ending::Silence && answered == echoes) {
            continue;
        }
        if ending != Ending::Never && answered == echoes {
            break;
        }
        answered += 1;
        drop(socket.send(message).await);
    }
    let code = match ending {
        Ending::GoingAway => CloseCode::Away,
        Ending::Error => CloseCode::Error,
        Ending::Never | Ending::NoFrame | Ending::Silence => return,
    };
    drop(
        socket
            .close(Some(CloseFrame {
                code,
                reason: "".into(),
            }))
            .await,
    );
    while let Some(Ok(_)) = socket.next().await {}
}

fn start(server: &Server, stream: Stream) -> Handle {
    let plan = LoadPlan {
        target: server.address,
        host: "shop.example".to_owned(),
        streams: vec![stream],
    };
    plan.start().expect("the plan is fine")
}

async fn until(load: Handle, enough: impl Fn(&Counts) -> bool) -> Counts {
    let wait = async {
        while !enough(&load.snapshot()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait)
        .await
        .expect("the load goes on");
    let counts = load.stop().await;
    assert_eq!(
        counts.in_flight(),
        0,
        "nothing is in flight after stop: {counts:?}"
    );
    counts
}

#[tokio::test]
async fn every_echo_and_every_session_counts_once() {
    let server = Server::connections(|_, stream| echo(stream, 0, Ending::Never)).await;
    let load = start(&server, Stream::websocket("/ws", 3, 300.0));
    let counts = until(load, |counts| counts.latency.count() >= 30).await;
    assert_eq!(counts.ok, counts.sent);
    assert_eq!(counts.sessions.opened, 3);
    assert_eq!(counts.sessions.closed_by_server, 0);
    assert_eq!(counts.latency.count() + 3, counts.sent);
}

#[tokio::test]
async fn a_session_that_the_server_closes_properly_is_no_failure_and_loses_no_message() {
    let server = Server::connections(|n, stream| {
        let ending = if n < 3 {
            Ending::GoingAway
        } else {
            Ending::Never
        };
        echo(stream, 5, ending)
    })
    .await;
    let load = start(&server, Stream::websocket("/ws", 1, 400.0));
    let counts = until(load, |counts| counts.latency.count() >= 30).await;
    assert_eq!(counts.failed.total(), 0, "{:?}", counts.last_failures);
    assert_eq!(counts.sessions.closed_by_server, 3);
    assert_eq!(counts.sessions.opened, 4);
    assert!(
        counts.sessions.resent >= 3,
        "each close left at least one message: {counts:?}"
    );
    assert_eq!(counts.ok, counts.sent);
}

#[tokio::test]
async fn a_session_that_breaks_or_is_closed_with_an_error_is_lost_with_its_messages() {
    for ending in [Ending::NoFrame, Ending::Error] {
        let server = Server::connections(move |n, stream| {
            echo(stream, 5, if n == 0 { ending } else { Ending::Never })
        })
        .await;
        let load = start(&server, Stream::websocket("/ws", 1, 50.0));
        let counts = until(load, |counts| counts.sessions.opened == 2).await;
        // The session and the message that it had not echoed; more only on a stalled machine.
        assert!(counts.failed.reset >= 2, "{ending:?}: {counts:?}");
        assert_eq!(counts.failed.total(), counts.failed.reset);
        assert_eq!(counts.sessions.closed_by_server, 0);
        assert_eq!(counts.ok + counts.failed.total(), counts.sent);
    }
}

#[tokio::test]
async fn messages_that_are_not_echoed_in_time_count_as_timeout_and_the_session_goes_on() {
    let server = Server::connections(|_, stream| echo(stream, 5, Ending::Silence)).await;
    let stream = Stream::websocket("/ws", 1, 200.0).within(Duration::from_millis(100));
    let counts = until(start(&server, stream), |counts| counts.failed.timeout >= 3).await;
    assert_eq!(counts.sessions.opened, 1);
    assert_eq!(counts.failed.total(), counts.failed.timeout);
    assert_eq!(counts.ok, 5 + 1, "five echoes and the session itself");
}

#[tokio::test]
async fn a_refused_handshake_counts_by_who_refused_it() {
    let server = Server::requests(|number, _| {
        Act::WriteAndClose(match number {
            0 => answer(503, "x-launches-version: 2\r\n", "no"),
            _ => answer(502, "", "no"),
        })
    })
    .await;
    let load = start(&server, Stream::websocket("/ws", 1, 100.0));
    let counts = until(load, |counts| counts.failed.total() >= 2).await;
    assert_eq!(counts.own_errors(), 1);
    assert_eq!(counts.failed.status_5xx, counts.failed.total());
    assert_eq!(counts.sessions.opened, 0);
}
