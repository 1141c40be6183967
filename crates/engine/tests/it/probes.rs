//! Health checks of real servers and real instances.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use towpath_engine::probe::HttpProber;
use towpath_model::id::{EnvironmentId, InstanceId};
use towpath_model::observation::ProbeRecord;
use towpath_model::port::{ProbeTarget, Prober as _};
use towpath_model::workload::{Command, HealthCheck, Probe};

use crate::support::{PATIENCE, RealClock, World, eventually, processes_with};

fn id() -> InstanceId {
    "shop/dev/web-1".parse().unwrap()
}

fn environment() -> EnvironmentId {
    "shop/dev".parse().unwrap()
}

fn target(address: SocketAddr, probe: Probe) -> ProbeTarget {
    ProbeTarget {
        id: id(),
        address,
        check: HealthCheck {
            probe,
            timeout: Duration::from_millis(500),
            ..HealthCheck::default()
        },
        since: Timestamp::now(),
        interval: Duration::from_millis(50),
    }
}

/// A server on one machine-given port that answers what it is told.
struct Server {
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl Server {
    async fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 1024];
                let count = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..count]).to_lowercase();
                if request.contains(&format!("host: {address}")) {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                open.push(stream);
            }
        });
        Self { address, tasks }
    }
}

async fn first_record(world: &World, target: ProbeTarget) -> ProbeRecord {
    let prober = prober(world);
    prober.watch(&environment(), vec![target]);
    tokio::time::timeout(PATIENCE, prober.changed(&environment()))
        .await
        .unwrap();
    prober.records(&environment()).remove(&id()).unwrap()
}

fn prober(world: &World) -> HttpProber {
    let engine = Arc::clone(&world.engine);
    HttpProber::new(Arc::new(RealClock), engine)
}

#[tokio::test]
async fn an_answer_from_200_to_399_is_good_and_others_are_named() {
    let world = World::without_release();
    let probe = || Probe::Http {
        path: "/healthz".to_owned(),
    };
    for (answer, error) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", None),
        (
            "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
            None,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", None),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nnot all of it",
            None,
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            Some("answered 503"),
        ),
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            Some("answered 404"),
        ),
        ("nothing of HTTP\r\n\r\n", Some("GET /healthz")),
        ("", Some("no answer within 500ms")),
    ] {
        let server = Server::answering(answer).await;
        let record = first_record(&world, target(server.address, probe())).await;
        drop(server.tasks);
        match error {
            None => assert_eq!((record.successes, record.last_error), (1, None), "{answer}"),
            Some(error) => {
                assert_eq!(
                    (record.failures, record.counted_failures),
                    (1, 1),
                    "{answer}"
                );
                let text = record.last_error.unwrap();
                assert!(text.contains(error), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_refused() {
    let world = World::without_release();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let record = first_record(&world, target(address, Probe::Tcp)).await;
    assert_eq!(record.successes, 1);
    drop(listener);
    for probe in [
        Probe::Tcp,
        Probe::Http {
            path: "/".to_owned(),
        },
    ] {
        let record = first_record(&world, target(address, probe)).await;
        let expected = format!("cannot connect to {address}: connection refused");
        assert_eq!(record.last_error.as_deref(), Some(expected.as_str()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_without_a_check_is_well_after_a_second() {
    let world = World::without_release();
    let prober = prober(&world);
    prober.watch(
        &environment(),
        vec![target("127.0.0.1:1".parse().unwrap(), Probe::Running)],
    );
    let begun = tokio::time::Instant::now();
    prober.changed(&environment()).await;
    let waited = begun.elapsed();
    assert!(waited > Duration::from_millis(900) && waited < Duration::from_millis(1_100));
    let record = prober.records(&environment()).remove(&id()).unwrap();
    assert_eq!((record.successes, record.failures), (1, 0));
}

#[tokio::test]
async fn tries_are_repeated_in_the_interval_of_now_and_records_of_who_stays_are_kept() {
    let world = World::without_release();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut seldom = target(listener.local_addr().unwrap(), Probe::Tcp);
    seldom.interval = Duration::from_hours(1);
    let prober = prober(&world);
    prober.watch(&environment(), vec![seldom.clone()]);
    let accepting = async {
        for _ in 0..5 {
            drop(listener.accept().await.unwrap());
        }
    };
    let often = ProbeTarget {
        interval: Duration::from_millis(10),
        ..seldom
    };
    let changing = async {
        prober.changed(&environment()).await;
        prober.watch(&environment(), vec![often.clone()]);
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(accepting, changing) })
        .await
        .unwrap();
    let successes = || {
        prober
            .records(&environment())
            .get(&id())
            .map(|record| record.successes)
    };
    eventually("tries are not counted", || successes() >= Some(5)).await;
    prober.watch(&environment(), Vec::new());
    assert_eq!(successes(), None);
}

#[tokio::test]
async fn a_command_runs_in_the_surroundings_of_the_instance() {
    let world = World::new().await;
    let started = world.start(1, "touch made; exec sleep 1000").await;
    let address = world.until_running(&started).await;
    let command = |line: &str| Probe::Command(Command::Shell(line.to_owned()));
    let tree = world
        .data()
        .environment(&world.environment)
        .join("releases/1/tree/made");
    eventually("the file is not made", || tree.exists()).await;
    let line = format!(
        "test -e made && test $PORT = {} && test -d $TMPDIR",
        address.port()
    );
    let record = first_record(&world, target(address, command(&line))).await;
    assert_eq!((record.successes, record.last_error), (1, None));
    let record = first_record(&world, target(address, command("echo why >&2; exit 3"))).await;
    assert_eq!(
        record.last_error.as_deref(),
        Some("the command exited with code 3: why")
    );
    let record = first_record(&world, target(address, command("sleep 1000 & sleep 1000"))).await;
    assert_eq!(record.last_error.as_deref(), Some("no answer within 500ms"));
    // Only the instance itself is left.
    eventually("a command goes on", || {
        processes_with(world.directory.path()).len() == 1
    })
    .await;
}
