//! HTTP requests, kept and not, are counted exactly by what became of them.

use std::time::Duration;

use towpath_load::{Counts, FailureKind, Handle, LoadPlan, Stream};

use crate::servers::{Act, Server, answer};

fn start(server: &Server, stream: Stream) -> Handle {
    let plan = LoadPlan {
        target: server.address,
        host: "shop.example".to_owned(),
        streams: vec![stream],
    };
    plan.start().expect("the plan is fine")
}

/// Waits until so many requests were sent, then stops.
async fn after(load: Handle, sent: u64) -> Counts {
    let enough = async {
        while load.snapshot().sent < sent {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), enough)
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

/// One request in four, the fourth, eighth and so on, of those sent.
fn every_fourth(sent: u64) -> u64 {
    sent / 4
}

fn on_fourth(bad: Act) -> impl Fn(u64, &str) -> Act + Clone + Send + Sync + 'static {
    move |number, _| match (number % 4, &bad) {
        (3, bad) => bad.clone(),
        (_, _) => Act::Write(answer(200, "x-launches-version: 1\r\n", "fine")),
    }
}

#[tokio::test]
async fn dropped_requests_count_as_reset_on_new_and_kept_connections() {
    for stream in [Stream::plain("/", 400.0), Stream::keep_alive("/", 400.0)] {
        let server = Server::requests(on_fourth(Act::Drop)).await;
        let counts = after(start(&server, stream), 80).await;
        assert_eq!(counts.failed.reset, every_fourth(counts.sent));
        assert_eq!(counts.failed.total(), counts.failed.reset);
        assert_eq!(counts.ok, counts.sent - counts.failed.reset);
        assert!(
            counts
                .last_failures
                .iter()
                .all(|note| note.kind == FailureKind::Reset)
        );
    }
}

#[tokio::test]
async fn requests_to_nobody_count_as_connect() {
    let server = Server::requests(|_, _| Act::Hang).await;
    let address = server.address;
    drop(server);
    let plan = LoadPlan {
        target: address,
        host: "shop.example".to_owned(),
        streams: vec![Stream::plain("/", 200.0), Stream::keep_alive("/", 200.0)],
    };
    let counts = after(plan.start().expect("the plan is fine"), 40).await;
    assert_eq!(counts.failed.connect, counts.sent);
    assert_eq!(
        counts.latency.count(),
        0,
        "what was never answered has no latency"
    );
}

#[tokio::test]
async fn requests_without_an_answer_count_as_timeout() {
    for stream in [Stream::plain("/", 400.0), Stream::keep_alive("/", 400.0)] {
        let server = Server::requests(on_fourth(Act::Hang)).await;
        let stream = stream.within(Duration::from_millis(200));
        let counts = after(start(&server, stream), 40).await;
        assert_eq!(counts.failed.timeout, every_fourth(counts.sent));
        assert_eq!(counts.ok, counts.sent - counts.failed.timeout);
    }
}

#[tokio::test]
async fn an_answer_cut_short_counts_as_reset() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_owned();
    let server = Server::requests(on_fourth(Act::WriteAndClose(cut))).await;
    let counts = after(start(&server, Stream::plain("/", 400.0)), 40).await;
    assert_eq!(counts.failed.reset, every_fourth(counts.sent));
}

#[tokio::test]
async fn what_is_not_http_counts_as_protocol() {
    let server = Server::requests(on_fourth(Act::WriteAndClose("hello?\r\n\r\n".to_owned()))).await;
    let counts = after(start(&server, Stream::plain("/", 400.0)), 40).await;
    assert_eq!(counts.failed.protocol, every_fourth(counts.sent));
}

#[tokio::test]
async fn a_5xx_of_the_app_is_its_own_and_one_of_the_router_is_a_lost_request() {
    let server = Server::requests(|number, _| {
        Act::Write(match number % 4 {
            0 => answer(500, "x-launches-version: 2\r\n", "broken"),
            1 => answer(502, "", "no instance"),
            2 => answer(404, "x-launches-version: 1\r\n", "where?"),
            _ => answer(200, "x-launches-version: 1\r\n", "fine"),
        })
    })
    .await;
    let counts = after(start(&server, Stream::keep_alive("/", 400.0)), 40).await;
    assert_eq!(counts.own_errors(), counts.sent.div_ceil(4));
    assert_eq!(counts.by_version["2"].server_errors, counts.own_errors());
    assert_eq!(counts.by_version["1"].server_errors, 0);
    assert_eq!(counts.failed.status_5xx, (counts.sent + 2) / 4);
    assert_eq!(counts.failed.status_4xx, (counts.sent + 1) / 4);
    assert_eq!(
        counts.failed.total() + counts.ok + counts.own_errors(),
        counts.sent
    );
    assert_eq!(
        counts.by_version["1"].answered,
        counts.ok + counts.failed.status_4xx
    );
}

