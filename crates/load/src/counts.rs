//! What became of the requests: pure sums that can be added and subtracted. It does not count by
//! itself; the tally does.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::latency::Latency;

/// How many failures are kept with their text.
pub(crate) const NOTES_KEPT: usize = 64;

/// The sums of one stream, of all streams, or of one phase.
///
/// `sent = ok + failed.total() + own_errors() + in_flight()`. A WebSocket session counts as one
/// request that ends with the session, and each of its messages as another.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Requests started.
    pub sent: u64,
    /// Requests answered as they should be.
    pub ok: u64,
    /// Requests lost, by reason.
    pub failed: Failures,
    /// What each version of the app answered, by the value of its version header.
    pub by_version: BTreeMap<String, Answers>,
    /// From the intended start to the end, of requests that were answered. A request that had to
    /// wait for its turn has waited for its user too. Includes one to two milliseconds of the timer's
    /// grain, which `service_time` does not.
    pub latency: Latency,
    /// From the actual start to the end, of requests that were answered.
    pub service_time: Latency,
    /// What became of WebSocket sessions.
    pub sessions: Sessions,
    /// Kept connections that turned out to be closed before anything was written on them.
    pub reconnects: u64,
    /// The latest failures, oldest first.
    pub last_failures: VecDeque<FailureNote>,
}

/// Requests that were lost, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failures {
    /// No connection could be made.
    pub connect: u64,
    /// The connection ended before the answer did.
    pub reset: u64,
    /// No complete answer in time.
    pub timeout: u64,
    /// Answered 4xx.
    pub status_4xx: u64,
    /// Answered 5xx by something other than the app: without its version header.
    pub status_5xx: u64,
    /// Answered with a body that does not contain what it should.
    pub wrong_body: u64,
    /// Answered with something that is not HTTP or WebSocket.
    pub protocol: u64,
}

/// What one version of the app answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// All answers.
    pub answered: u64,
    /// Those that were 5xx: the version's own, and no lost request.
    pub server_errors: u64,
    /// When the latest request that it answered was sent, since the start of the load.
    pub last_sent_at: Duration,
}

/// WebSocket sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sessions {
    /// Handshakes that succeeded.
    pub opened: u64,
    /// Sessions that the server ended with a close frame (1000, 1001 or without a code). Not a
    /// failure: the session is opened again.
    pub closed_by_server: u64,
    /// Messages that such an end left unanswered and that were sent again.
    pub resent: u64,
}

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailureNote {
    /// When it was seen, since the start of the load.
    pub at: Duration,
    /// The stream's name.
    pub stream: String,
    /// The reason under which it is counted.
    pub kind: FailureKind,
    /// What happened, for a person.
    pub text: String,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No connection could be made.
    Connect,
    /// The connection ended before the answer did.
    Reset,
    /// No complete answer in time.
    Timeout,
    /// Answered 4xx.
    Status4xx,
    /// Answered 5xx, but not by the app.
    Status5xx,
    /// Answered with the wrong body.
    WrongBody,
    /// Answered with something that is not HTTP or WebSocket.
    Protocol,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Status4xx => "status 4xx",
            Self::Status5xx => "status 5xx",
            Self::WrongBody => "wrong body",
            Self::Protocol => "protocol",
        })
    }
}

impl Failures {
    /// All lost requests.
    pub fn total(&self) -> u64 {
        let Self {
            connect,
            reset,
            timeout,
            status_4xx,
            status_5xx,
            wrong_body,
            protocol,
        } = self;
        connect + reset + timeout + status_4xx + status_5xx + wrong_body + protocol
    }

    pub(crate) fn of(&mut self, kind: FailureKind) -> &mut u64 {
        match kind {
            FailureKind::Connect => &mut self.connect,
            FailureKind::Reset => &mut self.reset,
            FailureKind::Timeout => &mut self.timeout,
            FailureKind::Status4xx => &mut self.status_4xx,
            FailureKind::Status5xx => &mut self.status_5xx,
            FailureKind::WrongBody => &mut self.wrong_body,
            FailureKind::Protocol => &mut self.protocol,
        }
    }

    fn zip(self, other: Self, with: fn(u64, u64) -> u64) -> Self {
        Self {
            connect: with(self.connect, other.connect),
            reset: with(self.reset, other.reset),
            timeout: with(self.timeout, other.timeout),
            status_4xx: with(self.status_4xx, other.status_4xx),
            status_5xx: with(self.status_5xx, other.status_5xx),
            wrong_body: with(self.wrong_body, other.wrong_body),
            protocol: with(self.protocol, other.protocol),
        }
    }
}

impl Sessions {
    fn zip(self, other: Self, with: fn(u64, u64) -> u64) -> Self {
        Self {
            opened: with(self.opened, other.opened),
            closed_by_server: with(self.closed_by_server, other.closed_by_server),
            resent: with(self.resent, other.resent),
        }
    }
}

