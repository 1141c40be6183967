//! SIGTERM: what was begun is finished, sessions are closed properly, and the exit code is 0.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::app::{App, Service};

#[tokio::test]
async fn a_request_in_flight_is_finished_and_new_ones_are_refused() {
    let app = App::migrated().await;
    let web = app.web(&[]).await;
    let mut stream = TcpStream::connect(web.address).await.expect("it listens");
    let request = "GET /slow?ms=700 HTTP/1.1\r\nhost: raffle\r\n\r\n";
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    // The first byte of the answer: from here on the request is in flight.
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.expect("it answers");

    web.signal(rustix::process::Signal::TERM);
    let refused = async {
        while TcpStream::connect(web.address).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), refused)
        .await
        .expect("it stops listening");
    let mut rest = String::new();
    stream
        .read_to_string(&mut rest)
        .await
        .expect("it ends the connection properly");
    assert!(
        rest.contains("done") && rest.ends_with("0\r\n\r\n"),
        "{rest}"
    );
    let (status, log) = web.ended().await;
    assert!(status.success() && log.ends_with("web: stopped\n"), "{log}");
}

#[tokio::test]
async fn a_websocket_is_closed_with_going_away_after_the_last_request() {
    let app = App::migrated().await;
    let web = app.web(&[]).await;
    let stream = TcpStream::connect(web.address).await.expect("it listens");
    let (mut socket, _) = tokio_tungstenite::client_async("ws://raffle/ws", stream)
        .await
        .expect("a session");
    let mut slow = TcpStream::connect(web.address).await.expect("it listens");
    let request = "GET /slow?ms=500 HTTP/1.1\r\nhost: raffle\r\nconnection: close\r\n\r\n";
    slow.write_all(request.as_bytes()).await.expect("it reads");
    let mut first = [0; 1];
    slow.read_exact(&mut first).await.expect("it answers");

    web.signal(rustix::process::Signal::TERM);
    // The slow request is still running, so the session still echoes.
    socket
        .send(Message::text("still there?"))
        .await
        .expect("sent");
    let mut echoed = false;
    let close = async {
        loop {
            match socket.next().await.expect("open").expect("a message") {
                Message::Close(frame) => return frame,
                message => echoed |= message.to_text().is_ok_and(|text| text == "still there?"),
            }
        }
    };
    let frame = timeout(Duration::from_secs(30), close)
        .await
        .expect("closed in time");
    assert_eq!(frame.map(|frame| frame.code), Some(CloseCode::Away));
    assert!(echoed);
    assert!(socket.next().await.is_none());
    let mut rest = String::new();
    slow.read_to_string(&mut rest)
        .await
        .expect("it was finished before");
    assert!(rest.contains("done"), "{rest}");
    assert!(web.ended().await.0.success());
}

#[tokio::test]
async fn a_request_that_outlasts_the_grace_does_not_hold_up_the_stop() {
    let app = App::migrated().await;
    let web = app.web(&[("LAUNCHES_GRACE_MS", "100")]).await;
    let mut stream = TcpStream::connect(web.address).await.expect("it listens");
    let request = "GET /slow?ms=60000 HTTP/1.1\r\nhost: raffle\r\n\r\n";
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut first = [0; 1];
    stream.read_exact(&mut first).await.expect("it answers");
    web.signal(rustix::process::Signal::TERM);
    let (status, log) = web.ended().await;
    assert!(status.success(), "{log}");
    assert!(
        log.contains("1 connections were not finished in time"),
        "{log}"
    );
}

#[tokio::test]
async fn worker_store_and_a_web_that_waits_all_stop_when_asked() {
    let app = App::new().await;
    // Without a migration it waits and does not listen.
    let waiting = Service::start("web", &app.variables(&[]))
        .said("starts")
        .await;
    let worker = Service::start("worker", &app.variables(&[]))
        .said("draws from")
        .await;
    for service in [waiting, worker] {
        service.signal(rustix::process::Signal::TERM);
        let (status, log) = service.ended().await;
        assert!(status.success(), "{log}");
    }
    app.store.signal(rustix::process::Signal::TERM);
    let (status, log) = app.store.ended().await;
    assert!(status.success(), "{log}");
}

#[tokio::test]
async fn visitors_wait_for_a_store_that_is_replaced_instead_of_getting_an_error() {
    let mut app = App::migrated().await;
    let web = app.web(&[]).await;
    let entry = "email=ada%40example.com&size=40";
    assert_eq!(web.ask("POST", "/enter", entry).await.status, 201);
    app.kill_store().await;
    let visitor = web.ask("POST", "/enter", "email=eda%40example.com&size=41");
    let replaced = async {
        assert_eq!(web.get("/healthz").await.status, 200);
        app.restart_store().await;
    };
    let (answer, ()) = tokio::join!(visitor, replaced);
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(web.ask("POST", "/enter", entry).await.status, 200);
}
