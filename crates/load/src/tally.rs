//! Counts the outcomes of one stream while it runs. It knows nothing of sockets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::counts::{Counts, FailureKind, FailureNote, NOTES_KEPT};
use crate::pulse::Pulse;

/// More versions than any run has; beyond it answers count under [`OTHER_VERSION`].
const VERSIONS_KEPT: usize = 64;
const OTHER_VERSION: &str = "other";

/// How one request ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was answered as it should be.
    Good {
        /// The version that answered, if it said so.
        version: Option<String>,
    },
    /// The app answered 5xx and said which version it is.
    OwnError {
        /// The version that answered.
        version: String,
    },
    /// It was lost.
    Lost {
        /// Why.
        kind: FailureKind,
        /// What happened, for a person.
        text: String,
        /// The version that answered, if one did.
        version: Option<String>,
    },
}

impl Outcome {
    pub(crate) fn lost(kind: FailureKind, text: impl Into<String>) -> Self {
        Self::Lost {
            kind,
            text: text.into(),
            version: None,
        }
    }
}

/// When a request was meant to start, and when it did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) intended: Instant,
    pub(crate) actual: Instant,
}

/// The running sums of one stream.
#[derive(Debug)]
pub(crate) struct Tally {
    stream: String,
    origin: Instant,
    counts: Mutex<Counts>,
    pulse: Arc<Pulse>,
}

impl Tally {
    pub(crate) fn new(stream: &str, origin: Instant, pulse: Arc<Pulse>) -> Self {
        Self {
            stream: stream.to_owned(),
            origin,
            counts: Mutex::default(),
            pulse,
        }
    }

    pub(crate) fn snapshot(&self) -> Counts {
        self.lock().clone()
    }

    pub(crate) fn sent(&self) {
        self.lock().sent += 1;
    }

    pub(crate) fn reconnected(&self) {
        self.lock().reconnects += 1;
    }

    /// Counts a request that ended now.
    pub(crate) fn ended(&self, start: Start, outcome: Outcome) {
        let now = Instant::now();
        let mut counts = self.lock();
        if !matches!(outcome, Outcome::Lost { .. }) {
            counts
                .latency
                .record(now.saturating_duration_since(start.intended));
            counts
                .service_time
                .record(now.saturating_duration_since(start.actual));
        }
        self.count(&mut counts, start.actual, outcome, now);
    }

    /// Counts the end of a WebSocket session, whose length is no latency.
    pub(crate) fn session_ended(&self, opened_at: Instant, outcome: Outcome) {
        let mut counts = self.lock();
        self.count(&mut counts, opened_at, outcome, Instant::now());
    }

    pub(crate) fn session_opened(&self) {
        self.lock().sessions.opened += 1;
    }

    pub(crate) fn session_closed_by_server(&self) {
        self.lock().sessions.closed_by_server += 1;
    }

    pub(crate) fn resent(&self) {
        self.lock().sessions.resent += 1;
    }

    fn count(&self, counts: &mut Counts, sent_at: Instant, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Good { version } => {
                counts.ok += 1;
                self.pulse.beat(now.saturating_duration_since(self.origin));
                self.answered(counts, version, sent_at, 0);
            }
            Outcome::OwnError { version } => self.answered(counts, Some(version), sent_at, 1),
            Outcome::Lost {
                kind,
                text,
                version,
            } => {
                *counts.failed.of(kind) += 1;
                self.answered(counts, version, sent_at, 0);
                if counts.last_failures.len() == NOTES_KEPT {
                    counts.last_failures.pop_front();
                }
                let at = now.saturating_duration_since(self.origin);
                let stream = self.stream.clone();
                counts.last_failures.push_back(FailureNote {
                    at,
                    stream,
                    kind,
                    text,
                });
            }
        }
    }

    fn answered(&self, counts: &mut Counts, by: Option<String>, sent_at: Instant, errors: u64) {
        let Some(mut version) = by else { return };
        if counts.by_version.len() >= VERSIONS_KEPT && !counts.by_version.contains_key(&version) {
            OTHER_VERSION.clone_into(&mut version);
        }
        let answers = counts.by_version.entry(version).or_default();
        answers.answered += 1;
        answers.server_errors += errors;
        let at = sent_at.saturating_duration_since(self.origin);
        answers.last_sent_at = answers.last_sent_at.max(at);
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Sums are valid after every statement, so a panic elsewhere cannot have broken them.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
