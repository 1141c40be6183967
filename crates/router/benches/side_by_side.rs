//! The router beside nginx and `HAProxy`, in one run on the same cores with the same payload. Not a
//! test: it prints figures and ratios, and judges nothing.
//!
//! `cargo bench -p towpath-router [-- SECONDS CONNECTIONS | -- --instructions]`. Proxies that are not installed are left
//! out (Debian: `apt-get install nginx-light haproxy`). Rounds are interleaved, so that whatever
//! else the machine does falls on all alike; the median round counts.

#![expect(clippy::print_stdout, reason = "the figures are the output")]

#[path = "side_by_side/backend.rs"]
mod backend;
#[path = "side_by_side/instructions.rs"]
mod instructions;
#[path = "side_by_side/load.rs"]
mod load;
#[path = "side_by_side/proxy.rs"]
mod proxy;

use std::time::Duration;

use load::Round;
use proxy::Proxy;

/// Threads of each proxy.
const WORKERS: usize = 2;

const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|one| one != "--bench")
        .collect();
    if let [role, directory] = arguments.as_slice()
        && role == proxy::ROUTER_ROLE
    {
        return proxy::run_router(directory.as_ref());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    if arguments.iter().any(|one| one == "--instructions") {
        return runtime.block_on(instructions::compare());
    }
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u32>().ok());
    let time = Duration::from_secs(u64::from(number(0).unwrap_or(3)));
    let connections = number(1).unwrap_or(64);
    runtime.block_on(compare(time, connections))
}

async fn compare(time: Duration, connections: u32) -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let backend = backend::start()?;
    let started = &proxy::plainly;
    let mut proxies = vec![Proxy::router(directory.path(), backend, started).await?];
    proxies.extend(Proxy::nginx(directory.path(), backend, started)?);
    proxies.extend(Proxy::haproxy(directory.path(), backend, started)?);
    println!(
        "{connections} kept connections, answers of 1 KiB, {WORKERS} workers each, {ROUNDS} rounds of {time:?}"
    );
    let mut rounds: Vec<Vec<Round>> = proxies.iter().map(|_| Vec::new()).collect();
    for proxy in &proxies {
        proxy.wait_until_it_answers().await?;
        println!(
            "{:<10} idle: {:5.1} MiB resident",
            proxy.name,
            proxy.resident_mib()?
        );
        load::run(proxy.address, connections, Duration::from_secs(1)).await?;
    }
    for _ in 0..ROUNDS {
        for (proxy, results) in proxies.iter().zip(&mut rounds) {
            let before = proxy.cpu()?;
            let mut round = load::run(proxy.address, connections, time).await?;
            round.cpu = proxy.cpu()?.saturating_sub(before);
            results.push(round);
        }
    }
    print_table(&proxies, &rounds);
    Ok(())
}

fn print_table(proxies: &[Proxy], rounds: &[Vec<Round>]) {
    println!(
        "{:<10} {:>12} {:>10} {:>10} {:>14} {:>8}",
        "", "requests/s", "p50 us", "p99 us", "CPU us/request", "failed"
    );
    let medians: Vec<Round> = rounds.iter().map(|rounds| Round::median(rounds)).collect();
    for (proxy, round) in proxies.iter().zip(&medians) {
        println!(
            "{:<10} {:>12.0} {:>10} {:>10} {:>14.2} {:>8}",
            proxy.name,
            round.rate(),
            round.p50.as_micros(),
            round.p99.as_micros(),
            round.cpu_per_request_us(),
            round.failed,
        );
    }
    let Some((router, others)) = medians.split_first() else {
        return;
    };
    for (proxy, other) in proxies.iter().skip(1).zip(others) {
        println!(
            "router / {:<8} requests/s {:.2}, p99 {:.2}, CPU per request {:.2}",
            proxy.name,
            router.rate() / other.rate(),
            router.p99.as_secs_f64() / other.p99.as_secs_f64(),
            router.cpu_per_request_us() / other.cpu_per_request_us(),
        );
    }
}
