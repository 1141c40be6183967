//! Virtual time: whole milliseconds since the start of a simulation.

use std::time::Duration;

use jiff::Timestamp;

/// Milliseconds since the start of the simulation.
pub(super) type Ms = u64;

const EPOCH_S: i64 = 1_800_000_000;

/// Returns the moment as the model knows it.
pub(super) fn moment(at: Ms) -> Timestamp {
    let ms = i64::try_from(at).unwrap_or(i64::MAX / 2);
    Timestamp::from_millisecond(EPOCH_S * 1_000 + ms).unwrap_or(Timestamp::MAX)
}

/// Returns the virtual time of a moment, nothing when it lies before the start.
pub(super) fn since_start(moment: Timestamp) -> Ms {
    Ms::try_from(moment.as_millisecond() - EPOCH_S * 1_000).unwrap_or(0)
}

/// Returns a duration in whole milliseconds.
pub(super) fn ms(duration: Duration) -> Ms {
    Ms::try_from(duration.as_millis()).unwrap_or(Ms::MAX)
}
