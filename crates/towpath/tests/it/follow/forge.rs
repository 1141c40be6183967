//! That a forge is told what becomes of its commits, by the real binary.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Scene;
use crate::site::LONGEST;

/// An app that is checked, and deployed nowhere.
const PIPELINE: &str = "services: { web: { process: { command: sleep 1000 } } }
environments: { dev: {} }
pipeline:
  - { name: unit, run: \"true\" }
  - { name: lint, run: exit 3 }
";

/// Stands where a forge would: passes Git on to another address, and keeps what it is told.
async fn forge(upstream: SocketAddr) -> (SocketAddr, Told, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let told = Told::default();
    let (mut tasks, kept) = (JoinSet::new(), Told::clone(&told));
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = Told::clone(&kept);
            connections.spawn(async move {
                let mut head = vec![0; 64 * 1024];
                let length = stream.read(&mut head).await.unwrap_or(0);
                let mut text = String::from_utf8_lossy(&head[..length]).into_owned();
                if text.starts_with("POST /api/") {
                    while !text.ends_with('}') {
                        let more = stream.read(&mut head).await.unwrap();
                        assert!(more > 0, "{text}");
                        text.push_str(&String::from_utf8_lossy(&head[..more]));
                    }
                    let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
                    stream.write_all(answer).await.unwrap();
                    kept.lock().unwrap().push(text);
                    return;
                }
                let mut there = TcpStream::connect(upstream).await.unwrap();
                there.write_all(&head[..length]).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut stream, &mut there).await);
            });
        }
    });
    (address, told, tasks)
}

/// The requests that a forge was sent.
type Told = Arc<Mutex<Vec<String>>>;

/// The states that a forge was told of a commit in one matter, in order.
fn states(told: &Told, context: &str) -> Vec<String> {
    let told = told.lock().unwrap();
    let bodies = told.iter().map(|request| {
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<Value>(body).unwrap()
    });
    let of = bodies.filter(|body| body["context"] == context);
    of.map(|body| body["state"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forge_is_told_what_becomes_of_its_commits() {
    let scene = Scene::new().await;
    scene.write("towpath.yaml", PIPELINE);
    let head = scene.commit("Checks").await;
    let token = scene
        .site
        .client()
        .create_token("mirror")
        .await
        .unwrap()
        .secret;
    let upstream = scene.site.api_address();
    let pushed_to = format!("http://x:{token}@{upstream}/git/upstream");
    // The checks fail there as well, and the push says so; what was pushed stays.
    let mut push = Command::new("git");
    let push = push.args(["push", "--quiet", &pushed_to, "main"]);
    let pushed = push.current_dir(&scene.origin).output().await.unwrap();
    assert!(!pushed.status.success(), "{pushed:?}");
    let (address, told, _tasks) = forge(upstream).await;
    let url = format!("http://{address}/git/upstream");
    let register = ["repo", "set", "shop", "--poll", "1h", "--forge", "gitea"];
    let register = [&register[..], &[url.as_str()]].concat();
    scene.site.run(&register).await.exited(0);
    let secret = ["repo", "secret", "shop", "credential"];
    scene
        .site
        .run_with_input(&secret, token.as_bytes())
        .await
        .exited(0);
    scene.site.run(&["repo", "fetch", "shop"]).await.exited(0);
    let contexts = ["towpath/unit", "towpath/lint", "towpath"];
    let is_over = |context: &str| {
        let states = states(&told, context);
        states.last().is_some_and(|state| state != "pending")
    };
    let deadline = Instant::now() + LONGEST;
    while !contexts.into_iter().all(is_over) {
        assert!(Instant::now() < deadline, "{told:?}\n{}", scene.site.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (context, last) in contexts.into_iter().zip(["success", "failure", "failure"]) {
        let states = states(&told, context);
        let (end, before) = states.split_last().unwrap();
        assert_eq!(end, last, "{context}");
        assert!(before.iter().all(|state| state == "pending"), "{states:?}");
    }
    let line = format!("POST /api/v1/repos/git/upstream/statuses/{head} HTTP/1.1");
    for request in told.lock().unwrap().iter() {
        assert!(request.starts_with(&line), "{request}");
        assert!(request.contains(&format!("authorization: token {token}")));
    }
    let log = scene.site.log();
    assert!(!log.contains(&token), "{log}");
}
