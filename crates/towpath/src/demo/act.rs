//! One act of the story and what it measured.

use std::time::Duration;

use serde::Serialize;
use towpath_load::Counts;

/// What one act showed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Act {
    /// What was done.
    pub(crate) name: String,
    /// How it ended.
    pub(crate) outcome: String,
    /// Whether it ended as it should.
    pub(crate) as_it_should: bool,
    /// How long it took, in seconds.
    pub(crate) seconds: f64,
    /// Requests that were sent to production meanwhile.
    pub(crate) requests: u64,
    /// Those of them that were lost: no answer, a wrong one, or an error that no release made.
    pub(crate) failed: u64,
    /// What ended with the instance that had it when it was killed, and what nobody can take over:
    /// WebSocket sessions with their last messages, orders.
    pub(crate) cut: u64,
    /// Those that a release answered with an error of its own.
    pub(crate) own_errors: u64,
    /// The longest time in which no request was answered as it should be, in seconds.
    pub(crate) silence_seconds: f64,
    /// The last failures, in words.
    pub(crate) failures: Vec<String>,
}

impl Act {
    /// Makes the record of an act from what was counted during it. The time without an answer is
    /// not among the counts: see [`Act::with_silence`].
    pub(crate) fn new(name: &str, outcome: Outcome, took: Duration, counts: &Counts) -> Self {
        Self {
            name: name.to_owned(),
            outcome: outcome.text,
            as_it_should: outcome.as_it_should,
            seconds: took.as_secs_f64(),
            requests: counts.sent,
            failed: counts.failed.total(),
            cut: 0,
            own_errors: counts.own_errors(),
            silence_seconds: 0.0,
            failures: counts
                .last_failures
                .iter()
                .map(|note| format!("{} {}: {}", note.stream, note.kind, note.text))
                .collect(),
        }
    }

    /// Adds the longest time without an answer.
    #[must_use]
    pub(crate) fn with_silence(mut self, silence: Duration) -> Self {
        self.silence_seconds = silence.as_secs_f64();
        self
    }

    /// Counts the releases' own errors as failures: there should be none.
    #[must_use]
    pub(crate) fn without_own_errors(mut self) -> Self {
        self.failed += std::mem::take(&mut self.own_errors);
        self
    }

    /// Counts what was lost with a killed instance apart.
    #[must_use]
    pub(crate) fn with_cut(mut self, cut: u64) -> Self {
        self.cut = cut.min(self.failed);
        self.failed -= self.cut;
        self
    }

    /// Tells whether it ended as it should, and no request was lost.
    pub(crate) fn is_good(&self) -> bool {
        self.as_it_should && self.failed == 0
    }
}

/// How an act ended.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// In words.
    pub(crate) text: String,
    /// Whether it should.
    pub(crate) as_it_should: bool,
}

impl Outcome {
    /// Compares what came with what should have come.
    pub(crate) fn expect(text: &str, expected: &str) -> Self {
        Self {
            text: text.to_owned(),
            as_it_should: text == expected,
        }
    }
}
