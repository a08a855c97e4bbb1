//! [`Schedule`]: how many quotes are due.

use std::time::{Duration, Instant};

/// It looks no more often than this: a thread that sleeps for 100 µs is late by as much.
const LOOK: Duration = Duration::from_millis(5);

/// Further behind than this it does not catch up: who waited for a blocked reader goes on from here, at its rate.
const BEHIND: Duration = Duration::from_millis(250);

/// So many a second, counted from the beginning and not from the one before: being late adds up to nothing.
#[derive(Debug)]
pub(crate) struct Schedule {
    per_second: u64,
    begun: Instant,
    done: u64,
    looked: Instant,
}

impl Schedule {
    pub(crate) fn new(per_second: u64, now: Instant) -> Schedule {
        Schedule {
            per_second,
            begun: now,
            done: 0,
            looked: now,
        }
    }

    /// When to look again.
    pub(crate) fn due(&self) -> Instant {
        let next = Duration::from_nanos((self.done + 1) * 1_000_000_000 / self.per_second);
        (self.begun + next).max(self.looked + LOOK)
    }

    /// How many are to be made now.
    pub(crate) fn owed(&mut self, now: Instant) -> u64 {
        self.looked = now;
        let since = now.saturating_duration_since(self.begun);
        let in_all = since.as_nanos() * u128::from(self.per_second) / 1_000_000_000;
        let owed = (in_all as u64).saturating_sub(self.done);
        if owed > 1 + self.per_second * BEHIND.as_millis() as u64 / 1000 {
            *self = Schedule::new(self.per_second, now);
            return 1;
        }
        owed
    }

    /// So many were made.
    pub(crate) fn made(&mut self, count: u64) {
        self.done += count;
    }
}
