//! Which backend gets a request: weights, stickiness, sides without backends.

use std::collections::BTreeMap;

use towpath_model::routing::FULL_WEIGHT;

use crate::support::backend::Backend;
use crate::support::free_address;
use crate::support::http::{Client, get, get_once, request, text};
use crate::support::router::TestRouter;
use crate::support::tables::{route, table, target};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_exact_over_ten_thousand_requests_and_all_workers() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let address = free_address();
    let targets = vec![
        target("a", 9_500, &[(1, a.address)]),
        target("b", 500, &[(2, b.address)]),
    ];
    let _router = TestRouter::serving(&table(1, address, vec![route(targets)])).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10 {
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            for _ in 0..1_000 {
                assert_eq!(client.get("/").await.status(), 200);
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    assert_eq!((a.requests(), b.requests()), (9_500, 500));
}

#[tokio::test]
async fn weights_stay_exact_across_swaps() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let address = free_address();
    let tables = |generation| {
        let targets = vec![
            target("a", 9_000, &[(1, a.address)]),
            target("b", 1_000, &[(2, b.address)]),
        ];
        table(generation, address, vec![route(targets)])
    };
    let router = TestRouter::serving(&tables(1)).await;
    let mut client = Client::connect(address).await;
    for swap in 0..50 {
        router.put(&tables(swap + 2)).await;
        for _ in 0..7 {
            client.get("/").await;
        }
    }
    assert!((30..=40).contains(&b.requests()), "{}", b.requests());
}

#[tokio::test]
async fn a_side_without_weight_gets_nothing_and_one_without_backend_gives_to_the_others() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let address = free_address();
    let targets = vec![
        target("a", 5_000, &[(1, a.address)]),
        target("b", 0, &[(2, b.address)]),
        target("c", 5_000, &[]),
    ];
    let _router = TestRouter::serving(&table(1, address, vec![route(targets)])).await;
    let mut client = Client::connect(address).await;
    for _ in 0..50 {
        assert_eq!(text(&client.get("/").await), "a");
    }
    assert_eq!(b.requests(), 0);
}

#[tokio::test]
async fn a_route_without_targets_or_backends_answers_503() {
    let address = free_address();
    let router = TestRouter::serving(&table(1, address, vec![route(Vec::new())])).await;
    assert_eq!(get_once(address, "/").await.status(), 503);
    let empty = vec![target("a", FULL_WEIGHT, &[])];
    router.put(&table(2, address, vec![route(empty)])).await;
    assert_eq!(get_once(address, "/").await.status(), 503);
}

#[tokio::test]
async fn a_sticky_client_stays_on_the_release_that_answered_it_while_that_has_a_weight() {
    let (a, b) = (Backend::saying("a").await, Backend::saying("b").await);
    let address = free_address();
    let tables = |generation, weights: (u32, u32)| {
        let targets = vec![
            target("a", weights.0, &[(1, a.address)]),
            target("b", weights.1, &[(2, b.address)]),
        ];
        let mut route = route(targets);
        route.policy.sticky = true;
        table(generation, address, vec![route])
    };
    let router = TestRouter::serving(&tables(1, (5_000, 5_000))).await;
    let mut client = Client::connect(address).await;
    let mut cookies = BTreeMap::new();
    for _ in 0..20 {
        let answer = client.get("/").await;
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        let pair = cookie.split(';').next().unwrap().to_owned();
        cookies.insert(text(&answer).to_owned(), pair);
    }
    assert_eq!(cookies.len(), 2, "both sides answered");
    let with = |cookie: &str| request("GET", "/", &[("cookie", &format!("x=1; {cookie}"))], "");
    for (side, cookie) in &cookies {
        for _ in 0..20 {
            let answer = client.send(with(cookie)).await;
            assert_eq!(text(&answer), side);
            assert!(!answer.headers().contains_key("set-cookie"));
        }
    }
    router.put(&tables(2, (0, 10_000))).await;
    let answer = client.send(with(&cookies["a"])).await;
    assert_eq!(text(&answer), "b");
    assert!(answer.headers().contains_key("set-cookie"));
}

#[tokio::test]
async fn a_request_goes_by_its_host_and_path() {
    let (shop, api) = (Backend::saying("shop").await, Backend::saying("api").await);
    let address = free_address();
    let mut first = route(vec![target("a", FULL_WEIGHT, &[(1, shop.address)])]);
    first.hosts = vec!["Shop.test".to_owned()];
    let mut second = route(vec![target("b", FULL_WEIGHT, &[(2, api.address)])]);
    second.hosts = vec!["*.shop.test".to_owned(), "shop.test".to_owned()];
    second.path_prefix = "/api/".to_owned();
    let _router = TestRouter::serving(&table(1, address, vec![first, second])).await;
    let mut client = Client::connect(address).await;
    let mut at = async |host: &str, path: &str| {
        let answer = client
            .send(request("GET", path, &[("host", host)], ""))
            .await;
        (
            answer.status().as_u16(),
            text(&answer).chars().take(4).collect::<String>(),
        )
    };
    assert_eq!(at("SHOP.test:81", "/").await, (200, "shop".to_owned()));
    assert_eq!(at("shop.test", "/api").await, (200, "api".to_owned()));
    assert_eq!(at("x.shop.test", "/api/y").await, (200, "api".to_owned()));
    assert_eq!(at("x.shop.test", "/").await.0, 404);
    assert_eq!(at("other.test", "/").await.0, 404);
    // The host of an absolute target counts, not that of the field (RFC 9112 section 3.2.2).
    let answer = client.send(get("http://x.shop.test/api/")).await;
    assert_eq!(text(&answer), "api");
}

#[tokio::test]
async fn the_less_busy_of_two_backends_is_chosen() {
    let release = std::sync::Arc::new(tokio::sync::Notify::new());
    let wait = std::sync::Arc::clone(&release);
    let slow = Backend::new(move |_| {
        let wait = std::sync::Arc::clone(&wait);
        async move {
            wait.notified().await;
            hyper::Response::default()
        }
    })
    .await;
    let quick = Backend::saying("quick").await;
    let address = free_address();
    let backends = [(1, slow.address), (2, quick.address)];
    let targets = vec![target("a", FULL_WEIGHT, &backends)];
    let _router = TestRouter::serving(&table(1, address, vec![route(targets)])).await;
    let mut stuck = tokio::task::JoinSet::new();
    while slow.requests() == 0 {
        stuck.spawn(async move { get_once(address, "/").await.status() });
        tokio::task::yield_now().await;
        super::support::eventually("someone got it", || async {
            slow.requests() + quick.requests() >= stuck.len()
        })
        .await;
    }
    let before = slow.requests();
    let mut client = Client::connect(address).await;
    for _ in 0..50 {
        assert_eq!(text(&client.get("/").await), "quick");
    }
    assert_eq!(slow.requests(), before);
    release.notify_waiters();
}
