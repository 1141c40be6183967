//! When each request is meant to start: evenly spaced, whatever happened to the ones before. It
//! does not wait; the pacer does.

use std::time::Duration;

use tokio::time::Instant;

/// The intended start times of one stream.
#[derive(Debug)]
pub(crate) struct Schedule {
    next: Instant,
    interval: Duration,
}

impl Schedule {
    /// Starts at `first`, `rate` times a second.
    pub(crate) fn new(first: Instant, rate: f64) -> Self {
        Self {
            next: first,
            interval: Duration::from_secs_f64(rate.recip()),
        }
    }

    /// The intended start of the next request.
    pub(crate) fn peek(&self) -> Instant {
        self.next
    }

    /// Takes the next intended start.
    pub(crate) fn take(&mut self) -> Instant {
        let taken = self.next;
        self.next += self.interval;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn starts_do_not_move_when_the_taker_is_late() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, 100.0);
        assert_eq!(schedule.take(), start);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(schedule.peek(), start + Duration::from_millis(10));
        assert_eq!(schedule.take(), start + Duration::from_millis(10));
        assert_eq!(schedule.take(), start + Duration::from_millis(20));
    }
}
