//! Thousands of simulated lives of an environment; after every step of each, nothing that must
//! never happen has happened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use towpath_testkit::sim;

const SEEDS: u64 = 1_000;
const THREADS: u64 = 2;

#[expect(
    clippy::disallowed_methods,
    reason = "a seed is replayed, and their number changed, by whoever runs the tests"
)]
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn what_must_never_happen_does_not() {
    if let Some(seed) = variable("TOWPATH_SIM_SEED") {
        match sim::run(seed, None) {
            Ok(figures) => println!("seed {seed} holds: {figures:?}"),
            Err(breach) => panic!("{breach}"),
        }
        return;
    }
    let seeds = variable("TOWPATH_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            if let Err(breach) = sim::run(seed, None) {
                next.store(seeds, Ordering::Relaxed);
                panic!("{breach}\nreplay with TOWPATH_SIM_SEED={seed}");
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
}

#[test]
fn a_seed_is_replayed_to_the_letter() {
    for seed in 0..20 {
        assert_eq!(sim::run(seed, None).unwrap(), sim::run(seed, None).unwrap());
    }
}

/// The most seeds that a sabotage may live through before its own rule catches it.
const PATIENCE: u64 = 300;

#[test]
fn every_rule_bites() {
    println!("| sabotage | invariant | caught by seed | at (ms) |\n|---|---|---|---|");
    for (sabotage, invariant) in sim::Sabotage::ALL {
        let breach = (0..PATIENCE)
            .filter_map(|seed| sim::run(seed, Some(sabotage)).err())
            .find(|breach| breach.broken.invariant == invariant)
            .unwrap_or_else(|| panic!("{sabotage:?} is never caught as {invariant:?}"));
        println!(
            "| {sabotage:?} | {} | {} | {} |",
            invariant.number(),
            breach.seed,
            breach.at_ms
        );
    }
}
