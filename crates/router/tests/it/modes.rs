//! Pause, maintenance, and the limits of a route.

use hyper::StatusCode;
use towpath_model::routing::{RouteMode, RouteTable};

use crate::support::backend::Backend;
use crate::support::http::{Client, get_once, raw, request, status_of, text};
use crate::support::router::TestRouter;
use crate::support::tables::simple;
use crate::support::{eventually, free_address};

fn with_mode(mut table: RouteTable, mode: &RouteMode) -> RouteTable {
    for listener in table.listeners.values_mut() {
        listener.routes[0].mode = mode.clone();
    }
    table
}

async fn held(router: &TestRouter) -> u64 {
    let metrics = router.client.metrics().await.unwrap();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("towpath_router_held{"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap()
}

#[tokio::test]
async fn a_paused_route_holds_requests_and_forwards_them_when_it_resumes() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let address = free_address();
    let paused = RouteMode::Paused {
        max_wait_ms: 20_000,
    };
    let router = TestRouter::serving(&with_mode(simple(1, address, old.address), &paused)).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..5 {
        clients.spawn(async move {
            let answer = Client::connect(address)
                .await
                .send(request("POST", "/", &[], "x"))
                .await;
            text(&answer).to_owned()
        });
    }
    eventually("all are held", || async { held(&router).await == 5 }).await;
    // A table that keeps the pause keeps the requests.
    router
        .put(&with_mode(simple(2, address, new.address), &paused))
        .await;
    eventually("all are still held", || async { held(&router).await == 5 }).await;
    assert_eq!(old.requests() + new.requests(), 0);
    router.put(&simple(3, address, new.address)).await;
    while let Some(said) = clients.join_next().await {
        assert_eq!(said.unwrap(), "new");
    }
    assert_eq!(held(&router).await, 0);
}

#[tokio::test]
async fn a_request_is_held_no_longer_than_the_pause_allows() {
    let (backend, address) = (Backend::saying("x").await, free_address());
    let paused = RouteMode::Paused { max_wait_ms: 50 };
    let _router =
        TestRouter::serving(&with_mode(simple(1, address, backend.address), &paused)).await;
    assert_eq!(get_once(address, "/").await.status(), 504);
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn no_more_requests_are_held_than_the_limit() {
    let (backend, address) = (Backend::saying("x").await, free_address());
    let router = TestRouter::start_with(|config| config.limits.held_requests = 2).await;
    let paused = RouteMode::Paused {
        max_wait_ms: 20_000,
    };
    router
        .put(&with_mode(simple(1, address, backend.address), &paused))
        .await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..2 {
        clients.spawn(async move { get_once(address, "/").await.status() });
    }
    eventually("two are held", || async { held(&router).await == 2 }).await;
    assert_eq!(get_once(address, "/").await.status(), 503);
    router.put(&simple(2, address, backend.address)).await;
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
}

#[tokio::test]
async fn maintenance_answers_503_with_the_page_and_when_to_come_back() {
    let (backend, address) = (Backend::saying("x").await, free_address());
    let page = Some("<h1>Back at noon</h1>".to_owned());
    let mode = RouteMode::Maintenance {
        page,
        retry_after_s: 90,
    };
    let router = TestRouter::serving(&with_mode(simple(1, address, backend.address), &mode)).await;
    let answer = get_once(address, "/").await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "90");
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(text(&answer), "<h1>Back at noon</h1>");
    let plain = RouteMode::Maintenance {
        page: None,
        retry_after_s: 5,
    };
    router
        .put(&with_mode(simple(2, address, backend.address), &plain))
        .await;
    let answer = get_once(address, "/").await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (503, &"5".parse().unwrap())
    );
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn more_requests_than_the_rate_are_answered_429() {
    let (backend, address) = (Backend::saying("x").await, free_address());
    let mut table = simple(1, address, backend.address);
    table.listeners.get_mut(&address).unwrap().routes[0]
        .policy
        .rate_limit_per_s = 5;
    let router = TestRouter::serving(&table).await;
    let mut client = Client::connect(address).await;
    let mut refused = 0;
    for _ in 0..30 {
        refused += usize::from(client.get("/").await.status() == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!((15..=25).contains(&refused), "{refused}");
    assert_eq!(backend.requests(), 30 - refused);
    let metrics = router.client.metrics().await.unwrap();
    let line = format!("route=\"web\",status=\"429\"}} {refused}");
    assert!(
        metrics.lines().any(|metric| metric.ends_with(&line)),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_answered_413_however_it_is_framed() {
    let (backend, address) = (Backend::saying("x").await, free_address());
    let mut table = simple(1, address, backend.address);
    table.listeners.get_mut(&address).unwrap().routes[0]
        .policy
        .max_body_bytes = 10;
    let _router = TestRouter::serving(&table).await;
    assert_eq!(
        status_of(address, request("POST", "/", &[], "0123456789")).await,
        200
    );
    assert_eq!(backend.requests(), 1);
    assert_eq!(
        status_of(address, request("POST", "/", &[], "0123456789a")).await,
        413
    );
    assert_eq!(
        backend.requests(),
        1,
        "what is known to be too large is not begun"
    );
    let chunked = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
        6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n";
    let answer = raw(address, chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}