#[tokio::test]
async fn a_body_without_the_expected_text_counts_as_wrong() {
    let server = Server::requests(on_fourth(Act::Write(answer(200, "", "not this")))).await;
    let stream = Stream::keep_alive("/", 400.0).expecting("fine");
    let counts = after(start(&server, stream), 40).await;
    assert_eq!(counts.failed.wrong_body, every_fourth(counts.sent));
}

#[tokio::test]
async fn plain_requests_open_a_connection_each_and_kept_ones_share_four() {
    let fine = |_: u64, _: &str| Act::Write(answer(200, "", "fine"));
    let server = Server::requests(fine).await;
    let counts = after(start(&server, Stream::plain("/", 400.0)), 40).await;
    assert_eq!(server.accepted(), counts.sent);

    // One at a time, so that a slow machine opens no extra connections.
    let server = Server::requests(fine).await;
    let mut stream = Stream::keep_alive("/", 400.0);
    stream.max_in_flight = 1;
    let counts = after(start(&server, stream), 40).await;
    assert_eq!(server.accepted(), 4);
    assert_eq!(counts.ok, counts.sent);
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_before_is_replaced_without_a_loss() {
    let server =
        Server::requests(|_, _| Act::WriteAndClose(answer(200, "connection: close\r\n", "fine")))
            .await;
    let counts = after(start(&server, Stream::keep_alive("/", 200.0)), 20).await;
    assert_eq!(counts.ok, counts.sent);
    assert_eq!(server.accepted(), counts.sent);
}

#[tokio::test]
async fn each_request_has_its_number_in_path_and_body() {
    let server = Server::requests(|_, request| {
        let number = request
            .strip_prefix("POST /enter?n=")
            .and_then(|rest| rest.split_once(' '))
            .map_or("none", |(number, _)| number);
        let right = request.contains("host: shop.example\r\n")
            && request.ends_with(&format!("\r\n\r\nemail=load-{number}@example.com"));
        Act::Write(answer(if right { 201 } else { 400 }, "", request))
    })
    .await;
    let form = "application/x-www-form-urlencoded";
    let stream =
        Stream::keep_alive("/enter?n={n}", 400.0).posting(form, "email=load-{n}@example.com");
    let counts = after(start(&server, stream), 20).await;
    assert_eq!(counts.ok, counts.sent, "{:?}", counts.last_failures);
}

#[tokio::test]
async fn waiting_for_room_is_part_of_the_latency_but_not_of_the_service_time() {
    let server = Server::connections(|_, mut stream| async move {
        use tokio::io::AsyncWriteExt;
        // sleep: a slow backend, whose slowness is what the test counts.
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(stream.write_all(answer(200, "", "fine").as_bytes()).await);
    })
    .await;
    let mut stream = Stream::slow("/", 1_000.0);
    stream.max_in_flight = 1;
    let counts = after(start(&server, stream), 5).await;
    assert_eq!(counts.ok, counts.sent);
    let waited = counts.latency.max();
    assert!(
        waited >= Duration::from_millis(4 * 49),
        "the fifth had to wait, but took {waited:?}"
    );
    assert!(counts.service_time.p50() < waited);
}

#[tokio::test]
async fn a_phase_is_the_difference_of_two_snapshots() {
    let server = Server::requests(|_, _| Act::Write(answer(200, "", "fine"))).await;
    let load = start(&server, Stream::keep_alive("/", 400.0));
    let enough = async {
        while load.snapshot().ok < 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), enough)
        .await
        .expect("the load goes on");
    let first = load.snapshot();
    let all = after(load, first.sent + 10).await;
    let second = all.since(&first);
    assert!(second.sent >= 10);
    assert_eq!(first.sent + second.sent, all.sent);
    assert_eq!(first.ok + second.ok, all.ok);
    assert_eq!(
        first.latency.count() + second.latency.count(),
        all.latency.count()
    );
}
