//! The canary shield: the user gets the good answer, the candidate the black mark.

use hyper::{Response, StatusCode};
use towpath_model::routing::{RouteTable, RouterReport, Shield};
use towpath_model::traffic::TrafficCounters;

use crate::support::backend::Backend;
use crate::support::free_address;
use crate::support::http::{Client, request, text};
use crate::support::router::TestRouter;
use crate::support::tables::{route, table, target, workload};

async fn failing() -> Backend {
    Backend::new(|_| async {
        let mut response = Response::new("broken".into());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
    .await
}

fn shielded(
    address: std::net::SocketAddr,
    stable: std::net::SocketAddr,
    candidate: std::net::SocketAddr,
) -> RouteTable {
    let targets = vec![
        target("stable", 5_000, &[(1, stable)]),
        target("candidate", 5_000, &[(2, candidate)]),
    ];
    let mut route = route(targets);
    route.shield = Some(Shield {
        candidate: workload("candidate"),
        stable: workload("stable"),
    });
    route.policy.response_timeout_ms = 200;
    table(1, address, vec![route])
}

fn of<'a>(report: &'a RouterReport, name: &str) -> &'a TrafficCounters {
    let found = report
        .traffic
        .iter()
        .find(|traffic| traffic.workload == workload(name));
    &found.unwrap().counters
}

#[tokio::test]
async fn a_safe_request_that_the_candidate_answers_5xx_is_answered_by_stable() {
    let (stable, candidate) = (Backend::saying("good").await, failing().await);
    let address = free_address();
    let router = TestRouter::serving(&shielded(address, stable.address, candidate.address)).await;
    let mut client = Client::connect(address).await;
    for method in ["GET", "HEAD", "OPTIONS"] {
        for _ in 0..10 {
            let answer = client.send(request(method, "/", &[], "")).await;
            assert_eq!(answer.status(), 200, "{method}");
            assert_eq!(text(&answer), if method == "HEAD" { "" } else { "good" });
        }
    }
    let report = router.report().await;
    let candidate = of(&report, "candidate");
    assert_eq!(candidate.classes, [0, 0, 0, 0, candidate.shielded]);
    assert!(
        (14..=16).contains(&candidate.shielded),
        "{}",
        candidate.shielded
    );
    assert_eq!(of(&report, "stable").classes, [0, 30, 0, 0, 0]);
}

#[tokio::test]
async fn a_candidate_that_does_not_answer_at_all_is_covered_too() {
    let stable = Backend::saying("good").await;
    let refuses = free_address();
    let hangs = Backend::new(|_| std::future::pending()).await;
    let closes = Backend::raw(|_| async {}).await;
    for candidate in [refuses, hangs.address, closes.address] {
        let address = free_address();
        let router = TestRouter::serving(&shielded(address, stable.address, candidate)).await;
        let mut client = Client::connect(address).await;
        for _ in 0..6 {
            assert_eq!(text(&client.get("/").await), "good");
        }
        let report = router.report().await;
        let marks = of(&report, "candidate");
        assert!(
            marks.shielded > 0 && marks.shielded == marks.unanswered,
            "{marks:?}"
        );
        assert_eq!(of(&report, "stable").failures(), 0);
    }
}

#[tokio::test]
async fn what_is_not_safe_or_has_a_body_is_never_replayed() {
    let (stable, candidate) = (Backend::saying("good").await, failing().await);
    let address = free_address();
    let router = TestRouter::serving(&shielded(address, stable.address, candidate.address)).await;
    let mut client = Client::connect(address).await;
    let mut statuses = [0, 0];
    for (method, body) in [("POST", ""), ("PUT", "x"), ("DELETE", ""), ("GET", "body")] {
        for _ in 0..10 {
            let answer = client.send(request(method, "/", &[], body)).await;
            statuses[usize::from(answer.status() == 500)] += 1;
        }
    }
    assert_eq!(statuses[0] + statuses[1], 40);
    assert!(statuses[1] >= 18, "{statuses:?}");
    let report = router.report().await;
    assert_eq!(of(&report, "candidate").shielded, 0);
    assert_eq!(stable.requests(), statuses[0]);
}

#[tokio::test]
async fn when_stable_has_no_answer_the_candidates_own_is_given() {
    let candidate = failing().await;
    let address = free_address();
    let mut table = shielded(address, free_address(), candidate.address);
    let targets = &mut table.listeners.get_mut(&address).unwrap().routes[0].targets;
    (targets[0].weight, targets[1].weight) = (0, 10_000);
    let _router = TestRouter::serving(&table).await;
    let answer = Client::connect(address).await.get("/").await;
    assert_eq!((answer.status().as_u16(), text(&answer)), (500, "broken"));
}

#[tokio::test]
async fn stable_answers_even_with_no_weight_of_its_own_and_its_failures_are_its_own() {
    let (stable, candidate) = (failing().await, Backend::raw(|_| async {}).await);
    let address = free_address();
    let mut table = shielded(address, stable.address, candidate.address);
    let targets = &mut table.listeners.get_mut(&address).unwrap().routes[0].targets;
    (targets[0].weight, targets[1].weight) = (0, 10_000);
    let router = TestRouter::serving(&table).await;
    let answer = Client::connect(address).await.get("/").await;
    assert_eq!(answer.status(), 500);
    let report = router.report().await;
    assert_eq!(of(&report, "stable").classes, [0, 0, 0, 0, 1]);
    assert_eq!(of(&report, "candidate").shielded, 1);
    assert_eq!(stable.requests(), 1, "a replay is made once");
}
