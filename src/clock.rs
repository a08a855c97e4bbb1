//! Moments and deadlines as milliseconds in a `u64`, so that a thread can leave one in an atomic for the watchdog.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the first call in this process, counted from 1: 0 always means *not set*.
pub(crate) fn now() -> u64 {
    let ms = START.elapsed().as_millis();
    u64::try_from(ms).map_or(u64::MAX, |ms| ms.saturating_add(1))
}

/// The moment `duration` from now. Never 0, and never in the past.
pub(crate) fn after(duration: Duration) -> u64 {
    now().saturating_add(millis(duration))
}

/// A configured duration in the clock's unit.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
