//! The system's clock. Everything else takes time from a port.

use jiff::Timestamp;
use towpath_model::port::Clock;

/// The system's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
