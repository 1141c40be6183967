//! A flood of webhooks: what is documented is answered, everything else goes on, and one fetch at a time is
//! all that comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use towpath_api::Client;

use super::Scene;
use crate::site::{LONGEST, Site};

const SECRET: &str = "topsecret";

/// How many webhooks come, over how many connections.
const WEBHOOKS: usize = 5_000;
const CONNECTIONS: usize = 50;

/// One in so many is of 1 MiB.
const LARGE_EACH: usize = 25;

/// How many never come to their end.
const SLOW: usize = 4;

/// The longest that an answer of the API may take meanwhile, on a machine that is busy with tests.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// How much the control plane may grow, in KiB: what is read at once, several times over.
const GROWTH_KIB: u64 = 160 * 1024;

/// What a webhook is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Good,
    Forged,
    Replayed,
}

/// The head of a webhook as GitLab sends it, whose signature is the secret itself.
fn head(token: &str, id: &str, length: usize) -> String {
    format!(
        "POST /webhooks/shop HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nX-Gitlab-Event: Push Hook\r\nX-Gitlab-Event-UUID: {id}\r\n\
         X-Gitlab-Token: {token}\r\n\r\n"
    )
}

fn webhook(number: usize) -> (Sort, Vec<u8>) {
    let sort = match number % 3 {
        0 => Sort::Good,
        1 => Sort::Forged,
        _ => Sort::Replayed,
    };
    let (token, id) = match sort {
        Sort::Good => (SECRET, number),
        Sort::Forged => ("guessed", number),
        Sort::Replayed => (SECRET, 2),
    };
    let padding = if number.is_multiple_of(LARGE_EACH) {
        1 << 20
    } else {
        10
    };
    let body = format!(
        r#"{{"object_kind":"push","ref":"refs/heads/main","id":{id},"padding":"{}"}}"#,
        "x".repeat(padding)
    );
    let mut text = head(token, &id.to_string(), body.len()).into_bytes();
    text.extend(body.as_bytes());
    (sort, text)
}

/// Sends a request and returns the status. `None` when the connection ended before there was one.
async fn exchange(stream: &mut BufReader<TcpStream>, request: &[u8]) -> Option<u16> {
    stream.write_all(request).await.ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1);
    let length = length.map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    head.split(' ').nth(1)?.parse().ok()
}

async fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(address).await.unwrap())
}

/// Sends one share of the flood. Returns what was answered, how often.
async fn pour(address: SocketAddr, first: usize) -> BTreeMap<(Sort, u16), u32> {
    let mut stream = connect(address).await;
    let mut answered = BTreeMap::new();
    for number in (first..WEBHOOKS).step_by(CONNECTIONS) {
        let (sort, request) = webhook(number);
        // A body that is not wanted may cost the connection, as a forge would see it.
        if let Some(status) = exchange(&mut stream, &request).await {
            *answered.entry((sort, status)).or_insert(0) += 1;
        } else {
            stream = connect(address).await;
        }
    }
    answered
}

/// Begins a webhook that never comes to its end. Returns the status.
async fn dawdle(address: SocketAddr) -> Option<u16> {
    let mut stream = connect(address).await;
    exchange(
        &mut stream,
        format!("{}{{", head(SECRET, "slow", 1000)).as_bytes(),
    )
    .await
}

