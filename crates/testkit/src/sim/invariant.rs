//! What must never happen, by the numbers of the design, and the report of a breach.

use super::clock::Ms;

/// One of the 14 rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// 1.
    RoutedToTheUnwell,
    /// 2.
    LastHealthyGone,
    /// 3.
    ShiftWithoutCapacity,
    /// 4.
    WrongSideKept,
    /// 5.
    StoppedWhileInUse,
    /// 6.
    AdvancedBlindly,
    /// 7.
    TwoActive,
    /// 8.
    WrongBaseline,
    /// 9.
    Stuck,
    /// 10.
    IncompleteRollback,
    /// 11.
    JobNotOnce,
    /// 12.
    DataHarmed,
    /// 13.
    SecretShown,
    /// 14.
    NotInTheTrail,
}

impl Invariant {
    /// Every rule, in the order of its number.
    pub const ALL: [Self; 14] = [
        Self::RoutedToTheUnwell,
        Self::LastHealthyGone,
        Self::ShiftWithoutCapacity,
        Self::WrongSideKept,
        Self::StoppedWhileInUse,
        Self::AdvancedBlindly,
        Self::TwoActive,
        Self::WrongBaseline,
        Self::Stuck,
        Self::IncompleteRollback,
        Self::JobNotOnce,
        Self::DataHarmed,
        Self::SecretShown,
        Self::NotInTheTrail,
    ];

    /// Returns its number, from 1.
    pub fn number(self) -> usize {
        Self::ALL
            .iter()
            .position(|one| *one == self)
            .map_or(0, |index| index + 1)
    }

    /// Returns the rule in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::RoutedToTheUnwell => {
                "a request is routed to an instance that is not healthy, or to one that was told to stop"
            }
            Self::LastHealthyGone => {
                "the last healthy instance goes away before its replacement is healthy and routed and that is confirmed"
            }
            Self::ShiftWithoutCapacity => {
                "traffic shifts, either way, to a side without the capacity for it"
            }
            Self::WrongSideKept => "the failed side is kept and the healthy one removed",
            Self::StoppedWhileInUse => {
                "a workload is removed before the router confirmed that it is unrouted and the drain ended"
            }
            Self::AdvancedBlindly => {
                "a step advances on an unconfirmed weight, on no data, or past a firing alarm or an expired approval"
            }
            Self::TwoActive => "two deployments are active in one environment",
            Self::WrongBaseline => {
                "a half-deployed release becomes the baseline of a rollback; a failed release is redeployed by itself; a rollback is rolled back"
            }
            Self::Stuck => "an abort is ignored, or a state is held with no deadline",
            Self::IncompleteRollback => {
                "a rollback restores the image without its configuration and secrets, or something that a kept release needs is pruned"
            }
            Self::JobNotOnce => {
                "a release job is started twice for one deployment because of a crash, or is skipped"
            }
            Self::DataHarmed => {
                "stateful or foreign data is deleted by a reconcile; an empty or failed render removes anything"
            }
            Self::SecretShown => {
                "a secret's value appears in a plan, diff, log, error, event, process list or database file"
            }
            Self::NotInTheTrail => {
                "a transition happens that is not in the audit trail; a failure is reported as success"
            }
        }
    }

    /// Makes the result of a check: broken, with what was seen.
    pub(super) fn broken<T>(self, detail: impl Into<String>) -> Result<T, Broken> {
        Err(Broken {
            invariant: self,
            detail: detail.into(),
        })
    }
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub detail: String,
}

/// A simulation in which a rule was broken.
#[derive(Debug, Clone)]
pub struct Breach {
    /// The seed, which replays it.
    pub seed: u64,
    /// Virtual milliseconds since the start.
    pub at_ms: Ms,
    /// What was broken.
    pub broken: Broken,
    /// The last lines of what happened.
    pub trace: Vec<String>,
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        write!(
            f,
            "seed {} at {} ms breaks invariant {} ({}): {}",
            self.seed,
            self.at_ms,
            self.broken.invariant.number(),
            self.broken.invariant.words(),
            self.broken.detail
        )
    }
}
