//! Connections that are not requests any more: upgraded ones, and TCP listeners.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use towpath_model::routing::{FULL_WEIGHT, Protocol, RouteMode};

use crate::support::backend::Backend;
use crate::support::http::{get_once, text};
use crate::support::router::TestRouter;
use crate::support::tables::{instance, route, simple, table, table_of, target, workload};
use crate::support::{eventually, free_address};

async fn echoing_websocket() -> Backend {
    Backend::raw(|io| async move {
        let Ok(mut socket) = tokio_tungstenite::accept_async(io).await else {
            return;
        };
        while let Some(Ok(message)) = socket.next().await {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await
}

async fn open(address: SocketAddr) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
    tokio_tungstenite::connect_async(format!("ws://{address}/"))
        .await
        .unwrap()
        .0
}

async fn echo(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
}

#[tokio::test]
async fn a_websocket_lives_across_swaps_and_is_counted_until_it_closes() {
    let (old, new) = (echoing_websocket().await, Backend::saying("new").await);
    let address = free_address();
    let router = TestRouter::serving(&simple(1, address, old.address)).await;
    let mut socket = open(address).await;
    echo(&mut socket, "before").await;
    let load = router.report().await.load(&instance(1)).cloned().unwrap();
    assert_eq!((load.in_flight, load.upgraded), (0, 1));

    let targets = vec![target("b", FULL_WEIGHT, &[(2, new.address)])];
    let report = router.put(&table(2, address, vec![route(targets)])).await;
    assert_eq!(report.load(&instance(1)).unwrap().upgraded, 1);
    assert_eq!(text(&get_once(address, "/").await), "new");
    echo(&mut socket, &"after".repeat(50_000)).await;

    let before = router.client.report().await.unwrap();
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    drop(socket);
    let after = router
        .client
        .report_after(before.change, crate::support::PATIENCE)
        .await
        .unwrap();
    assert_eq!(after.report.load(&instance(1)), None);
    let counted = after
        .report
        .traffic
        .iter()
        .find(|traffic| traffic.workload == workload("a"));
    assert_eq!(counted.unwrap().counters.classes, [1, 0, 0, 0, 0]);
}

/// Opens a WebSocket over HTTP/2; the connection lives as long as the set.
async fn connect_over_http2(address: SocketAddr) -> (Response<Incoming>, JoinSet<()>) {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let request = |method: &str| {
        Request::builder()
            .method(method)
            .uri(format!("http://{address}/chat"))
            .header("sec-websocket-version", "13")
            .body(Empty::<Bytes>::new())
            .unwrap()
    };
    // With the first answer it is known that the server takes such requests.
    drop(sender.send_request(request("GET")).await.unwrap());
    let mut opening = request("CONNECT");
    let protocol = hyper::ext::Protocol::from_static("websocket");
    opening.extensions_mut().insert(protocol);
    (sender.send_request(opening).await.unwrap(), tasks)
}

#[tokio::test]
async fn a_websocket_over_http_2_reaches_a_backend_that_speaks_http_11() {
    let (backend, address) = (echoing_websocket().await, free_address());
    let router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let (response, _connection) = connect_over_http2(address).await;
    assert_eq!(response.status(), 200);
    for gone in ["connection", "upgrade", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(gone), "{gone}");
    }
    let io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Client, None).await;
    for text in ["short".to_owned(), "long".repeat(100_000)] {
        socket.send(Message::text(text.as_str())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    let load = router.report().await.load(&instance(1)).cloned().unwrap();
    assert_eq!((load.in_flight, load.upgraded), (0, 1));
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    drop(socket);
    eventually("it is no longer counted", || async {
        router.report().await.loads.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_websocket_over_http_2_that_the_backend_refuses_is_not_open() {
    let (plain, address) = (Backend::saying("no sockets here").await, free_address());
    let _router = TestRouter::serving(&simple(1, address, plain.address)).await;
    let (response, _connection) = connect_over_http2(address).await;
    assert_eq!(response.status(), 502);
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let (plain, address) = (Backend::saying("no sockets here").await, free_address());
    let router = TestRouter::serving(&simple(1, address, plain.address)).await;
    let refused = tokio_tungstenite::connect_async(format!("ws://{address}/"))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("200"), "{refused}");
    assert!(router.report().await.loads.is_empty());
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_closed() {
    let (backend, address) = (echoing_websocket().await, free_address());
    let mut table = simple(1, address, backend.address);
    table.listeners.get_mut(&address).unwrap().routes[0]
        .policy
        .idle_timeout_ms = 60;
    let router = TestRouter::serving(&table).await;
    let mut socket = open(address).await;
    echo(&mut socket, "x").await;
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    eventually("it is no longer counted", || async {
        router.report().await.loads.is_empty()
    })
    .await;
}

async fn echoing_tcp() -> Backend {
    Backend::raw(|mut io| async move {
        let (mut read, mut write) = io.split();
        drop(tokio::io::copy(&mut read, &mut write).await);
    })
    .await
}

#[tokio::test]
async fn a_tcp_connection_goes_whole_to_one_backend_and_lives_across_swaps() {
    let (first, second) = (echoing_tcp().await, echoing_tcp().await);
    let address = free_address();
    let tcp = |generation, number, backend: &Backend| {
        let targets = vec![target("a", FULL_WEIGHT, &[(number, backend.address)])];
        table_of(generation, address, Protocol::Tcp, vec![route(targets)])
    };
    let router = TestRouter::serving(&tcp(1, 1, &first)).await;
    let mut io = TcpStream::connect(address).await.unwrap();
    io.write_all(b"one").await.unwrap();
    let mut answer = [0; 3];
    io.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"one");

    let report = router.put(&tcp(2, 2, &second)).await;
    assert_eq!(report.load(&instance(1)).unwrap().upgraded, 1);
    let mut other = TcpStream::connect(address).await.unwrap();
    other.write_all(b"two").await.unwrap();
    other.read_exact(&mut answer).await.unwrap();
    assert_eq!((&answer, second.connections()), (b"two", 1));

    // The end of one direction is passed on, and the other goes on until its own.
    let long = vec![7; 1_000_000];
    let (mut read, mut write) = io.split();
    let mut back = Vec::new();
    let send = async {
        write.write_all(&long).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let ((), received) = tokio::join!(send, read.read_to_end(&mut back));
    assert_eq!((received.unwrap(), back == long), (long.len(), true));
    eventually("the first is idle", || async {
        router.report().await.load(&instance(1)).is_none()
    })
    .await;
}

#[tokio::test]
async fn a_tcp_connection_passes_over_backends_that_refuse_and_waits_for_a_pause() {
    let (dead, alive, address) = (free_address(), echoing_tcp().await, free_address());
    let tables = |generation, mode| {
        let backends = [(1, dead), (2, alive.address)];
        let mut route = route(vec![target("a", FULL_WEIGHT, &backends)]);
        route.mode = mode;
        table_of(generation, address, Protocol::Tcp, vec![route])
    };
    let router = TestRouter::serving(&tables(1, RouteMode::Serving)).await;
    let mut answer = [0; 1];
    for _ in 0..10 {
        let mut io = TcpStream::connect(address).await.unwrap();
        io.write_all(b"x").await.unwrap();
        io.read_exact(&mut answer).await.unwrap();
    }
    router
        .put(&tables(
            2,
            RouteMode::Paused {
                max_wait_ms: 20_000,
            },
        ))
        .await;
    let connections = alive.connections();
    let mut io = TcpStream::connect(address).await.unwrap();
    io.write_all(b"y").await.unwrap();
    eventually("it is held", || async {
        let metrics = router.client.metrics().await.unwrap();
        metrics
            .lines()
            .any(|line| line.starts_with("towpath_router_held{") && line.ends_with(" 1"))
    })
    .await;
    assert_eq!(alive.connections(), connections);
    router.put(&tables(3, RouteMode::Serving)).await;
    io.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"y");
}
