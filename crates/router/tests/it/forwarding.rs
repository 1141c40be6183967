//! Requests reach backends and answers come back, whole and clean.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Response;

use crate::support::backend::Backend;
use crate::support::free_address;
use crate::support::http::{Client, get_once, raw, request, text};
use crate::support::router::TestRouter;
use crate::support::tables::simple;

#[tokio::test]
async fn a_request_reaches_the_backend_and_its_answer_the_client() {
    let (backend, address) = (Backend::saying("hello").await, free_address());
    let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let mut client = Client::connect(address).await;
    for _ in 0..3 {
        let answer = client.get("/x").await;
        assert_eq!((answer.status().as_u16(), text(&answer)), (200, "hello"));
        assert!(answer.headers().contains_key("date"));
    }
    assert_eq!((backend.requests(), backend.connections()), (3, 1));
}

#[tokio::test]
async fn bodies_of_every_size_pass_both_ways() {
    let echo = Backend::new(|request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(Full::new(body))
    })
    .await;
    let address = free_address();
    let _router = TestRouter::serving(&simple(1, address, echo.address)).await;
    let mut client = Client::connect(address).await;
    for size in [0, 1, 1_000, 16_384, 16_385, 100_000, 3_000_000] {
        let body = "x".repeat(size);
        let answer = client.send(request("POST", "/", &[], &body)).await;
        assert_eq!(answer.body().len(), size);
        assert!(answer.body() == &Bytes::from(body));
    }
}

#[tokio::test]
async fn a_chunked_request_passes() {
    let echo = Backend::new(|request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(Full::new(body))
    })
    .await;
    let address = free_address();
    let _router = TestRouter::serving(&simple(1, address, echo.address)).await;
    let wire =
        b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
        4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n";
    let answer = raw(address, wire).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nWikipedia"), "{answer}");
}

#[tokio::test]
async fn a_path_without_a_route_is_not_found() {
    let (backend, address) = (Backend::saying("hello").await, free_address());
    let mut table = simple(1, address, backend.address);
    table.listeners.get_mut(&address).unwrap().routes[0].path_prefix = "/api".to_owned();
    let _router = TestRouter::serving(&table).await;
    assert_eq!(get_once(address, "/").await.status(), 404);
    assert_eq!(get_once(address, "/api/x").await.status(), 200);
}
