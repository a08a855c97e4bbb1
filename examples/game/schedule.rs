//! [`Schedule`]: when the next tick is due.

use std::time::{Duration, Instant};

/// Ticks a second.
pub(crate) const RATE: u64 = 30;

/// Further behind than this it does not catch up.
const BEHIND: Duration = Duration::from_millis(250);

/// Ticks at fixed moments after the first: each is counted from the beginning and not from the one before, so that the
/// time a tick takes, and its being late, add up to nothing.
///
/// A late tick makes no longer step: the world goes by 1/30 s each time, and the next ticks come sooner until the
/// schedule is met. After a long stop (a suspended machine, a debugger) that would be a rush through what nobody has
/// seen: then the world has stood still, and the schedule begins anew.
#[derive(Debug)]
pub(crate) struct Schedule {
    begun: Instant,
    ticks: u64,
}

impl Schedule {
    pub(crate) fn new(now: Instant) -> Schedule {
        Schedule {
            begun: now,
            ticks: 0,
        }
    }

    /// When the next tick should begin.
    pub(crate) fn due(&self) -> Instant {
        self.begun + Duration::from_nanos((self.ticks + 1) * 1_000_000_000 / RATE)
    }

    /// The tick begins now. Gives how late that is.
    pub(crate) fn begin(&mut self, now: Instant) -> Duration {
        let late = now.saturating_duration_since(self.due());
        if late > BEHIND {
            *self = Schedule::new(now);
        } else {
            self.ticks += 1;
        }
        late
    }
}
