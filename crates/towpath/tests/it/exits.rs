//! The exit code of the binary for each answer that a control plane may give. What the answers mean is
//! tested beside the server.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread::JoinHandle;

use crate::site::PROGRAM;

/// Answers one request with a problem of this status, and ends.
fn answer_once(status: u16) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let body = format!(
        "{{\"type\":\"x\",\"status\":{status},\"title\":\"The title\",\"detail\":\"what was wrong\"}}"
    );
    let answer = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\nConnection: \
         close\r\n\r\n{body}",
        body.len()
    );
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"\r\n\r\n") {
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "the request ends before its head does");
            request.extend_from_slice(&buffer[..length]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
    });
    (address, server)
}

fn towpath(address: &str, words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM)
        .args(words)
        .env("TOWPATH_SERVER", address)
        .env("TOWPATH_TOKEN", "a-token")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[test]
fn each_answer_ends_the_command_with_its_exit_code() {
    for (status, code) in [
        (400, 2),
        (401, 4),
        (403, 4),
        (404, 3),
        (405, 2),
        (409, 1),
        (413, 2),
        (422, 2),
        (500, 1),
        (503, 1),
        (507, 1),
    ] {
        let (address, server) = answer_once(status);
        let (found, said) = towpath(&address, &["status", "shop/dev"]);
        server.join().unwrap();
        assert_eq!(found, Some(code), "{status}: {said}");
        assert!(said.contains("what was wrong"), "{status}: {said}");
    }
}

#[test]
fn a_control_plane_that_is_not_there_is_not_reachable() {
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let (found, said) = towpath(&address, &["status", "shop/dev"]);
    assert_eq!(found, Some(3), "{said}");
    assert!(said.contains(&address), "{said}");
}
