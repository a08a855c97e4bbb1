//! Moments and deadlines as milliseconds in a `u64`, so that threads can share them with the watchdog in atomics.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Returns the current moment: the milliseconds since the first call in this process, counted from 1. In an atomic, 0
/// means *not set*.
pub(crate) fn now() -> u64 {
    let ms = START.elapsed().as_millis();
    u64::try_from(ms).map_or(u64::MAX, |ms| ms.saturating_add(1))
}

/// Returns the moment `duration` from now. It is never 0, and never in the past.
pub(crate) fn after(duration: Duration) -> u64 {
    now().saturating_add(millis(duration))
}

/// Returns a duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
