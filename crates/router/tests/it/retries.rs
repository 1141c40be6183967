//! What happens to a request whose backend fails, and what to the backend.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use towpath_model::routing::FULL_WEIGHT;

use crate::support::backend::Backend;
use crate::support::http::{Client, get, get_once, raw, request, status_of, text};
use crate::support::router::TestRouter;
use crate::support::tables::{instance, route, simple, table, target, workload};
use crate::support::{eventually, free_address};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Reads one request without a body; nothing means that the connection ended before it.
async fn read_head(io: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.ok()?);
    }
    Some(head)
}

/// A backend that answers `requests` requests on each connection and then closes it, unannounced.
async fn closing_after(requests: usize) -> Backend {
    Backend::raw(move |mut io| async move {
        for _ in 0..requests {
            if read_head(&mut io).await.is_none() || io.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// A backend that takes a request and closes the connection without a word.
async fn silent(taken: &Arc<AtomicUsize>) -> Backend {
    let taken = Arc::clone(taken);
    Backend::raw(move |mut io| {
        let taken = Arc::clone(&taken);
        async move {
            if read_head(&mut io).await.is_some() {
                taken.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await
}

fn two(
    address: SocketAddr,
    first: SocketAddr,
    second: SocketAddr,
) -> towpath_model::routing::RouteTable {
    let backends = [(1, first), (2, second)];
    table(
        1,
        address,
        vec![route(vec![target("a", FULL_WEIGHT, &backends)])],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_closes_idle_connections_loses_no_safe_request() {
    let backend = closing_after(1).await;
    let address = free_address();
    let router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            for _ in 0..300 {
                assert_eq!(client.get("/").await.status(), 200);
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    let traffic = &router.report().await.traffic[0].counters;
    assert_eq!((traffic.requests(), traffic.unanswered), (1_200, 0));
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_twice_is_not_sent_over_a_connection_that_ended() {
    let backend = closing_after(1).await;
    let address = free_address();
    let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let mut client = Client::connect(address).await;
    for round in 0..100 {
        let answer = client.send(request("POST", "/", &[], "")).await;
        assert_eq!(answer.status(), 200, "round {round}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_retried_elsewhere_and_its_backend_left_out_until_it_accepts() {
    let (dead, alive) = (free_address(), Backend::saying("alive").await);
    let address = free_address();
    let router = TestRouter::serving(&two(address, dead, alive.address)).await;
    let mut client = Client::connect(address).await;
    for _ in 0..20 {
        assert_eq!(
            text(&client.send(request("POST", "/", &[], "body")).await),
            "alive"
        );
    }
    let report = router.report().await;
    assert!(!report.load(&instance(1)).unwrap().answering);
    let counters = &report.traffic[0].counters;
    assert_eq!((counters.requests(), counters.unanswered), (20, 0));

    let revived = Backend::raw_at(dead, |mut io| async move {
        while read_head(&mut io).await.is_some() {
            if io.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    })
    .await;
    eventually("the backend is restored", || async {
        router.report().await.load(&instance(1)).is_none()
    })
    .await;
    eventually("it gets requests again", || async {
        get_once(address, "/").await.status() == 200 && revived.connections() > 1
    })
    .await;
}

#[tokio::test]
async fn when_every_backend_refuses_the_answer_is_502_and_counts_once() {
    let address = free_address();
    let router = TestRouter::serving(&two(address, free_address(), free_address())).await;
    for _ in 0..3 {
        assert_eq!(get_once(address, "/").await.status(), 502);
    }
    let counters = &router.report().await.traffic[0].counters;
    assert_eq!((counters.requests(), counters.unanswered), (3, 3));
}

#[tokio::test]
async fn a_safe_request_survives_the_death_of_its_backend_and_another_is_not_repeated() {
    let taken = Arc::new(AtomicUsize::new(0));
    let (dying, alive) = (silent(&taken).await, Backend::saying("alive").await);
    let address = free_address();
    let _router = TestRouter::serving(&two(address, dying.address, alive.address)).await;
    let mut client = Client::connect(address).await;
    for _ in 0..20 {
        assert_eq!(text(&client.get("/").await), "alive");
    }
    assert!(
        taken.load(Ordering::SeqCst) > 0,
        "the dying backend was never chosen"
    );
    let mut posts = Vec::new();
    for _ in 0..20 {
        posts.push(
            client
                .send(request("POST", "/", &[], "x"))
                .await
                .status()
                .as_u16(),
        );
    }
    let failed = posts.iter().filter(|&&status| status == 502).count();
    assert!(
        failed > 0 && posts.iter().all(|status| [200, 502].contains(status)),
        "{posts:?}"
    );
    assert_eq!(alive.requests() + failed, 40);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_as_whole() {
    let backend = Backend::raw(|mut io| async move {
        if read_head(&mut io).await.is_some() {
            let part = io
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
                .await;
            part.unwrap();
        }
    })
    .await;
    let address = free_address();
    let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let mut client = Client::connect(address).await;
    assert!(client.try_send(get("/")).await.is_err());
}

#[tokio::test]
async fn a_backend_that_does_not_answer_in_time_is_504() {
    let backend = Backend::new(|_| std::future::pending()).await;
    let address = free_address();
    let mut slow = simple(1, address, backend.address);
    let policy = &mut slow.listeners.get_mut(&address).unwrap().routes[0].policy;
    policy.response_timeout_ms = 50;
    let router = TestRouter::serving(&slow).await;
    assert_eq!(get_once(address, "/").await.status(), 504);
    assert_eq!(
        status_of(address, request("POST", "/", &[], "x")).await,
        504
    );
    assert_eq!(
        backend.requests(),
        2,
        "a request that timed out is not repeated"
    );
    assert_eq!(router.report().await.traffic[0].counters.unanswered, 2);
}

#[tokio::test]
async fn a_backend_that_talks_nonsense_is_502() {
    for nonsense in [
        &b"nonsense\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
    ] {
        let backend = Backend::raw(move |mut io| async move {
            if read_head(&mut io).await.is_some() {
                io.write_all(nonsense).await.unwrap();
                io.read_u8().await.ok();
            }
        })
        .await;
        let address = free_address();
        let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
        assert_eq!(
            get_once(address, "/").await.status(),
            502,
            "{}",
            nonsense.escape_ascii()
        );
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_ends_after_the_idle_timeout() {
    let backend = Backend::raw(|mut io| async move {
        if read_head(&mut io).await.is_some() {
            io.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
                .await
                .unwrap();
            io.read_u8().await.ok();
        }
    })
    .await;
    let address = free_address();
    let mut table = simple(1, address, backend.address);
    table.listeners.get_mut(&address).unwrap().routes[0]
        .policy
        .idle_timeout_ms = 50;
    let router = TestRouter::serving(&table).await;
    let answer = raw(address, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(answer.ends_with("part"), "{answer}");
    eventually("nothing is in flight", || async {
        router.report().await.loads.is_empty()
    })
    .await;
}

#[tokio::test]
async fn failures_of_one_side_that_another_answers_stay_with_the_first() {
    let alive = Backend::saying("alive").await;
    let address = free_address();
    let targets = vec![
        target("a", 5_000, &[(1, alive.address)]),
        target("b", 5_000, &[(2, free_address())]),
    ];
    let router = TestRouter::serving(&table(1, address, vec![route(targets)])).await;
    let mut client = Client::connect(address).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    let report = router.report().await;
    let of = |name: &str| {
        let found = report
            .traffic
            .iter()
            .find(|traffic| traffic.workload == workload(name));
        found.map(|traffic| (traffic.counters.requests(), traffic.counters.unanswered))
    };
    assert_eq!(of("a"), Some((10, 0)));
    let (requests, unanswered) = of("b").unwrap();
    assert!(
        requests >= 1 && requests == unanswered,
        "{requests} {unanswered}"
    );
}

#[tokio::test]
async fn an_instance_that_is_killed_under_load_loses_no_safe_request() {
    let alive = Backend::saying("ok").await;
    let doomed = Backend::new(|_| async {
        tokio::time::timeout(Duration::from_millis(2), std::future::pending::<()>())
            .await
            .ok();
        hyper::Response::new("ok".into())
    })
    .await;
    let address = free_address();
    let _router = TestRouter::serving(&two(address, doomed.address, alive.address)).await;
    let load = crate::support::load::Load::start(address, 8);
    eventually("the doomed one has requests", || async {
        doomed.requests() > 20
    })
    .await;
    drop(doomed);
    let sent = load.sent();
    eventually("the load goes on", || async { load.sent() > sent + 200 }).await;
    crate::support::load::assert_only(&load.stop().await, &["200 ok"]);
}
