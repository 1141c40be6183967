//! What another hand than Towpath's did to instances that should run, said once for each look. Not how it is
//! repaired, which follows from what should be there.

use std::collections::BTreeMap;

use crate::instance::{Instance, Phase};
use crate::observation::{ChangedLimits, Exit};
use crate::release::Restart;
use crate::step::Turn;

/// Tells whether an instance that ended like this is not started again.
pub(super) fn is_done(turn: &Turn<'_>, one: &Instance, exit: &Exit) -> bool {
    let service = turn.environment.service(one.release, &one.workload.service);
    match service.map_or(Restart::Always, |service| service.restart) {
        Restart::Always => false,
        Restart::OnFailure | Restart::No => exit.is_success(),
    }
}

/// The most instances that are named in one line.
const NAMED: usize = 10;

/// What somebody did to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// It is gone, and so is what it ran in.
    Removed,
    /// It was a release job, and is gone.
    RemovedJob,
    /// It was stopped or killed, and is to run.
    Stopped,
    /// It was stopped or killed, and does not start again after such an end.
    StoppedForGood,
    /// It was a release job, and was stopped or killed.
    StoppedJob,
    /// It was started again, as the same.
    Restarted,
    /// It is in another place of its network.
    Moved,
    /// It was taken off its network.
    CutOff,
    /// It has other limits.
    Limited,
    /// It has other limits, which cannot be put back.
    LimitedForGood,
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
            Self::Stopped => ["stopped", "started anew"],
            Self::StoppedForGood => ["stopped", "not started again, as its `restart` says"],
            Self::StoppedJob => [
                "stopped as a release job ran in it",
                "not repaired: how it ended counts",
            ],
            Self::Restarted => ["restarted", "checked again before it gets requests"],
            Self::Moved => [
                "given another address",
                "checked again before it gets requests",
            ],
            Self::CutOff => ["taken off its network", "put back"],
            Self::Limited => ["given other limits", "put back"],
            Self::LimitedForGood => [
                "given other limits",
                "left, as Docker takes no limit away from what runs",
            ],
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

    /// Takes in that somebody changed the limits of an instance, once for each change.
    pub(super) fn note_limits(
        &mut self,
        turn: &mut Turn<'_>,
        one: &Instance,
        found: Option<&ChangedLimits>,
    ) {
        if one.limits.as_ref() == found {
            return;
        }
        let name = turn.environment.instance_id(one).local();
        if let Some(known) = turn.environment.instances.get_mut(&one.number) {
            known.limits = found.cloned();
        }
        let Some(found) = found else {
            return;
        };
        let deed = if found.is_put_back {
            Deed::Limited
        } else {
            Deed::LimitedForGood
        };
        let names = self.0.entry(deed).or_default();
        names.push(format!("{name} ({})", found.found));
    }

    /// Takes in that an instance is not there any more, where nobody of us wanted it to go, and somebody
    /// stopped it or nobody saw how it ended.
    pub(super) fn note_end(&mut self, turn: &Turn<'_>, one: &Instance, exit: Option<&Exit>) {
        let was_told = matches!(one.phase, Phase::Draining { .. } | Phase::Stopping { .. });
        let is_gone = exit.is_none_or(Exit::was_removed);
        let is_by_hand = exit.is_some_and(|exit| exit.is_by_hand);
        if was_told || !(is_gone || is_by_hand) {
            return;
        }
        let starts_again = exit.is_none_or(|exit| !is_done(turn, one, exit));
        let deed = match (is_gone, one.job.is_some(), starts_again) {
            (true, true, _) => Deed::RemovedJob,
            (true, false, _) => Deed::Removed,
            (false, true, _) => Deed::StoppedJob,
            (false, false, true) => Deed::Stopped,
            (false, false, false) => Deed::StoppedForGood,
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
