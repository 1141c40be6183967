//! What a deployment on Docker costs over `docker run`: of the same image, to the first answer, in turn.
//! Not a test: it prints figures beside their goal, and judges nothing.
//!
//! `cargo bench -p towpath --bench docker [-- ROUNDS]`. The image is the shop's Python, which
//! `examples/shop/base` makes where it is not there. The demo shows the same figure once, for the whole
//! shop; here it is one service without a migration, several times.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "the figures are the output, and without them there is none"
)]
#![expect(
    dead_code,
    reason = "the site is that of the tests, which use all of it"
)]

#[path = "../tests/it/machine.rs"]
mod machine;
#[path = "../tests/it/site.rs"]
mod site;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;

use site::{Site, free_port};

const IMAGE: &str = "towpath-shop/python:1";
const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shop/base");

/// What runs in both ways.
const SERVER: [&str; 4] = ["python3", "-m", "http.server", "8000"];

fn main() {
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(rounds.unwrap_or(9)));
}

async fn measure(rounds: u32) {
    if !docker(&["image", "inspect", IMAGE]).await.0 {
        assert!(Command::new(BASE).status().await.unwrap().success());
    }
    let mut site = Site::new();
    let port = free_port();
    site.write("towpath.yaml", &delivery_file(port));
    site.write("compose.yaml", &compose_file(port, 0));
    site.serve().await;
    site.run(&["up", "--json"]).await.exited(0);

    let (mut deployments, mut by_hand, mut overheads) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        site.write("compose.yaml", &compose_file(port, round));
        let deployed = deploy(&site).await;
        let run = run_by_hand().await;
        deployments.push(deployed);
        by_hand.push(run);
        overheads.push(deployed - run);
    }
    println!(
        "{:<58} {:>9} {:>9} {:>9}   goal",
        "s", "least", "median", "most"
    );
    line("docker run, to its first answer", by_hand, "");
    line("towpath deploy, to all traffic on it", deployments, "");
    line("the one over the other, in turn", overheads, "0.5");
    let destroy = ["env", "rm", "dev", "--volumes", "--yes"];
    site.run(&destroy).await.exited(0);
}

fn line(what: &str, mut values: Vec<f64>, goal: &str) {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let (least, median, most) = (at(0), at(values.len() / 2), at(values.len() - 1));
    println!("{what:<58} {least:>9.3} {median:>9.3} {most:>9.3}   {goal}");
}

fn compose_file(port: u16, round: u32) -> String {
    let web = json!({
        "image": IMAGE,
        "pull_policy": "never",
        "command": SERVER,
        "working_dir": "/tmp",
        "environment": { "ROUND": round.to_string() },
        "ports": [format!("127.0.0.1:{port}:8000")],
        // It has nothing to finish.
        "stop_signal": "SIGKILL",
    });
    json!({ "services": { "web": web } }).to_string()
}

fn delivery_file(port: u16) -> String {
    let rollout = json!({ "strategy": "blue-green", "bake": "1s" });
    let file = json!({
        // No bench before it, that was cut short, had this name.
        "app": format!("bench-{port}"),
        "environments": { "dev": { "engine": "docker", "rollout": rollout } },
        "services": { "web": { "health": { "http": "/" } } },
    });
    file.to_string()
}

/// Brings a release out, from the command to all traffic on it, in seconds. Waits for its end.
async fn deploy(site: &Site) -> f64 {
    let began = Timestamp::now();
    let words = ["deploy", "dev", "--wait", "bake", "--json"];
    let last = site.run(&words).await.exited(0).json();
    let shifted: Timestamp = field(&last["deployment"], "shifted_at").parse().unwrap();
    shifted.duration_since(began).as_secs_f64()
}

fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

/// Runs the same by hand, until it answers, in seconds.
async fn run_by_hand() -> f64 {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let publish = format!("--publish={address}:8000");
    let mut words = vec!["run", "--detach", "--workdir=/tmp", &publish, IMAGE];
    words.extend(SERVER);
    let began = Instant::now();
    let (done, container) = docker(&words).await;
    assert!(done, "docker run: {container}");
    while !answers(address).await {
        assert!(began.elapsed() < site::LONGEST, "it does not answer");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed().as_secs_f64();
    docker(&["rm", "--force", &container]).await;
    took
}

async fn answers(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(1), ask).await;
    matches!(answer, Ok(Ok(answer)) if answer.starts_with(b"HTTP/1.0 200"))
}

/// Runs the `docker` command. Returns whether it succeeded, and what it printed.
async fn docker(words: &[&str]) -> (bool, String) {
    let output = Command::new("docker").args(words).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success(), text)
}
