//! What makes a bad release bad, chosen by `LAUNCHES_FAULT`. A real app has its own ways.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Of the faulty requests one in so many fails.
const ONE_IN: u64 = 4;
/// How much later a slow release answers.
const DELAY: Duration = Duration::from_millis(1_500);

/// A way to be a bad release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is a good one.
    None,
    /// Ends with an error instead of starting.
    CrashAtStart,
    /// Serves, but says that it is not well.
    FailHealth,
    /// Answers every fourth request with 500.
    ErrorSome,
    /// Answers 1.5 s later than it could.
    Slow,
}

/// What to do with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Serve,
    ServeLater(Duration),
    Fail,
}

impl Fault {
    pub(crate) const NAMES: &str = "one of none, crash-at-start, fail-health, error-some and slow";

    /// Decides about one request; `seen` counts the requests of this instance.
    pub(crate) fn judge(self, seen: &AtomicU64) -> Verdict {
        match self {
            Self::None | Self::CrashAtStart | Self::FailHealth => Verdict::Serve,
            Self::Slow => Verdict::ServeLater(DELAY),
            Self::ErrorSome => {
                let number = seen.fetch_add(1, Ordering::Relaxed);
                if number % ONE_IN == ONE_IN - 1 {
                    Verdict::Fail
                } else {
                    Verdict::Serve
                }
            }
        }
    }
}

impl FromStr for Fault {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "none" => Ok(Self::None),
            "crash-at-start" => Ok(Self::CrashAtStart),
            "fail-health" => Ok(Self::FailHealth),
            "error-some" => Ok(Self::ErrorSome),
            "slow" => Ok(Self::Slow),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_with_errors_fails_exactly_every_fourth_request() {
        let seen = AtomicU64::new(0);
        let failed = (0..100)
            .filter(|_| Fault::ErrorSome.judge(&seen) == Verdict::Fail)
            .count();
        assert_eq!(failed, 25);
        assert!((0..100).all(|_| Fault::None.judge(&seen) == Verdict::Serve));
    }
}
