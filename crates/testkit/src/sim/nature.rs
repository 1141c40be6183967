//! What the instances of a simulated release are like. It is written into the specification's
//! command, so that the engine, the prober and the router know it without being told.

use towpath_model::workload::{Command, WorkloadSpec};

use super::clock::Ms;

/// What an instance is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    /// It starts, becomes healthy and answers.
    Good,
    /// The same, but it takes long to become healthy.
    SlowStart,
    /// The engine cannot start it.
    CannotStart,
    /// It ends soon after its start.
    CrashAtStart,
    /// It becomes healthy and ends some seconds later.
    CrashLater,
    /// It runs and is never healthy.
    NeverHealthy,
    /// It is healthy and unhealthy by turns.
    Flapping,
    /// It is healthy and answers some requests 500.
    Errors,
    /// It is healthy and answers late.
    Slow,
    /// A job that ends well.
    JobGood,
    /// A job that ends with a code other than 0.
    JobFails,
    /// A job that never ends.
    JobHangs,
}

impl Nature {
    const ALL: [(Self, &'static str); 12] = [
        (Self::Good, "good"),
        (Self::SlowStart, "slow-start"),
        (Self::CannotStart, "cannot-start"),
        (Self::CrashAtStart, "crash-at-start"),
        (Self::CrashLater, "crash-later"),
        (Self::NeverHealthy, "never-healthy"),
        (Self::Flapping, "flapping"),
        (Self::Errors, "errors"),
        (Self::Slow, "slow"),
        (Self::JobGood, "job-good"),
        (Self::JobFails, "job-fails"),
        (Self::JobHangs, "job-hangs"),
    ];

    /// Returns the word for it in a command.
    pub(super) fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(nature, _)| *nature == self)
            .map_or("good", |(_, word)| word)
    }

    /// Reads the nature of a specification.
    pub(super) fn of(spec: &WorkloadSpec) -> Self {
        let Command::Exec(words) = &spec.command else {
            return Self::Good;
        };
        Self::ALL
            .iter()
            .find(|(_, word)| words.iter().any(|one| one == word))
            .map_or(Self::Good, |(nature, _)| *nature)
    }

    /// Tells whether instances are well for as long as nobody harms them.
    pub(super) fn is_sound(self) -> bool {
        match self {
            Self::Good | Self::SlowStart | Self::Errors | Self::Slow => true,
            Self::CannotStart
            | Self::CrashAtStart
            | Self::CrashLater
            | Self::NeverHealthy
            | Self::Flapping
            | Self::JobGood
            | Self::JobFails
            | Self::JobHangs => false,
        }
    }

    /// Tells whether an instance that has run for so long answers its health check.
    pub(super) fn answers(self, running_for: Ms) -> bool {
        let begun = self
            .first_answer()
            .is_some_and(|after| running_for >= after);
        begun && (self != Self::Flapping || (running_for / 4_000).is_multiple_of(2))
    }

    /// Returns after how long it first answers its health check.
    pub(super) fn first_answer(self) -> Option<Ms> {
        match self {
            Self::Good | Self::Errors | Self::Slow | Self::CrashLater | Self::Flapping => Some(300),
            Self::SlowStart => Some(4_000),
            Self::CannotStart
            | Self::CrashAtStart
            | Self::NeverHealthy
            | Self::JobGood
            | Self::JobFails
            | Self::JobHangs => None,
        }
    }

    /// Returns after how long it ends by itself, and with which code.
    pub(super) fn ends(self, number: u32) -> Option<(Ms, i32)> {
        let jitter = Ms::from(number % 7) * 900;
        match self {
            Self::CrashAtStart => Some((100, 1)),
            Self::CrashLater => Some((5_000 + jitter, 101)),
            Self::JobGood => Some((300 + jitter, 0)),
            Self::JobFails => Some((1_000 + jitter, 3)),
            Self::Good
            | Self::SlowStart
            | Self::CannotStart
            | Self::NeverHealthy
            | Self::Flapping
            | Self::Errors
            | Self::Slow
            | Self::JobHangs => None,
        }
    }
}
