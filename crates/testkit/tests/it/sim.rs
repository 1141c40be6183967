//! Thousands of simulated lives of an environment; after every step of each, nothing that must
//! never happen has happened.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use towpath_testkit::sim;

const SEEDS: u64 = 10_000;
const THREADS: u64 = 2;

/// After so many breaches no further seed is tried.
const MOST_BREACHES: usize = 5;

/// Reads what whoever runs the tests asks for: `TOWPATH_SIM_SEED` replays one seed,
/// `TOWPATH_SIM_SEEDS` is how many are tried and `TOWPATH_SIM_FIRST` the first of them.
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
    let first = variable("TOWPATH_SIM_FIRST").unwrap_or(0);
    let end = first + variable("TOWPATH_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let breaches = Mutex::new(Vec::new());
    let work = || {
        while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|one| *one < end) {
            let Err(breach) = sim::run(seed, None) else {
                continue;
            };
            let mut breaches = breaches.lock().unwrap();
            breaches.push(breach);
            if breaches.len() >= MOST_BREACHES {
                next.store(end, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    let breaches = breaches.into_inner().unwrap();
    let list: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    assert!(
        list.is_empty(),
        "{}\nreplay one with TOWPATH_SIM_SEED=<seed>",
        list.join("\n\n")
    );
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
