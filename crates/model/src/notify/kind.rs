//! The kinds of messages: which line of the audit trail makes which, as one table. A new event is
//! told of by a new row here. Not who wants which, which is each target's.

use super::Facts;
use super::Severity::{self, Critical, Info, Warning};
use crate::event::Event;

/// One row: a line of the audit trail with this word (and this new state, where it is named) makes a
/// message of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The event's dotted word.
    pub what: &'static str,
    /// What the subject has to be afterwards: the event's `to`.
    pub to: Option<&'static str>,
    /// Whether the deployment has to be a rollback, or must not be one.
    pub rollback: Option<bool>,
    /// The message's dotted word.
    pub word: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What it says, after the name of the matter and before the environment.
    pub says: &'static str,
    /// What to type next; the environment is added.
    pub next: &'static [&'static str],
    /// Whether something is not well from then on, or is well again.
    pub problem: Option<Problem>,
}

/// A thing that is not well until it is well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// It begins.
    Begins(&'static str),
    /// It ends.
    Ends(&'static str),
}

/// Begins a row: an event of this word makes a message of the same.
const fn on(what: &'static str, severity: Severity, says: &'static str) -> Kind {
    Kind {
        what,
        to: None,
        rollback: None,
        word: what,
        severity,
        says,
        next: &[],
        problem: None,
    }
}

impl Kind {
    const fn word(self, word: &'static str) -> Self {
        Self { word, ..self }
    }

    const fn to(self, to: &'static str) -> Self {
        Self {
            to: Some(to),
            ..self
        }
    }

    const fn of_rollback(self) -> Self {
        Self {
            rollback: Some(true),
            ..self
        }
    }

    const fn next(self, next: &'static [&'static str]) -> Self {
        Self { next, ..self }
    }

    const fn begins(self, problem: &'static str) -> Self {
        Self {
            problem: Some(Problem::Begins(problem)),
            ..self
        }
    }

    const fn ends(self, problem: &'static str) -> Self {
        Self {
            problem: Some(Problem::Ends(problem)),
            ..self
        }
    }
}

const LOOK: &[&str] = &["towpath status", "towpath logs"];

/// What stays broken until a deployment succeeds.
const DELIVERY: &str = "delivery";

/// What stays broken until instances are well.
const SERVICE: &str = "service";

/// What stays broken until a run succeeds.
const RUN: &str = "run";

/// Every kind, by the event that makes it. The first row that fits counts.
pub const KINDS: &[Kind] = &[
    on("deployment.requested", Info, "was asked for").word("deployment.started"),
    on("deployment.failing", Warning, "fails and goes back").next(LOOK),
    on("deployment.aborting", Info, "is being aborted"),
    on("deployment.aborted", Warning, "was aborted"),
    on("deployment.superseded", Info, "was superseded"),
    on("deployment.paused", Warning, "waits for a person")
        .next(&["towpath resume", "towpath abort"]),
    on("deployment.resumed", Info, "goes on"),
    ended("succeeded", Warning, "is a rollback, and done")
        .of_rollback()
        .word("rollback.succeeded")
        .next(&["towpath release"])
        .ends(DELIVERY),
    ended("succeeded", Info, "succeeded")
        .word("deployment.succeeded")
        .ends(DELIVERY),
    ended("failed", Critical, "is a rollback, and failed")
        .of_rollback()
        .word("rollback.failed")
        .next(LOOK)
        .begins(DELIVERY),
    ended(
        "rollback failed",
        Critical,
        "failed, and so did the way back",
    )
    .word("rollback.failed")
    .next(LOOK)
    .begins(DELIVERY),
    ended(
        "failed (rolled back)",
        Critical,
        "failed; the stable release serves",
    )
    .word("deployment.failed")
    .next(&["towpath logs", "towpath release"])
    .begins(DELIVERY),
    ended(
        "failed",
        Critical,
        "failed; there was nothing to go back to",
    )
    .word("deployment.failed")
    .next(LOOK)
    .begins(DELIVERY),
    ended("aborted", Warning, "was aborted").word("deployment.aborted"),
    ended("superseded", Info, "was superseded").word("deployment.superseded"),
    // How it ended is not said where another one took its place at the very end.
    on("deployment.ended", Info, "ended"),
    on(
        "environment.held",
        Warning,
        "is on hold: nothing is deployed by itself",
    )
    .next(&["towpath release"]),
    on("environment.released", Info, "is on hold no more"),
    on(
        "environment.behind",
        Warning,
        "is a hotfix that passed other environments by",
    )
    .next(&["towpath status"]),
    on(
        "gates.overridden",
        Warning,
        "takes a release past its gates",
    )
    .next(&["towpath events"]),
    on("environment.destroyed", Warning, "was destroyed"),
    on("environment.expiring", Info, "is a preview, and goes soon").next(&["towpath env extend"]),
    on(
        "environment.expired",
        Info,
        "was a preview, and its time is over",
    ),
    on(
        "environment.drifted",
        Warning,
        "was changed by another hand",
    )
    .next(LOOK),
    on("instance.exited", Warning, "ended by itself")
        .next(LOOK)
        .begins(SERVICE),
    on("instance.unhealthy", Warning, "is not well")
        .next(LOOK)
        .begins(SERVICE),
    on("instance.healthy", Info, "is well").ends(SERVICE),
    on("approval.requested", Warning, "waits for an approval")
        .next(&["towpath approve", "towpath reject"]),
    on("approval.given", Info, "was approved"),
    on("approval.rejected", Warning, "was rejected"),
    on("delivery.failed", Warning, "could not be delivered"),
    on("reference.refused", Warning, "was refused"),
    on("run.failed", Warning, "failed")
        .next(&["towpath runs show"])
        .begins(RUN),
    on("run.succeeded", Info, "succeeded").ends(RUN),
    on("run.cancelled", Info, "was cancelled"),
];

/// Begins a row about the end of a deployment.
const fn ended(to: &'static str, severity: Severity, says: &'static str) -> Kind {
    on("deployment.ended", severity, says).to(to)
}

/// Returns the kind of message that an event makes; `None` for one that nobody is told of.
pub fn kind_of(event: &Event, facts: &Facts) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| {
        kind.what == event.what
            && kind.to.is_none_or(|to| event.to.as_deref() == Some(to))
            && kind.rollback.is_none_or(|wanted| wanted == facts.rollback)
    })
}

/// Tells whether a word of a target's `on` means some kind.
pub(crate) fn is_known(word: &str) -> bool {
    KINDS.iter().any(|kind| fits(word, kind.word))
}

/// Tells whether a word of a target's `on` means this kind.
pub(super) fn fits(wanted: &str, word: &str) -> bool {
    let all = wanted.strip_suffix(".*");
    wanted == word
        || all.is_some_and(|family| {
            word.strip_prefix(family)
                .is_some_and(|rest| rest.starts_with('.'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_means_a_whole_family_and_nothing_beside_it() {
        assert!(fits("deployment.*", "deployment.failed"));
        assert!(!fits("deploy.*", "deployment.failed"));
        assert!(!fits("deployment.*", "run.failed"));
        assert!(is_known("approval.*") && !is_known("nothing.*"));
    }

    #[test]
    fn what_ends_a_problem_is_never_worse_than_what_begins_one() {
        for kind in KINDS {
            match kind.problem {
                Some(Problem::Begins(_)) => assert!(kind.severity >= Severity::Warning),
                Some(Problem::Ends(_)) => assert!(kind.severity <= Severity::Warning),
                None => {}
            }
        }
    }
}
