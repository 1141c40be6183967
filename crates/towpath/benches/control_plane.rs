//! What the control plane costs: memory when idle, time over an app's own start, the way back. Not a
//! test: it prints figures beside their goals, and judges nothing.
//!
//! `cargo bench -p towpath --bench control_plane [-- ROUNDS]`. The demo shows the same three figures once,
//! in the middle of its story; here they are taken several times, from the same program.

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

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use towpath_load::{Handle, Stream};

use site::{Delivery, Site};

/// What the example app is told to take for its start (see `Site::write_version`).
const OWN_START: Duration = Duration::from_millis(100);

/// How long everything is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(5);

/// So many that the last one on the bad side tells the time to 2 ms.
const REQUESTS_PER_SECOND: f64 = 500.0;

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
    let mut delivery = Delivery::default();
    // Long enough that the old release is warm when the command to go back comes.
    delivery.rollout.insert("bake", json!("30s"));
    let site = Site::with_launches(&delivery).await;
    tokio::time::sleep(IDLE).await;
    let mut memory = vec![("with nothing deployed", resident(&site))];
    let up = ["up", "--env", "production", "--json"];
    site.run(&up).await.exited(0);

    let mut overheads = Vec::new();
    let mut ways_back = Vec::new();
    for round in 0..rounds {
        overheads.push(deploy(&site, &format!("{}", round + 2)).await);
        ways_back.push(roll_back(&site, &format!("{}", round + 2)).await);
    }
    site.run(&["abort", "production"]).await;
    tokio::time::sleep(IDLE).await;
    memory.push(("with an app of 3 services and 4 instances", resident(&site)));

    println!(
        "{:<58} {:>9} {:>9} {:>9}   goal",
        "", "least", "median", "most"
    );
    let overhead = "blue-green deployment over the app's own start, s";
    line(overhead, overheads, "0.3");
    line(
        "warm rollback, to the last request on the bad side, s",
        ways_back.iter().map(|[requests, _]| *requests).collect(),
        "0.1",
    );
    line(
        "warm rollback, to the last message of a session there, s",
        ways_back.iter().map(|[_, sessions]| *sessions).collect(),
        "-",
    );
    println!();
    for (when, mebibytes) in memory {
        let what = format!("control plane and router, MiB, {when}");
        println!("{what:<78} {mebibytes:>9.1}   goal 40");
    }
    site.run(&["down", "production"]).await.exited(0);
}

fn line(what: &str, mut values: Vec<f64>, goal: &str) {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    let (least, median, most) = (at(0), at(values.len() / 2), at(values.len() - 1));
    println!("{what:<58} {least:>9.3} {median:>9.3} {most:>9.3}   {goal}");
}

/// Brings a release out by blue-green. Returns the seconds that it took over the app's own start.
async fn deploy(site: &Site, version: &str) -> f64 {
    site.write_version(version, "none");
    let words = ["deploy", "production", "--strategy", "blue-green", "--json"];
    let last = site.run(&words).await.exited(0).json();
    let deployment = &last["deployment"];
    let asked = moment(&deployment["requested_at"]);
    let took = moment(&deployment["shifted_at"]).duration_since(asked);
    took.as_secs_f64() - OWN_START.as_secs_f64()
}

/// Goes back while the old release is warm. Returns the seconds until the bad side was asked last: by a
/// request, and by a message of a WebSocket session, which the router closes when it has let it end.
async fn roll_back(site: &Site, bad: &str) -> [f64; 2] {
    let requests = Stream::keep_alive("/version", REQUESTS_PER_SECOND);
    let sessions = Stream::websocket("/ws", 4, 8.0);
    let loads = [requests, sessions].map(|stream| site.load_of(vec![stream]));
    while !has_asked(&loads, bad) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let asked = loads.each_ref().map(Handle::elapsed);
    site.run(&["rollback", "production", "--json"])
        .await
        .exited(0);
    // What comes later than this would be seen in the figures of the next round.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut took = [0.0; 2];
    for ((load, asked), took) in loads.into_iter().zip(asked).zip(&mut took) {
        let counts = load.stop().await;
        assert_eq!(counts.failed.total(), 0, "{counts:#?}");
        let last = counts.by_version.get(bad).unwrap().last_sent_at;
        *took = last.saturating_sub(asked).as_secs_f64();
    }
    took
}

fn has_asked(loads: &[Handle], version: &str) -> bool {
    loads
        .iter()
        .all(|load| load.snapshot().by_version.contains_key(version))
}

fn moment(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// Returns the resident memory of the control plane and the router together, in MiB.
fn resident(site: &Site) -> f64 {
    let of_both = site
        .processes()
        .into_iter()
        .filter(|process| process.has_role("serve") || process.has_role("router"));
    let kibibytes = of_both.map(|process| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.id)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok());
        f64::from(number.unwrap())
    });
    kibibytes.sum::<f64>() / 1024.0
}