/// The most memory that the control plane has had so far, in KiB.
fn peak(site: &Site) -> u64 {
    let processes = site.processes();
    let serve = processes.iter().find(|one| one.has_role("serve")).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", serve.id)).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The fetches that run at this moment.
fn fetching(site: &Site) -> BTreeSet<i32> {
    let processes = site.processes().into_iter();
    let is_fetch = |words: &str| words.contains(" fetch ") && words.contains("--end-of-options");
    let fetches = processes.filter(|one| is_fetch(&one.words()));
    fetches.map(|one| one.id).collect()
}

/// How many fetches run for longer than a moment: a program that starts another one is both for that
/// long.
async fn fetches(site: &Site) -> usize {
    let first = fetching(site);
    if first.len() < 2 {
        return first.len();
    }
    // sleep: what is looked for is what lasts longer than this.
    tokio::time::sleep(Duration::from_millis(20)).await;
    fetching(site).intersection(&first).count()
}

/// Asks the API for something until it is over. Returns the longest that an answer took, and how many
/// came.
async fn ask_on(client: Client, is_over: Arc<AtomicBool>) -> (Duration, u32) {
    let mut slowest = Duration::ZERO;
    let mut count = 0_u32;
    while !is_over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        client.repository("shop").await.unwrap();
        slowest = slowest.max(asked.elapsed());
        count += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (slowest, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_webhooks_is_answered_and_holds_up_nobody() {
    let scene = Scene::new().await;
    let head = scene.git(&["rev-parse", "HEAD"]).await;
    scene.follow(&[]).await;
    scene.wait_for("shop refs/heads/main", &head).await;
    let secret = ["repo", "secret", "shop", "webhook"];
    let value = SECRET.as_bytes();
    scene.site.run_with_input(&secret, value).await.exited(0);
    let before = peak(&scene.site);
    scene.write("page", "two");
    let second = scene.commit("Two").await;

    let address = scene.site.api_address();
    let mut dawdlers = JoinSet::new();
    for _ in 0..SLOW {
        dawdlers.spawn(dawdle(address));
    }
    let mut flood = JoinSet::new();
    for first in 0..CONNECTIONS {
        flood.spawn(pour(address, first));
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut others = JoinSet::new();
    others.spawn(ask_on(scene.site.client(), Arc::clone(&over)));
    let mut answered: BTreeMap<(Sort, u16), u32> = BTreeMap::new();
    let mut most_fetches = 0;
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            share = flood.join_next() => match share {
                Some(share) => {
                    for (what, count) in share.unwrap() {
                        *answered.entry(what).or_insert(0) += count;
                    }
                }
                None => break,
            },
            _ = ticks.tick() => most_fetches = most_fetches.max(fetches(&scene.site).await),
        }
    }
    over.store(true, Ordering::Relaxed);
    let (slowest, count) = others.join_next().await.unwrap().unwrap();
    assert!(slowest < ANSWERED_WITHIN, "{slowest:?} of {count}");
    assert!(most_fetches <= 1, "{most_fetches} at once");
    let total: u32 = answered.values().sum();
    assert!(
        usize::try_from(total).unwrap() > WEBHOOKS * 9 / 10,
        "{answered:?}"
    );
    for (sort, status) in answered.keys() {
        let documented: &[u16] = match sort {
            Sort::Good => &[202, 429],
            Sort::Forged => &[403, 429],
            Sort::Replayed => &[202, 409, 429],
        };
        assert!(documented.contains(status), "{sort:?}: {answered:?}");
    }
    for slow in dawdlers.join_all().await {
        assert!(matches!(slow, Some(408 | 429)), "{slow:?}");
    }
    let grown = peak(&scene.site) - before;
    assert!(grown < GROWTH_KIB, "{grown} KiB more than {before}");
    scene.wait_for("shop refs/heads/main", &second).await;
    afterwards(&scene, address).await;
}

/// When it is over each is answered for itself, and what comes is fetched.
async fn afterwards(scene: &Scene, address: SocketAddr) {
    let mut stream = connect(address).await;
    let (_, replayed) = webhook(2);
    let deadline = Instant::now() + LONGEST;
    loop {
        match exchange(&mut stream, &replayed).await {
            Some(409) => break,
            Some(202 | 429) => {}
            other => panic!("{other:?}"),
        }
        assert!(Instant::now() < deadline, "{}", scene.site.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_, forged) = webhook(1);
    assert_eq!(exchange(&mut stream, &forged).await, Some(403));
    scene.write("page", "three");
    let third = scene.commit("Three").await;
    let (sort, good) = webhook(WEBHOOKS * 3);
    assert_eq!(sort, Sort::Good);
    assert_eq!(exchange(&mut stream, &good).await, Some(202));
    scene.wait_for("shop refs/heads/main", &third).await;
}
