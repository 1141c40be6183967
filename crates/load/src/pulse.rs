//! When good answers came, of all streams together: what tells how long nobody was answered. It does
//! not judge answers.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Answers whose moments are kept: several minutes of the loads that we make, in one MiB.
const KEPT: usize = 65_536;

/// The moments of good answers, on the load's clock.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<VecDeque<Duration>>);

impl Pulse {
    /// Notes a good answer.
    pub(crate) fn beat(&self, at: Duration) {
        let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if beats.len() == KEPT {
            beats.pop_front();
        }
        beats.push_back(at);
    }

    /// Returns the longest time between `since` and `until` without a good answer.
    pub(crate) fn longest_silence(&self, since: Duration, until: Duration) -> Duration {
        let mut beats: Vec<Duration> = {
            let beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let within = |at: &&Duration| **at >= since && **at <= until;
            beats.iter().filter(within).copied().collect()
        };
        // Streams note their answers side by side, so two may be in the other order.
        beats.sort_unstable();
        let ends = beats.iter().copied().chain([until]);
        let starts = [since].into_iter().chain(beats.iter().copied());
        starts
            .zip(ends)
            .map(|(start, end)| end.saturating_sub(start))
            .max()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence(beats: &[u64], since: u64, until: u64) -> u128 {
        let pulse = Pulse::default();
        for at in beats {
            pulse.beat(Duration::from_millis(*at));
        }
        let silence =
            pulse.longest_silence(Duration::from_millis(since), Duration::from_millis(until));
        silence.as_millis()
    }

    #[test]
    fn the_longest_silence_is_between_answers_or_at_an_end_of_the_time_asked_about() {
        assert_eq!(silence(&[10, 20, 90, 100], 0, 110), 70);
        assert_eq!(silence(&[90, 100], 0, 110), 90, "before the first answer");
        assert_eq!(silence(&[10, 20], 0, 110), 90, "after the last answer");
        assert_eq!(silence(&[], 5, 25), 20, "without any answer");
    }

    #[test]
    fn answers_of_another_time_and_their_order_do_not_matter() {
        assert_eq!(silence(&[10, 500, 520, 510, 540], 490, 550), 20);
    }
}
