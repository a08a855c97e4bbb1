//! [`Schedule`] computes how many quotes are due.

use std::time::{Duration, Instant};

/// Shortest interval between two checks. A thread that sleeps for only 100 µs wakes up late by about the same time.
const MIN_INTERVAL: Duration = Duration::from_millis(5);

/// A schedule that is later than this starts again from the present instead of catching up. This happens when the
/// generator has waited for a blocked reader.
const MAX_LAG: Duration = Duration::from_millis(250);

/// A rate, counted from the start of the schedule. Delays of single quotes therefore do not add up.
#[derive(Debug)]
pub(crate) struct Schedule {
    per_second: u64,
    start: Instant,
    done: u64,
    last_check: Instant,
}

impl Schedule {
    pub(crate) fn new(per_second: u64, now: Instant) -> Schedule {
        Schedule {
            per_second,
            start: now,
            done: 0,
            last_check: now,
        }
    }

    /// Returns when to check again.
    pub(crate) fn due(&self) -> Instant {
        let next = Duration::from_nanos((self.done + 1) * 1_000_000_000 / self.per_second);
        (self.start + next).max(self.last_check + MIN_INTERVAL)
    }

    /// Checks the schedule, and returns how many quotes are due now.
    ///
    /// The schedule starts again if it is later than [`MAX_LAG`].
    pub(crate) fn check(&mut self, now: Instant) -> u64 {
        self.last_check = now;
        let since = now.saturating_duration_since(self.start);
        let total = since.as_nanos() * u128::from(self.per_second) / 1_000_000_000;
        let due = (total as u64).saturating_sub(self.done);
        if due > 1 + self.per_second * MAX_LAG.as_millis() as u64 / 1000 {
            *self = Schedule::new(self.per_second, now);
            return 1;
        }
        due
    }

    /// Records that `count` quotes were made.
    pub(crate) fn record_made(&mut self, count: u64) {
        self.done += count;
    }
}