impl Counts {
    /// Requests that the app itself answered 5xx, whatever its version.
    pub fn own_errors(&self) -> u64 {
        self.by_version
            .values()
            .map(|answers| answers.server_errors)
            .sum()
    }

    /// Requests started and not ended. Of a phase: zero when it ended more than it started.
    pub fn in_flight(&self) -> u64 {
        self.sent
            .saturating_sub(self.ok + self.failed.total() + self.own_errors())
    }

    /// The sums of what happened after `earlier`, an older snapshot of the same load. A request is
    /// sent in one phase and may end in the next.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let minus = u64::saturating_sub;
        let failed = self.failed.zip(earlier.failed, minus);
        let new_notes = usize::try_from(failed.total()).unwrap_or(usize::MAX);
        let old_notes = self.last_failures.len().saturating_sub(new_notes);
        Self {
            sent: minus(self.sent, earlier.sent),
            ok: minus(self.ok, earlier.ok),
            failed,
            by_version: self
                .by_version
                .iter()
                .map(|(version, answers)| (version, answers.since(earlier.by_version.get(version))))
                .filter(|(_, answers)| answers.answered > 0)
                .map(|(version, answers)| (version.clone(), answers))
                .collect(),
            latency: self.latency.since(&earlier.latency),
            service_time: self.service_time.since(&earlier.service_time),
            sessions: self.sessions.zip(earlier.sessions, minus),
            reconnects: minus(self.reconnects, earlier.reconnects),
            last_failures: self.last_failures.iter().skip(old_notes).cloned().collect(),
        }
    }

    /// Adds the sums of another stream.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.ok += other.ok;
        self.failed = self.failed.zip(other.failed, u64::saturating_add);
        for (version, answers) in &other.by_version {
            self.by_version
                .entry(version.clone())
                .or_default()
                .add(*answers);
        }
        self.latency.add(&other.latency);
        self.service_time.add(&other.service_time);
        self.sessions = self.sessions.zip(other.sessions, u64::saturating_add);
        self.reconnects += other.reconnects;
        self.last_failures
            .extend(other.last_failures.iter().cloned());
        self.last_failures
            .make_contiguous()
            .sort_by_key(|note| note.at);
        let surplus = self.last_failures.len().saturating_sub(NOTES_KEPT);
        self.last_failures.drain(..surplus);
    }
}

impl Answers {
    fn since(self, earlier: Option<&Self>) -> Self {
        let earlier = earlier.copied().unwrap_or_default();
        Self {
            answered: self.answered.saturating_sub(earlier.answered),
            server_errors: self.server_errors.saturating_sub(earlier.server_errors),
            last_sent_at: self.last_sent_at,
        }
    }

    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.server_errors += other.server_errors;
        self.last_sent_at = self.last_sent_at.max(other.last_sent_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(at_ms: u64) -> FailureNote {
        FailureNote {
            at: Duration::from_millis(at_ms),
            stream: "plain".to_owned(),
            kind: FailureKind::Reset,
            text: "gone".to_owned(),
        }
    }

    #[test]
    fn a_phase_has_only_its_own_sums_versions_and_notes() {
        let answers = |answered, server_errors| Answers {
            answered,
            server_errors,
            last_sent_at: Duration::from_secs(1),
        };
        let earlier = Counts {
            sent: 10,
            ok: 8,
            failed: Failures {
                reset: 1,
                ..Failures::default()
            },
            by_version: BTreeMap::from([("1".to_owned(), answers(8, 0))]),
            last_failures: VecDeque::from([note(1)]),
            ..Counts::default()
        };
        let mut later = earlier.clone();
        later.sent = 30;
        later.ok = 20;
        later.failed.reset = 3;
        later.by_version.insert("2".to_owned(), answers(14, 2));
        later.last_failures.extend([note(2), note(3)]);

        let phase = later.since(&earlier);
        assert_eq!((phase.sent, phase.ok, phase.failed.total()), (20, 12, 2));
        assert_eq!(phase.own_errors(), 2);
        assert_eq!(phase.by_version.keys().collect::<Vec<_>>(), ["2"]);
        assert_eq!(phase.last_failures, [note(2), note(3)]);
        assert_eq!(later.in_flight(), 30 - 20 - 3 - 2);
    }

    #[test]
    fn added_notes_are_in_order_and_bounded() {
        let mut sum = Counts {
            last_failures: (0..60).map(|n| note(n * 2)).collect(),
            ..Counts::default()
        };
        let other = Counts {
            last_failures: (0..60).map(|n| note(n * 2 + 1)).collect(),
            ..Counts::default()
        };
        sum.add(&other);
        assert_eq!(sum.last_failures.len(), NOTES_KEPT);
        assert_eq!(sum.last_failures.back(), Some(&note(119)));
        assert!(sum.last_failures.iter().is_sorted_by_key(|note| note.at));
    }
}
