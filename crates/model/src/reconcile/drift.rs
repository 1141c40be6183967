//! What another hand than Towpath's did to instances that should run, said once for each look. Not how it is
//! repaired, which follows from what should be there.

use std::collections::BTreeMap;

use crate::instance::{Instance, Phase};
use crate::observation::Exit;
use crate::step::Turn;

/// The most instances that are named in one line.
const NAMED: usize = 10;

/// What somebody did to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// It is gone, and so is what it ran in.
    Removed,
    /// It was a release job, and is gone.
    RemovedJob,
    /// It was started again, as the same.
    Restarted,
    /// It is in another place of its network.
    Moved,
    /// It was taken off its network.
    CutOff,
}

impl Deed {
    /// Says what was found, before the instances, and what is done about it, behind them.
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Removed => ["removed", "started anew"],
            Self::RemovedJob => [
                "removed as a release job ran in it",
                "not repaired: the job counts as failed",
            ],
            Self::Restarted => ["restarted", "checked again before it gets requests"],
            Self::Moved => [
                "given another address",
                "checked again before it gets requests",
            ],
            Self::CutOff => ["taken off its network", "put back"],
        }
    }
}

/// What was found in one look.
#[derive(Debug, Default)]
pub(super) struct Drift(BTreeMap<Deed, Vec<String>>);

impl Drift {
    /// Takes in what somebody did to an instance.
    pub(super) fn note(&mut self, turn: &Turn<'_>, one: &Instance, deed: Deed) {
        // Docker may have been told to start again what was taken over: that is nobody's hand.
        let is_adopted = turn.environment.adopted_container(one.number).is_some();
        if is_adopted && matches!(deed, Deed::Restarted | Deed::Moved) {
            return;
        }
        let name = turn.environment.instance_id(one).local();
        self.0.entry(deed).or_default().push(name);
    }

    /// Takes in that an instance is not there any more, where nobody of us wanted it to go and nobody saw
    /// how it ended.
    pub(super) fn note_end(&mut self, turn: &Turn<'_>, one: &Instance, exit: Option<&Exit>) {
        let was_told = matches!(one.phase, Phase::Draining { .. } | Phase::Stopping { .. });
        if was_told || exit.is_some_and(|exit| !exit.was_removed()) {
            return;
        }
        let deed = if one.job.is_some() {
            Deed::RemovedJob
        } else {
            Deed::Removed
        };
        self.note(turn, one, deed);
    }

    /// Adds one line to the audit trail, where something was found.
    pub(super) fn tell(self, turn: &mut Turn<'_>) {
        if self.0.is_empty() {
            return;
        }
        let found = self.0.into_iter().map(|(deed, names)| {
            let more = names.len().saturating_sub(NAMED);
            let mut named = names.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
            if more > 0 {
                named.push_str(&format!(" and {more} more"));
            }
            let [found, done] = deed.words();
            format!("{found}: {named} ({done})")
        });
        let reason = found.collect::<Vec<_>>().join("; ");
        let subject = turn.environment.id.to_string();
        turn.event("environment.drifted", subject, Some(reason));
    }
}
