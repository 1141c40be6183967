//! HTTP/1.1 on the wire: what is refused, and what must come through unharmed.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::backend::Backend;
use crate::support::http::{Client, get_once, raw, request, text};
use crate::support::router::TestRouter;
use crate::support::tables::simple;
use crate::support::{PATIENCE, free_address};

/// Reads bytes until they end as `end` does.
async fn read_until(io: &mut TcpStream, end: &[u8]) -> String {
    let mut read = Vec::new();
    let reading = async {
        while !read.ends_with(end) {
            match io.read_u8().await {
                Ok(byte) => read.push(byte),
                Err(_) => break,
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("it never came");
    String::from_utf8_lossy(&read).into_owned()
}

/// A backend that answers one request on each connection with the request's head, as it came.
async fn mirror() -> Backend {
    Backend::raw(|mut io| async move {
        let head = read_until(&mut io, b"\r\n\r\n").await;
        let length = head.len();
        let fields =
            format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        drop(io.write_all(format!("{fields}{head}").as_bytes()).await);
    })
    .await
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_never_forwarded() {
    let (backend, address) = (Backend::saying("x").await, free_address());
    let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
    for (fields, body) in [
        (
            "Content-Length: 6\r\nTransfer-Encoding: chunked",
            "0\r\n\r\nG",
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 6",
            "0\r\n\r\nG",
        ),
        ("Content-Length: 6\r\nContent-Length: 5", "012345"),
        ("Content-Length: 5, 5", "01234"),
        ("Content-Length: +5", "01234"),
        ("Content-Length : 5", "01234"),
        ("Transfer-Encoding: xchunked", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "0\r\n\r\n",
        ),
        ("Folded: a\r\n b", ""),
        ("Host: other.test", ""),
        ("Bad\0name: x", ""),
        ("X: a\rb", ""),
    ] {
        let wire = format!("POST / HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n\r\n{body}");
        let answer = raw(address, wire.as_bytes()).await;
        let refused = answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 501 ");
        assert!(
            refused && answer.contains("connection: close\r\n"),
            "{fields}: {answer}"
        );
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{fields}: {answer}");
    }
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/3.0\r\nHost: h\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        "CONNECT h:80 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let mut wire = head.to_owned();
        if !wire.contains("close") && head.starts_with("GET / HTTP/1.1") {
            wire = wire.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        }
        let answer = raw(address, wire.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 501"),
            "{head}: {answer}"
        );
    }
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_broken_chunk_ends_the_request_on_both_sides() {
    let (backend, address) = (Backend::saying("x").await, free_address());
    let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let broken = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234X\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let answer = raw(address, broken).await;
    assert!(
        !answer.contains("smuggled") && answer.matches("HTTP/1.1 ").count() == 1,
        "{answer}"
    );
    // The backend must not see a body that ends well.
    let (send, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let watching = Backend::raw(move |mut io| {
        let send = send.clone();
        async move {
            let mut all = Vec::new();
            drop(io.read_to_end(&mut all).await);
            send.send(String::from_utf8_lossy(&all).into_owned())
                .unwrap();
        }
    })
    .await;
    let third = free_address();
    let _third = TestRouter::serving(&simple(1, third, watching.address)).await;
    let answer = raw(third, broken).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let seen = seen.recv().await.unwrap();
    assert!(
        !seen.ends_with("\r\n0\r\n\r\n") && !seen.contains("smuggled"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_head_beyond_the_limits_is_answered_431() {
    let (backend, address) = (Backend::saying("x").await, free_address());
    let router = TestRouter::start_with(|config| {
        config.limits.head_bytes = 2_000;
        config.limits.head_fields = 20;
    })
    .await;
    router.put(&simple(1, address, backend.address)).await;
    let long = format!(
        "GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
        "x".repeat(3_000)
    );
    assert!(
        raw(address, long.as_bytes())
            .await
            .starts_with("HTTP/1.1 431 ")
    );
    let many = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(21));
    assert!(
        raw(address, many.as_bytes())
            .await
            .starts_with("HTTP/1.1 431 ")
    );
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_is_answered_408_and_an_idle_connection_closed() {
    let (backend, address) = (Backend::saying("x").await, free_address());
    let router = TestRouter::start_with(|config| {
        config.limits.head_timeout = Duration::from_millis(80);
        config.limits.keep_alive = Duration::from_millis(40);
    })
    .await;
    router.put(&simple(1, address, backend.address)).await;
    assert!(
        raw(address, b"GET / HTTP/1.1\r\nHost:")
            .await
            .starts_with("HTTP/1.1 408 ")
    );
    assert_eq!(raw(address, b"").await, "");
    let answer = raw(address, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nx"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_backend_sees_clean_fields() {
    let (backend, address) = (mirror().await, free_address());
    let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let fields = [
        ("connection", "x-private"),
        ("x-private", "1"),
        ("keep-alive", "timeout=1"),
        ("te", "trailers, gzip"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-kept", "yes"),
    ];
    let answer = Client::connect(address)
        .await
        .send(request("GET", "/a/b?c=d", &fields, ""))
        .await;
    let seen = text(&answer).to_lowercase();
    assert!(seen.starts_with("get /a/b?c=d http/1.1\r\n"), "{seen}");
    for there in [
        "host: shop.test\r\n",
        "te: trailers\r\n",
        "x-kept: yes\r\n",
        "x-forwarded-for: 203.0.113.9, 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "x-forwarded-host: shop.test\r\n",
        "traceparent: 00-",
    ] {
        assert!(seen.contains(there), "{there}: {seen}");
    }
    for gone in [
        "x-private",
        "keep-alive",
        "content-length",
        "transfer-encoding",
    ] {
        assert!(!seen.contains(gone), "{gone}: {seen}");
    }
    assert!(!answer.headers().contains_key("connection"));
}

#[tokio::test]
async fn answers_without_a_body_keep_the_connection_in_step() {
    let backend = Backend::raw(|mut io| async move {
        loop {
            let head = read_until(&mut io, b"\r\n\r\n").await;
            let answer: &[u8] = if head.starts_with("HEAD") {
                b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
            } else if head.contains("/304") {
                b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 1000\r\n\r\n"
            } else if head.contains("/204") {
                b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
            } else if head.is_empty() {
                return;
            } else {
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nend"
            };
            if io.write_all(answer).await.is_err() {
                return;
            }
        }
    })
    .await;
    let address = free_address();
    let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let mut client = Client::connect(address).await;
    let head = client.send(request("HEAD", "/", &[], "")).await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &"1000".parse().unwrap())
    );
    assert_eq!(client.get("/304").await.status(), 304);
    assert_eq!(client.get("/204").await.status(), 204);
    let last = client.get("/").await;
    assert_eq!(text(&last), "end");
    assert_eq!(last.headers()["date"], "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(last.headers().get_all("date").iter().count(), 1);
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn an_answer_of_unknown_length_is_chunked_for_11_and_closes_for_10() {
    let backend = Backend::raw(|mut io| async move {
        read_until(&mut io, b"\r\n\r\n").await;
        drop(io.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end").await);
    })
    .await;
    let address = free_address();
    let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
    assert_eq!(text(&get_once(address, "/").await), "until the end");
    let old = raw(address, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    assert!(
        old.contains("connection: close\r\n") && old.ends_with("\r\n\r\nuntil the end"),
        "{old}"
    );
    assert!(!old.contains("chunked"), "{old}");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let backend = Backend::raw(|mut io| async move {
        let request = read_until(&mut io, b"0\r\nx-sum: 7\r\n\r\n").await;
        assert!(request.contains("4\r\nbody\r\n"), "{request}");
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n\
            2\r\nok\r\n0\r\nx-end: 9\r\n\r\n";
        io.write_all(answer).await.unwrap();
        read_until(&mut io, b"never").await;
    })
    .await;
    let address = free_address();
    let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let wire =
        b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
        4\r\nbody\r\n0\r\nX-Sum: 7\r\n\r\n";
    let answer = raw(address, wire).await;
    assert!(
        answer.ends_with("2\r\nok\r\n0\r\nx-end: 9\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_client_that_expects_100_is_told_to_go_on_only_when_the_backend_says_so() {
    let strict = Backend::raw(|mut io| async move {
        let head = read_until(&mut io, b"\r\n\r\n").await;
        if head.starts_with("POST /yes") {
            io.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .await
                .unwrap();
            assert_eq!(read_until(&mut io, b"body").await, "body");
            drop(
                io.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
                    .await,
            );
        } else {
            drop(
                io.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
                    .await,
            );
        }
    })
    .await;
    let address = free_address();
    let _router = TestRouter::serving(&simple(1, address, strict.address)).await;
    for (path, first) in [
        ("/yes", "HTTP/1.1 100 Continue"),
        ("/no", "HTTP/1.1 401 Unauthorized"),
    ] {
        let mut io = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        );
        io.write_all(head.as_bytes()).await.unwrap();
        let answer = read_until(&mut io, b"\r\n\r\n").await;
        assert!(answer.starts_with(first), "{answer}");
        if path == "/yes" {
            io.write_all(b"body").await.unwrap();
            assert!(
                read_until(&mut io, b"yes")
                    .await
                    .starts_with("HTTP/1.1 200 OK")
            );
        } else {
            assert!(answer.contains("connection: close"), "{answer}");
        }
    }
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let refusing = Backend::raw(|mut io| async move {
        read_until(&mut io, b"\r\n\r\n").await;
        drop(
            io.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
                .await,
        );
    })
    .await;
    let address = free_address();
    let _router = TestRouter::serving(&simple(1, address, refusing.address)).await;
    let body = "x".repeat(3_000_000);
    let wire = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n{body}");
    let mut io = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = io.split();
    let send = async { drop(write.write_all(wire.as_bytes()).await) };
    let receive = async {
        let mut answer = [0; 12];
        read.read_exact(&mut answer).await.unwrap();
        answer
    };
    let ((), answer) = tokio::join!(send, receive);
    assert_eq!(&answer, b"HTTP/1.1 403");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::new(|request| async move {
        hyper::Response::new(request.uri().path().to_owned().into())
    })
    .await;
    let address = free_address();
    let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let wire = b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n\
        POST /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody\
        GET /4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answer = raw(address, wire).await;
    let bodies: Vec<_> = answer
        .split("\r\n\r\n")
        .skip(1)
        .filter_map(|part| part.get(..2))
        .collect();
    assert_eq!(bodies, ["/1", "/2", "/3", "/4"]);
}

#[tokio::test]
async fn an_event_stream_arrives_as_it_is_sent() {
    let backend = Backend::raw(|mut io| async move {
        read_until(&mut io, b"\r\n\r\n").await;
        io.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        for _ in 0..3 {
            io.write_all(b"4\r\nping\r\n").await.unwrap();
            // The next one is sent when this one has come back through the router as a request.
            tokio::task::yield_now().await;
        }
        read_until(&mut io, b"never").await;
    })
    .await;
    let address = free_address();
    let _router = TestRouter::serving(&simple(1, address, backend.address)).await;
    let mut io = TcpStream::connect(address).await.unwrap();
    io.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..3 {
        read_until(&mut io, b"ping\r\n").await;
    }
}
