//! A deadline that is moved often and reached seldom. Not a scheduler.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Moving the deadline later costs nothing: the timer is set again only when it fires too early.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watchdog {
    /// Sets the deadline to `after` from now.
    pub(crate) fn set(&mut self, after: Duration) {
        self.set_at(Instant::now() + after);
    }

    /// Sets the deadline.
    pub(crate) fn set_at(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
        if let Some(timer) = &mut self.timer
            && timer.deadline() > deadline
        {
            timer.as_mut().reset(deadline);
        }
    }

    /// Takes the deadline away.
    pub(crate) fn clear(&mut self) {
        self.deadline = None;
    }

    /// Whether a deadline is set.
    pub(crate) fn is_set(&self) -> bool {
        self.deadline.is_some()
    }

    /// Is ready when the deadline is over; never without one.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if timer.deadline() >= deadline {
                self.deadline = None;
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_deadline_set_is_the_one_that_counts() {
        let start = Instant::now();
        let mut watchdog = Watchdog::default();
        watchdog.set(Duration::from_mins(1));
        let first = poll_fn(|cx| Poll::Ready(watchdog.poll(cx).is_pending())).await;
        assert!(first);
        watchdog.set(Duration::from_secs(90));
        poll_fn(|cx| watchdog.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 90);
        watchdog.set(Duration::from_mins(1));
        poll_fn(|cx| Poll::Ready(watchdog.poll(cx).is_pending())).await;
        watchdog.set(Duration::from_secs(1));
        poll_fn(|cx| watchdog.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 91);
    }
}
