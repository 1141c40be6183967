//! Interim answers of backends: who is told, and when.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::backend::Backend;
use crate::support::http::raw;
use crate::support::router::TestRouter;
use crate::support::tables::simple;
use crate::support::{PATIENCE, free_address};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\
    Connection: x-private\r\nX-Private: 1\r\nContent-Length: 5\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Reads one head.
async fn head(io: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let reading = async {
        while !read.ends_with(b"\r\n\r\n") {
            read.push(io.read_u8().await.unwrap());
        }
    };
    let done = tokio::time::timeout(PATIENCE, reading).await;
    done.expect("it never came");
    String::from_utf8(read).unwrap()
}

/// A backend that sends hints at once, and its answer when it is told to.
async fn hinting(go: Arc<Notify>) -> Backend {
    Backend::raw(move |mut io| {
        let go = Arc::clone(&go);
        async move {
            loop {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    match io.read_u8().await {
                        Ok(byte) => request.push(byte),
                        Err(_) => return,
                    }
                }
                io.write_all(HINTS.as_bytes()).await.unwrap();
                go.notified().await;
                io.write_all(ANSWER.as_bytes()).await.unwrap();
            }
        }
    })
    .await
}

#[tokio::test]
async fn early_hints_come_before_the_answer_without_fields_of_the_other_connection() {
    let go = Arc::new(Notify::new());
    let (backend, address) = (hinting(Arc::clone(&go)).await, free_address());
    let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let mut io = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        io.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
            .await
            .unwrap();
        let hints = head(&mut io).await.to_lowercase();
        assert_eq!(
            hints,
            "http/1.1 103 early hints\r\nlink: </style.css>; rel=preload\r\n\r\n"
        );
        go.notify_one();
        let answer = head(&mut io).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let mut body = [0; 5];
        io.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"hello");
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_no_interim_answer() {
    let go = Arc::new(Notify::new());
    let (backend, address) = (hinting(Arc::clone(&go)).await, free_address());
    let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
    go.notify_one();
    let answer = raw(address, b"GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn interim_answers_without_end_are_no_answer() {
    let backend = Backend::raw(|mut io| async move {
        while io.write_all(HINTS.as_bytes()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let address = free_address();
    let mut table = simple(1, address, backend.address);
    for listener in table.listeners.values_mut() {
        for route in &mut listener.routes {
            route.policy.response_timeout_ms = 300;
        }
    }
    let _router = TestRouter::serving(&table).await;
    let answer = raw(
        address,
        b"GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.contains("HTTP/1.1 504 Gateway Timeout\r\n"));
}
