//! What visitors, the platform and the worker see of the site.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::app::{App, KEY, Service};

#[tokio::test]
async fn every_answer_says_which_version_made_it() {
    let app = App::migrated().await;
    let web = app.web(&[("LAUNCHES_VERSION", "7")]).await;
    for (path, status) in [
        ("/", 200),
        ("/entries", 200),
        ("/entries/nobody", 404),
        ("/winners", 200),
        ("/healthz", 200),
        ("/version", 200),
        ("/slow?ms=0", 200),
        ("/secret-check", 200),
        ("/ws", 426),
        ("/enter", 405),
        ("/nothing", 404),
        ("/entries/a/b", 404),
    ] {
        let answer = web.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(
            answer.head.contains("\r\nx-launches-version: 7"),
            "{path}: {}",
            answer.head
        );
    }
    assert_eq!(web.get("/version").await.body, r#"{"version":"7"}"#);
    assert!(web.get("/").await.body.contains("release 7"));
}

#[tokio::test]
async fn an_address_enters_once_and_keeps_its_ticket() {
    let app = App::migrated().await;
    let web = app.web(&[]).await;
    let first = web
        .ask("POST", "/enter", "email=ada%40example.com&size=40")
        .await;
    assert_eq!(first.status, 201, "{}", first.body);
    let again = web
        .ask("POST", "/enter", "size=41&email=ADA%40example.com")
        .await;
    assert_eq!(again.status, 200);
    assert_eq!(
        again.body,
        first.body.replace(r#""new":true"#, r#""new":false"#)
    );
    let bad = web.ask("POST", "/enter", "email=ada&size=40").await;
    assert_eq!(
        (bad.status, bad.body.as_str()),
        (422, r#"{"error":"this is not an e-mail address"}"#)
    );

    let entries = web.get("/entries").await.body;
    assert!(entries.starts_with(r#"{"length":1,"#), "{entries}");
    assert!(
        entries.contains("a***@example.com") && !entries.contains("ada@"),
        "{entries}"
    );
    let long = format!("email={}", "x".repeat(8_000));
    assert_eq!(web.ask("POST", "/enter", &long).await.status, 413);
}

#[tokio::test]
async fn the_worker_draws_each_full_heat_and_the_ticket_tells() {
    let app = App::migrated().await;
    let web = app.web(&[]).await;
    let promised = web.get("/winners").await.body;
    let _workers = [
        Service::start("worker", &app.variables(&[])),
        Service::start("worker", &app.variables(&[])),
    ];
    for n in 0..26 {
        let entry = format!("email=runner{n}%40example.com&size=42");
        assert_eq!(web.ask("POST", "/enter", &entry).await.status, 201);
    }
    let drawn = async {
        loop {
            let winners: serde_json::Value =
                serde_json::from_str(&web.get("/winners").await.body).expect("JSON");
            if let Some(draw) = winners["draws"].get(0) {
                return draw.clone();
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let draw = timeout(Duration::from_secs(30), drawn)
        .await
        .expect("drawn in time");
    assert!(
        promised.contains(draw["commitment"].as_str().expect("text")),
        "{promised} {draw}"
    );
    let ticket = draw["ticket"].as_str().expect("text");
    assert!(
        web.get(&format!("/entries/{ticket}"))
            .await
            .body
            .contains(r#""outcome":"won""#)
    );

    let entries: serde_json::Value =
        serde_json::from_str(&web.get("/entries").await.body).expect("JSON");
    let mut outcomes = Vec::new();
    for entry in entries["entries"].as_array().expect("a list") {
        let ticket = entry["ticket"].as_str().expect("text");
        let entry = web.get(&format!("/entries/{ticket}")).await.body;
        let entry: serde_json::Value = serde_json::from_str(&entry).expect("JSON");
        outcomes.push(entry["outcome"].as_str().expect("text").to_owned());
    }
    let count = |what: &str| outcomes.iter().filter(|outcome| *outcome == what).count();
    assert_eq!((count("won"), count("lost"), count("waiting")), (1, 24, 1));
    assert!(web.get("/").await.body.contains("Heat 1"));
}

#[tokio::test]
async fn the_secret_is_used_and_shown_nowhere() {
    let app = App::migrated().await;
    let web = app.web(&[]).await;
    let digest = web.get("/secret-check").await.body;
    std::fs::write(
        app.directory.path().join("key"),
        "another-key-of-enough-bytes",
    )
    .expect("written");
    let other = app.web(&[]).await;
    assert_ne!(other.get("/secret-check").await.body, digest);
    web.ask("POST", "/enter", "email=ada%40example.com&size=40")
        .await;
    for path in [
        "/",
        "/entries",
        "/winners",
        "/healthz",
        "/secret-check",
        "/nothing",
    ] {
        assert!(!web.get(path).await.body.contains(KEY), "{path}");
    }
    web.signal(rustix::process::Signal::TERM);
    let (_, log) = web.ended().await;
    assert!(log.contains("listening") && !log.contains(KEY), "{log}");
    let stored =
        std::fs::read_to_string(app.directory.path().join("data/store.log")).expect("text");
    assert!(stored.contains("ada@example.com") && !stored.contains(KEY));
}

#[tokio::test]
async fn a_websocket_ticks_and_echoes() {
    let app = App::migrated().await;
    let web = app.web(&[]).await;
    let stream = TcpStream::connect(web.address).await.expect("it listens");
    let (mut socket, response) = tokio_tungstenite::client_async("ws://raffle/ws", stream)
        .await
        .expect("a session");
    assert_eq!(response.headers()["x-launches-version"], "1");
    socket.send(Message::text("hello")).await.expect("sent");
    let (mut ticks, mut echoes) = (0, 0);
    let heard = async {
        while ticks < 2 || echoes < 1 {
            let message = socket.next().await.expect("open").expect("a message");
            match message.to_text().expect("text") {
                "hello" => echoes += 1,
                tick if tick.starts_with(r#"{"tick":"#) => ticks += 1,
                other => panic!("unexpected {other}"),
            }
        }
    };
    timeout(Duration::from_secs(30), heard)
        .await
        .expect("in time");
    assert_eq!(echoes, 1);
}

#[tokio::test]
async fn a_release_that_crashes_at_start_says_why_and_exits_1() {
    let app = App::migrated().await;
    let variables = app.variables(&[("LAUNCHES_FAULT", "crash-at-start")]);
    let (status, log) = Service::start("web", &variables).ended().await;
    assert_eq!(status.code(), Some(1));
    assert!(
        log.contains("the size chart of the raffle is missing"),
        "{log}"
    );
}

#[tokio::test]
async fn a_release_that_fails_its_health_check_serves_pages_all_the_same() {
    let app = App::migrated().await;
    let web = app.web(&[("LAUNCHES_FAULT", "fail-health")]).await;
    assert_eq!(web.get("/healthz").await.status, 503);
    assert_eq!(web.get("/").await.status, 200);
}

#[tokio::test]
async fn check_exits_0_only_for_a_service_that_is_well() {
    let app = App::migrated().await;
    let well = app.web(&[]).await;
    let ill = app.web(&[("LAUNCHES_FAULT", "fail-health")]).await;
    let (status, log) = well.checked().await;
    assert!(status.success(), "{log}");
    let (status, log) = ill.checked().await;
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("answered: HTTP/1.1 503"), "{log}");
    assert!(app.store.checked().await.0.success());
    ill.signal(rustix::process::Signal::TERM);
    let port = ill.address.port().to_string();
    ill.ended().await;
    let nobody = Service::start("check", &app.variables(&[("PORT", &port)]));
    let (status, log) = nobody.ended().await;
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("no answer"), "{log}");
}

#[tokio::test]
async fn a_release_with_errors_fails_every_fourth_page_but_not_its_health_check() {
    let app = App::migrated().await;
    let web = app
        .web(&[("LAUNCHES_FAULT", "error-some"), ("LAUNCHES_VERSION", "3")])
        .await;
    let mut failed = 0;
    for _ in 0..20 {
        let answer = web.get("/winners").await;
        failed += usize::from(answer.status == 500);
        assert!(answer.head.contains("x-launches-version: 3"));
        assert_eq!(web.get("/healthz").await.status, 200);
    }
    assert_eq!(failed, 5);
}

#[tokio::test]
async fn a_slow_release_answers_late_but_its_health_check_does_not() {
    let app = App::migrated().await;
    let web = app.web(&[("LAUNCHES_FAULT", "slow")]).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(web.get("/winners").await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(1_500));
    assert_eq!(web.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn settings_and_arguments_that_cannot_be_used_exit_2() {
    let app = App::migrated().await;
    for (variable, value) in [
        ("LAUNCHES_FAULT", "odd"),
        ("HOST", "nowhere"),
        ("LAUNCHES_START_MS", "-1"),
        ("RAFFLE_KEY_FILE", "/nowhere/key"),
    ] {
        let (status, log) = Service::start("web", &app.variables(&[(variable, value)]))
            .ended()
            .await;
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains(variable) && log.contains(value), "{log}");
    }
    let (status, log) = Service::start("cook", &app.variables(&[])).ended().await;
    assert_eq!(status.code(), Some(2));
    assert!(log.contains("there is no service \"cook\""), "{log}");
}
