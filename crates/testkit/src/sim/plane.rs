//! The simulated control plane: its memory, which a crash wipes, and what it wrote down, which a
//! crash leaves. Its loop is that of the real keeper, cut into micro steps by [`super::turn`].

use std::collections::{BTreeMap, VecDeque};

use towpath_model::environment::Environment;
use towpath_model::id::ReleaseNumber;
use towpath_model::observation::{ArtifactState, Network, Observation, ObservedInstance};
use towpath_model::routing::RouterReport;
use towpath_model::step::Action;

use super::clock::Ms;
use super::prober::Prober;

/// The longest time between two looks, though nothing was heard.
pub(super) const LONGEST_WAIT: Ms = 5_000;

/// The time until the next look after something failed.
pub(super) const RETRY_AFTER: Ms = 500;

/// The control plane.
#[derive(Debug)]
pub(super) enum Plane {
    /// It was killed.
    Down {
        /// It starts again then.
        until: Ms,
    },
    /// It runs.
    Up(Box<Memory>),
}

/// What a crash wipes.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) environment: Environment,
    pub(super) prober: Prober,
    pub(super) report: Option<RouterReport>,
    pub(super) seen: Option<Seen>,
    pub(super) turn: Turn,
    /// Something changed while it was busy.
    pub(super) heard: bool,
    pub(super) up_since: Ms,
}

/// When the engine was asked, and its answer.
pub(super) type Seen = (
    Ms,
    Vec<ObservedInstance>,
    BTreeMap<ReleaseNumber, ArtifactState>,
    BTreeMap<String, Network>,
);

/// Where the loop is.
#[derive(Debug)]
pub(super) enum Turn {
    /// Nothing is to be done before.
    Idle { wake: Ms },
    /// It observed; the step is next.
    Observed {
        at: Ms,
        observation: Box<Observation>,
    },
    /// The record is written down; actions are next.
    Acting {
        at: Ms,
        actions: VecDeque<Action>,
        wake: Ms,
    },
}

impl Turn {
    pub(super) fn due(&self) -> Ms {
        match self {
            Self::Idle { wake } => *wake,
            Self::Observed { at, .. } | Self::Acting { at, .. } => *at,
        }
    }
}

impl Plane {
    pub(super) fn due(&self) -> Ms {
        match self {
            Self::Down { until } => *until,
            Self::Up(memory) => memory
                .prober
                .due()
                .map_or(memory.turn.due(), |due| due.min(memory.turn.due())),
        }
    }

    /// Looks again soon, unless it is busy anyway.
    pub(super) fn wake(&mut self, at: Ms) {
        if let Self::Up(memory) = self {
            match &mut memory.turn {
                Turn::Idle { wake } => *wake = (*wake).min(at),
                Turn::Observed { .. } | Turn::Acting { .. } => memory.heard = true,
            }
        }
    }
}
