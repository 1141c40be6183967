//! A new table loses no request, and an acknowledged one is kept to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Response;
use tokio::sync::Notify;
use towpath_model::routing::FULL_WEIGHT;
use towpath_router::client::Error;

use crate::support::backend::Backend;
use crate::support::http::{Client, get_once, text};
use crate::support::load::{Load, assert_only};
use crate::support::router::TestRouter;
use crate::support::tables::{instance, route, simple, table, target};
use crate::support::{PATIENCE, eventually, free_address};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_swaps_under_load_lose_no_request() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let address = free_address();
    let router = TestRouter::serving(&simple(1, address, a.address)).await;
    let load = Load::start(address, 8);
    for swap in 0..300_u64 {
        let targets = match swap % 4 {
            0 => vec![target("b", FULL_WEIGHT, &[(2, b.address)])],
            1 => vec![
                target("b", 5_000, &[(2, b.address)]),
                target("a", 5_000, &[(1, a.address)]),
            ],
            2 => vec![target("a", FULL_WEIGHT, &[(1, a.address), (3, b.address)])],
            _ => vec![target("a", FULL_WEIGHT, &[(1, a.address)])],
        };
        router
            .put(&table(swap + 2, address, vec![route(targets)]))
            .await;
    }
    let outcomes = load.stop().await;
    assert_only(&outcomes, &["200 a", "200 b"]);
    assert_eq!(outcomes.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_acknowledgement_a_backend_gets_nothing_that_the_report_does_not_show() {
    let forbidden = Arc::new(AtomicBool::new(false));
    let violations = Arc::new(AtomicUsize::new(0));
    let (seen, counted) = (Arc::clone(&forbidden), Arc::clone(&violations));
    let b = Backend::new(move |_| {
        let (seen, counted) = (Arc::clone(&seen), Arc::clone(&counted));
        async move {
            if seen.load(Ordering::SeqCst) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            tokio::task::yield_now().await;
            if seen.load(Ordering::SeqCst) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            Response::default()
        }
    })
    .await;
    let a = Backend::saying("a").await;
    let address = free_address();
    let both = |generation| {
        let backends = [(1, a.address), (2, b.address)];
        table(
            generation,
            address,
            vec![route(vec![target("a", FULL_WEIGHT, &backends)])],
        )
    };
    let router = TestRouter::serving(&both(1)).await;
    let load = Load::start(address, 16);
    let mut generation = 1;
    for _ in 0..150 {
        forbidden.store(false, Ordering::SeqCst);
        let before = b.requests();
        router.put(&both(generation + 1)).await;
        eventually("the backend is used", || async { b.requests() > before }).await;
        let acknowledged = router
            .put(&simple(generation + 2, address, a.address))
            .await;
        generation += 2;
        if acknowledged.load(&instance(2)).is_some() {
            eventually("the drain ends", || async {
                router.report().await.load(&instance(2)).is_none()
            })
            .await;
        }
        forbidden.store(true, Ordering::SeqCst);
        let sent = load.sent();
        eventually("the load goes on", || async { load.sent() > sent + 16 }).await;
    }
    assert_only(&load.stop().await, &["200 a", "200 "]);
    assert_eq!(violations.load(Ordering::SeqCst), 0);
}

/// A backend that answers when it is let go.
async fn held() -> (Backend, Arc<Notify>) {
    let release = Arc::new(Notify::new());
    let wait = Arc::clone(&release);
    let backend = Backend::new(move |_| {
        let wait = Arc::clone(&wait);
        async move {
            wait.notified().await;
            Response::new("late".into())
        }
    })
    .await;
    (backend, release)
}

#[tokio::test]
async fn a_request_in_flight_survives_its_backend_leaving_the_table_and_the_end_is_told_at_once() {
    let (old, release) = held().await;
    let new = Backend::saying("new").await;
    let address = free_address();
    let router = TestRouter::serving(&simple(1, address, old.address)).await;
    let mut clients = tokio::task::JoinSet::new();
    clients.spawn(async move { text(&get_once(address, "/").await).to_owned() });
    eventually("the request arrives", || async { old.requests() == 1 }).await;

    let targets = vec![target("b", FULL_WEIGHT, &[(2, new.address)])];
    let report = router.put(&table(2, address, vec![route(targets)])).await;
    assert_eq!(report.load(&instance(1)).unwrap().in_flight, 1);
    assert_eq!(text(&get_once(address, "/").await), "new");

    let before = router.client.report().await.unwrap();
    assert!(before.report.load(&instance(1)).is_some());
    release.notify_one();
    let after = router
        .client
        .report_after(before.change, PATIENCE)
        .await
        .unwrap();
    assert!(after.change > before.change);
    assert_eq!(after.report.load(&instance(1)), None);
    assert_eq!(clients.join_next().await.unwrap().unwrap(), "late");
}

#[tokio::test]
async fn a_report_that_waits_for_a_change_comes_without_one_in_the_end() {
    let router = TestRouter::start().await;
    let now = router.client.report().await.unwrap();
    let later = router
        .client
        .report_after(now.change, Duration::from_millis(20))
        .await
        .unwrap();
    assert_eq!(later, now);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_request() {
    let (backend, _release) = held().await;
    let address = free_address();
    let router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let mut clients = tokio::task::JoinSet::new();
    clients.spawn(async move { get_once(address, "/").await.status() });
    eventually("the request arrives", || async { backend.requests() == 1 }).await;
    assert_eq!(
        router.report().await.load(&instance(1)).unwrap().in_flight,
        1
    );
    clients.shutdown().await;
    eventually("it is no longer in flight", || async {
        router.report().await.load(&instance(1)).is_none()
    })
    .await;
}

#[tokio::test]
async fn an_older_table_is_refused_and_changes_nothing() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let address = free_address();
    let router = TestRouter::serving(&simple(5, address, a.address)).await;
    let refused = router
        .client
        .put_table(&simple(4, address, b.address))
        .await;
    assert!(matches!(refused, Err(Error::Older(_))), "{refused:?}");
    assert_eq!(router.report().await.generation, 5);
    assert_eq!(text(&get_once(address, "/").await), "a");
    // The same generation again is what a control plane sends that did not see the answer.
    let report = router.put(&simple(5, address, a.address)).await;
    assert_eq!(report.generation, 5);
    assert_eq!(
        report.environments.values().copied().collect::<Vec<_>>(),
        [5]
    );
}

#[tokio::test]
async fn a_kept_alive_connection_follows_the_table() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let address = free_address();
    let router = TestRouter::serving(&simple(1, address, a.address)).await;
    let mut client = Client::connect(address).await;
    assert_eq!(text(&client.get("/").await), "a");
    let targets = vec![target("b", FULL_WEIGHT, &[(2, b.address)])];
    router.put(&table(2, address, vec![route(targets)])).await;
    assert_eq!(text(&client.get("/").await), "b");
}
