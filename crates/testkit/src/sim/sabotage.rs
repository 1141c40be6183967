//! Faults put into the system under test on purpose, to show that the checks bite. They tamper with
//! what it sees and decides; the product's code stays as it is.

use towpath_model::environment::Environment;
use towpath_model::observation::Observation;
use towpath_model::step::Step;

use super::operate::Wish;

/// A rule to break on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {}

impl Sabotage {
    /// Tampers with what a step sees.
    pub(super) fn observation(self, _observation: &mut Observation, _before: &Environment) {
        match self {}
    }

    /// Tampers with what a step decides.
    pub(super) fn step(self, _next: &mut Step, _before: &Environment, _observation: &Observation) {
        match self {}
    }

    /// Tampers with what became of a wish.
    pub(super) fn edit(self, _edited: &mut Environment, _before: &Environment, _wish: Wish) {
        match self {}
    }
}
