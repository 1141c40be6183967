//! The simulator: whole lives of an environment on a virtual clock, from a seed, with everything
//! going wrong that can go wrong, and what must never happen checked after every step. Not a
//! simulation of the asynchronous shell around the core.

mod app;
mod chance;
mod check;
mod clock;
mod engine;
mod fault;
mod invariant;
mod ledger;
mod nature;
mod operate;
mod plane;
mod prober;
mod router;
mod sabotage;
mod store;
mod traffic;
mod turn;
mod world;

pub use invariant::{Breach, Broken, Invariant};
pub use sabotage::Sabotage;

/// What happened in a simulation, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Micro steps of the world.
    pub micro_steps: u64,
    /// Steps of the system under test.
    pub steps: u64,
    /// Records written down.
    pub commits: u64,
    /// Wishes of people that were granted.
    pub wishes: u64,
    /// Deployments that ended.
    pub deployments: u64,
    /// Requests from outside.
    pub requests: u64,
    /// Requests for which the table named nobody.
    pub unserved: u64,
}

/// Runs the simulation of a seed to its end, or to the first breach of an invariant. A breach comes
/// with the trace of the run.
pub fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Figures, Box<Breach>> {
    match world::World::new(seed, sabotage, false).run(seed) {
        Ok(figures) => Ok(figures),
        // The same again, with a trace, which nobody pays for while all is well.
        Err(_) => world::World::new(seed, sabotage, true).run(seed),
    }
}
