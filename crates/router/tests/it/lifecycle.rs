//! Start, restart, listeners that come and go, and the end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use hyper::Response;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use towpath_router::client::RouterClient;
use towpath_router::{Config, Error};

use crate::support::backend::Backend;
use crate::support::http::{Client, get_once, text};
use crate::support::router::TestRouter;
use crate::support::tables::{simple, table};
use crate::support::{eventually, free_address};

#[tokio::test]
async fn the_last_table_is_served_after_a_restart_without_a_control_plane() {
    let (backend, address) = (Backend::saying("still here").await, free_address());
    let mut router = TestRouter::serving(&simple(7, address, backend.address)).await;
    let boot = router.report().await.boot;
    assert_eq!(text(&get_once(address, "/").await), "still here");
    router.start_again().await;
    assert_eq!(text(&get_once(address, "/").await), "still here");
    let report = router.report().await;
    assert_eq!(report.generation, 7);
    assert_ne!(report.boot, boot);
    assert!(
        router
            .client
            .put_table(&simple(6, address, backend.address))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_router_may_open_as_many_files_as_the_hard_limit_permits() {
    let limit = getrlimit(Resource::Nofile);
    let lower = limit.current.map(|files| files - 1);
    let lowered = Rlimit {
        current: lower,
        ..limit
    };
    setrlimit(Resource::Nofile, lowered).unwrap();
    let _router = TestRouter::start().await;
    let now = getrlimit(Resource::Nofile);
    assert_eq!(now.current, limit.maximum);
}

#[tokio::test]
async fn a_torn_table_is_set_aside_and_the_one_before_it_served() {
    let (backend, address) = (Backend::saying("x").await, free_address());
    let mut router = TestRouter::serving(&simple(1, address, backend.address)).await;
    router.put(&simple(2, address, backend.address)).await;
    router.stop().await;
    let path = router.directory.path().join("state/routes.json");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    router.start_again().await;
    assert_eq!(router.report().await.generation, 1);
    assert_eq!(text(&get_once(address, "/").await), "x");
    let state = fs::read_dir(router.directory.path().join("state")).unwrap();
    let names: Vec<_> = state
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names
            .iter()
            .any(|name| name.starts_with("routes.json.corrupt-")),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_table_that_cannot_be_written_is_served_but_not_acknowledged() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let address = free_address();
    let router = TestRouter::serving(&simple(1, address, old.address)).await;
    let state = router.directory.path().join("state");
    // A directory in the place of the next file refuses every write, also for root.
    fs::create_dir(state.join("routes.json.next")).unwrap();
    assert!(
        router
            .client
            .put_table(&simple(2, address, new.address))
            .await
            .is_err()
    );
    assert_eq!(text(&get_once(address, "/").await), "new");
    assert_eq!(router.report().await.generation, 1);
    fs::remove_dir(state.join("routes.json.next")).unwrap();
    eventually("it is written after all", || async {
        router.report().await.generation == 2
    })
    .await;
}

#[tokio::test]
async fn a_listener_in_use_is_a_fault_until_it_is_free_and_the_others_serve() {
    let (backend, taken) = (
        Backend::saying("x").await,
        std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    let (busy, free) = (taken.local_addr().unwrap(), free_address());
    let mut both = simple(1, busy, backend.address);
    both.listeners
        .extend(simple(1, free, backend.address).listeners);
    let router = TestRouter::start().await;
    let report = router.put(&both).await;
    assert_eq!(report.faults.len(), 1);
    assert_eq!(report.faults[0].address, busy);
    assert!(
        report.faults[0].reason.contains("in use"),
        "{}",
        report.faults[0].reason
    );
    assert_eq!(report.generation, 1);
    assert_eq!(text(&get_once(free, "/").await), "x");
    let before = router.client.report().await.unwrap();
    drop(taken);
    let after = router
        .client
        .report_after(before.change, crate::support::PATIENCE)
        .await
        .unwrap();
    assert!(after.report.faults.is_empty());
    assert_eq!(text(&get_once(busy, "/").await), "x");
}

#[tokio::test]
async fn a_port_of_another_router_is_in_use() {
    let (backend, address) = (Backend::saying("x").await, free_address());
    let _first = TestRouter::serving(&simple(1, address, backend.address)).await;
    let second = TestRouter::start().await;
    let report = second.put(&simple(1, address, backend.address)).await;
    assert_eq!(report.faults.len(), 1);
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
async fn a_listener_that_leaves_the_table_finishes_its_requests_and_comes_back() {
    let ((backend, release), address) = (held().await, free_address());
    let router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let mut clients = tokio::task::JoinSet::new();
    clients.spawn(async move {
        let answer = get_once(address, "/").await;
        (
            text(&answer).to_owned(),
            answer.headers().contains_key("connection"),
        )
    });
    eventually("the request arrives", || async { backend.requests() == 1 }).await;
    let mut none = table(2, address, Vec::new());
    none.listeners.clear();
    router.put(&none).await;
    assert!(TcpStream::connect(address).await.is_err());
    release.notify_one();
    assert_eq!(
        clients.join_next().await.unwrap().unwrap(),
        ("late".to_owned(), true)
    );
    let quick = Backend::saying("back").await;
    let report = router.put(&simple(3, address, quick.address)).await;
    assert!(report.faults.is_empty());
    assert_eq!(text(&get_once(address, "/").await), "back");
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_closes_the_rest() {
    let ((backend, release), address) = (held().await, free_address());
    let mut router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let mut idle = Client::connect(address).await;
    let mut clients = tokio::task::JoinSet::new();
    clients.spawn(async move { text(&get_once(address, "/").await).to_owned() });
    eventually("the request arrives", || async { backend.requests() == 1 }).await;
    router.begin_stop();
    eventually("nothing listens", || async {
        TcpStream::connect(address).await.is_err()
    })
    .await;
    release.notify_one();
    assert_eq!(clients.join_next().await.unwrap().unwrap(), "late");
    router.stop().await;
    assert!(idle.try_send(crate::support::http::get("/")).await.is_err());
    assert!(!router.client.socket().exists());
}

#[tokio::test]
async fn the_control_socket_is_the_owners_alone_and_has_one_router() {
    let router = TestRouter::start().await;
    let mode = fs::metadata(router.client.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let config = Config::new(
        router.directory.path().join("other"),
        router.client.socket().to_owned(),
        std::num::NonZeroUsize::MIN,
    );
    let second = towpath_router::run(config, CancellationToken::new()).await;
    assert!(
        matches!(second, Err(Error::AlreadyRunning { .. })),
        "{second:?}"
    );
}

#[tokio::test]
async fn of_two_routers_that_start_at_once_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::new(
        directory.path().join("state"),
        directory.path().join("router.sock"),
        std::num::NonZeroUsize::MIN,
    );
    let shutdown = CancellationToken::new();
    let mut routers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        routers.spawn(towpath_router::run(config.clone(), shutdown.clone()));
    }
    let refused = routers.join_next().await.unwrap().unwrap();
    assert!(
        matches!(refused, Err(Error::AlreadyRunning { .. })),
        "{refused:?}"
    );
    let client = RouterClient::new(&config.control_socket);
    eventually("the other one answers", || async {
        client.report().await.is_ok()
    })
    .await;
    shutdown.cancel();
    routers.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn the_next_router_starts_while_the_last_one_finishes_and_its_socket_stays() {
    let ((backend, release), address) = (held().await, free_address());
    let mut router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let mut clients = tokio::task::JoinSet::new();
    clients.spawn(async move { text(&get_once(address, "/").await).to_owned() });
    eventually("the request arrives", || async { backend.requests() == 1 }).await;
    let hung_up = router.client.clone();
    clients.spawn(async move {
        hung_up.hung_up().await;
        "hung up".to_owned()
    });
    router.begin_stop();
    assert_eq!(clients.join_next().await.unwrap().unwrap(), "hung up");
    eventually("its socket is gone", || async {
        !router.client.socket().exists()
    })
    .await;

    let config = Config::new(
        router.directory.path().join("state"),
        router.client.socket().to_owned(),
        std::num::NonZeroUsize::MIN,
    );
    let shutdown = CancellationToken::new();
    let mut next = tokio::task::JoinSet::new();
    next.spawn(towpath_router::run(config, shutdown.clone()));
    eventually("the next one answers", || async {
        router.client.report().await.is_ok()
    })
    .await;
    release.notify_one();
    assert_eq!(clients.join_next().await.unwrap().unwrap(), "late");
    router.stop().await;
    assert_eq!(router.report().await.generation, 1);
    shutdown.cancel();
    next.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn metrics_have_requests_latency_and_load_for_every_route_and_workload() {
    let (backend, address) = (Backend::saying("x").await, free_address());
    let router = TestRouter::serving(&simple(3, address, backend.address)).await;
    for _ in 0..4 {
        get_once(address, "/").await;
    }
    let metrics = router.client.metrics().await.unwrap();
    let workload = crate::support::tables::workload("a");
    let labels =
        format!("app=\"shop\",environment=\"production\",route=\"web\",workload=\"{workload}\"");
    for line in [
        "towpath_router_generation 3".to_owned(),
        format!("towpath_router_requests_total{{{labels},class=\"2xx\"}} 4"),
        format!("towpath_router_unanswered_total{{{labels}}} 0"),
        format!("towpath_router_latency_seconds_bucket{{{labels},le=\"+Inf\"}} 4"),
        format!("towpath_router_latency_seconds_count{{{labels}}} 4"),
        format!(
            "towpath_router_in_flight{{instance=\"shop/production/web-1\",address=\"{}\"}} 0",
            backend.address
        ),
    ] {
        assert!(
            metrics.lines().any(|metric| metric == line),
            "{line}\n{metrics}"
        );
    }
}
