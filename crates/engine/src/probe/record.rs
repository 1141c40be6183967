//! How the outcome of a try changes a record, and whether anybody has to know at once. Pure.

use jiff::Timestamp;
use towpath_model::observation::ProbeRecord;
use towpath_model::port::ProbeTarget;

/// Whether a change of a record is worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// The first outcome, a change from good to bad or back, or one failure too many.
    Matters,
    /// More of the same.
    Same,
}

/// Enters an outcome that was there at `now`.
pub(super) fn note(
    record: Option<ProbeRecord>,
    target: &ProbeTarget,
    outcome: Result<(), String>,
    now: Timestamp,
) -> (ProbeRecord, Weight) {
    let first = record.is_none();
    let before = record.unwrap_or_default();
    let was_good = before.successes > 0;
    let Err(error) = outcome else {
        let after = ProbeRecord {
            successes: before.successes.saturating_add(1),
            failures: 0,
            counted_failures: 0,
            last_error: before.last_error,
            last_at: Some(now),
        };
        return (after, weight(first || !was_good));
    };
    let run = now.duration_since(target.since);
    // The first success ends the start period, whatever is left of it.
    let started = was_good || before.counted_failures > 0;
    let counts = started
        || std::time::Duration::try_from(run).is_ok_and(|run| run >= target.check.start_period);
    let after = ProbeRecord {
        successes: 0,
        failures: before.failures.saturating_add(1),
        counted_failures: before.counted_failures.saturating_add(u32::from(counts)),
        last_error: Some(error),
        last_at: Some(now),
    };
    let limit = target.check.retries.max(1);
    let too_many = after.counted_failures == limit && before.counted_failures < limit;
    let matters = first || was_good || too_many;
    (after, weight(matters))
}

fn weight(matters: bool) -> Weight {
    if matters {
        Weight::Matters
    } else {
        Weight::Same
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use towpath_model::workload::HealthCheck;

    use super::*;

    fn target() -> ProbeTarget {
        ProbeTarget {
            id: "shop/dev/web-1".parse().unwrap(),
            address: "127.0.0.1:1".parse().unwrap(),
            check: HealthCheck {
                start_period: Duration::from_secs(10),
                retries: 2,
                ..HealthCheck::default()
            },
            since: Timestamp::from_second(100).unwrap(),
            interval: Duration::from_secs(1),
        }
    }

    /// Enters outcomes at seconds after the start; returns what was told, and the last record.
    fn story(outcomes: &[(i64, bool)]) -> (Vec<Weight>, ProbeRecord) {
        let mut record = None;
        let mut told = Vec::new();
        for (second, good) in outcomes {
            let outcome = if *good {
                Ok(())
            } else {
                Err(format!("bad at {second}"))
            };
            let now = Timestamp::from_second(100 + second).unwrap();
            let (after, weight) = note(record, &target(), outcome, now);
            told.push(weight);
            record = Some(after);
        }
        (told, record.unwrap())
    }

    #[test]
    fn failures_count_only_after_the_start_period() {
        let (_, record) = story(&[(1, false), (9, false), (10, false)]);
        assert_eq!(
            (record.failures, record.counted_failures, record.successes),
            (3, 1, 0)
        );
        assert_eq!(record.last_error.as_deref(), Some("bad at 10"));
    }

    #[test]
    fn the_first_success_ends_the_start_period() {
        let (_, record) = story(&[(1, false), (2, true), (3, false), (4, false)]);
        assert_eq!((record.counted_failures, record.successes), (2, 0));
    }

    #[test]
    fn a_success_ends_a_row_of_failures_and_a_failure_a_row_of_successes() {
        let (_, record) = story(&[(10, false), (11, true), (12, true)]);
        assert_eq!(
            (record.failures, record.counted_failures, record.successes),
            (0, 0, 2)
        );
        assert_eq!(record.last_error.as_deref(), Some("bad at 10"));
        let (_, record) = story(&[(11, true), (12, false)]);
        assert_eq!(
            (record.failures, record.counted_failures, record.successes),
            (1, 1, 0)
        );
    }

    #[test]
    fn the_first_outcome_each_turn_and_one_failure_too_many_are_told() {
        use Weight::{Matters, Same};
        let (told, _) = story(&[
            (1, false),
            (2, false),
            (10, false),
            (11, false),
            (12, false),
        ]);
        assert_eq!(told, [Matters, Same, Same, Matters, Same]);
        let (told, _) = story(&[(1, true), (2, true), (12, false), (13, true)]);
        assert_eq!(told, [Matters, Same, Matters, Matters]);
    }
}
