//! HTTP/2 with prior knowledge, and gRPC over it.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::backend::Backend;
use crate::support::free_address;
use crate::support::router::TestRouter;
use crate::support::tables::simple;

struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
}

async fn connect(address: std::net::SocketAddr) -> Http2 {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    Http2 {
        sender,
        _connection: tasks,
    }
}

fn request(address: std::net::SocketAddr, method: &str, body: &str) -> Request<Full<Bytes>> {
    let uri = format!("http://{address}/x?y");
    let body = Full::new(Bytes::from(body.to_owned()));
    Request::builder()
        .method(method)
        .uri(uri)
        .body(body)
        .unwrap()
}

#[tokio::test]
async fn streams_of_one_connection_reach_a_backend_that_speaks_http_11() {
    let backend = Backend::new(|request| async move {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        let path = request.uri().to_string();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(format!("{host} {path} {}", body.len()).into())
    })
    .await;
    let address = free_address();
    let router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let client = connect(address).await;
    let mut streams = JoinSet::new();
    for size in [0, 10, 200_000] {
        let mut sender = client.sender.clone();
        streams.spawn(async move {
            let request = request(address, "POST", &"x".repeat(size));
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, format!("{address} /x?y {size}"));
        });
    }
    while let Some(done) = streams.join_next().await {
        done.unwrap();
    }
    let mut sender = client.sender.clone();
    assert_eq!(
        sender
            .send_request(request(address, "GET", ""))
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(router.report().await.traffic[0].counters.classes[1], 4);
    assert!(router.report().await.loads.is_empty());
}

#[tokio::test]
async fn a_grpc_call_goes_over_http2_with_its_trailers() {
    type Answer = Response<
        StreamBody<
            futures_util::stream::Iter<
                std::vec::IntoIter<Result<Frame<Bytes>, std::convert::Infallible>>,
            >,
        >,
    >;
    async fn answer(request: Request<Incoming>) -> Result<Answer, std::convert::Infallible> {
        assert_eq!(request.version(), hyper::Version::HTTP_2);
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames = vec![Ok(Frame::data(body)), Ok(Frame::trailers(trailers))];
        Ok(Response::new(StreamBody::new(futures_util::stream::iter(
            frames,
        ))))
    }
    let backend = Backend::raw(|io| async move {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(
            server
                .serve_connection(TokioIo::new(io), service_fn(answer))
                .await,
        );
    })
    .await;
    let address = free_address();
    let router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let client = connect(address).await;
    for _ in 0..3 {
        let mut call = request(address, "POST", "message");
        call.headers_mut()
            .insert("content-type", "application/grpc".parse().unwrap());
        call.headers_mut().insert("te", "trailers".parse().unwrap());
        let response = client.sender.clone().send_request(call).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), "message");
    }
    assert_eq!(backend.connections(), 1);
    assert_eq!(router.report().await.traffic[0].counters.classes[1], 3);
}
