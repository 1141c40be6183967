//! When a message that did not arrive is tried again, and when it is given up. Not the trying.

use std::time::Duration;

use jiff::Timestamp;

use crate::instance::{after, elapsed};

/// The time before the second try; it doubles with each.
const FIRST: Duration = Duration::from_secs(5);

/// The longest time between two tries.
const LONGEST: Duration = Duration::from_mins(30);

/// A message that is older is given up: what it says is of no use any more.
const PATIENCE: Duration = Duration::from_hours(24);

/// Returns when a message is tried again that was tried so often; `None` when it is given up.
pub fn retry_at(attempts: u32, created_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
    if elapsed(created_at, now) >= PATIENCE {
        return None;
    }
    let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1));
    Some(after(now, FIRST.saturating_mul(doubled).min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_tried_for_a_day_and_less_and_less_often() {
        let created = Timestamp::UNIX_EPOCH;
        let mut now = created;
        let mut waits = Vec::new();
        let mut attempts = 1;
        while let Some(next) = retry_at(attempts, created, now) {
            waits.push(elapsed(now, next));
            now = next;
            attempts += 1;
        }
        assert_eq!(waits.first(), Some(&FIRST));
        assert!(waits.is_sorted() && waits.iter().all(|wait| *wait <= LONGEST));
        assert!(elapsed(created, now) <= PATIENCE + LONGEST);
        assert!(waits.len() < 70, "{}", waits.len());
    }

    #[test]
    fn no_number_of_attempts_is_too_large() {
        let at = Timestamp::UNIX_EPOCH;
        assert_eq!(retry_at(u32::MAX, at, at), Some(after(at, LONGEST)));
    }
}
