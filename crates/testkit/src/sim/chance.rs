//! The only source of randomness of a simulation: everything derives from its seed.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Random draws from one seed.
#[derive(Debug)]
pub(super) struct Chance(SmallRng);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// Tells yes in `per_mille` of a thousand cases.
    pub(super) fn hits(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.0.random_range(0..1000) < per_mille
    }

    /// Draws a number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high.max(low))
    }

    /// Draws a small number from `low` to `high`, both included.
    pub(super) fn count(&mut self, low: u32, high: u32) -> u32 {
        self.0.random_range(low..=high.max(low))
    }

    /// Draws one of the choices; `None` when there is none.
    pub(super) fn pick<T: Clone>(&mut self, choices: &[T]) -> Option<T> {
        if choices.is_empty() {
            return None;
        }
        choices.get(self.0.random_range(0..choices.len())).cloned()
    }

    /// Draws one of the choices by its weight.
    pub(super) fn weighted<T: Copy>(&mut self, choices: &[(u32, T)]) -> Option<T> {
        let sum: u32 = choices.iter().map(|(weight, _)| weight).sum();
        let mut left = self.count(1, sum.max(1));
        choices.iter().find_map(|(weight, choice)| {
            if left <= *weight {
                Some(*choice)
            } else {
                left -= weight;
                None
            }
        })
    }
}
