//! [`Schedule`] computes when the next tick is due.

use std::time::{Duration, Instant};

/// Ticks per second.
pub(crate) const RATE: u64 = 30;

/// A schedule that is later than this starts again from the present, instead of catching up.
const MAX_LAG: Duration = Duration::from_millis(250);

/// Ticks at fixed times, each computed from the start of the schedule. Delays of single ticks therefore do not add up.
///
/// A late tick does not make a longer step: each tick advances the world by 1/30 s, and the next ticks follow sooner
/// until the schedule is met. After a long stop (a suspended machine, a debugger), catching up would run the world at
/// high speed. The schedule then starts again, as if the world had stood still meanwhile.
#[derive(Debug)]
pub(crate) struct Schedule {
    start: Instant,
    ticks: u64,
}

impl Schedule {
    pub(crate) fn new(now: Instant) -> Schedule {
        Schedule {
            start: now,
            ticks: 0,
        }
    }

    /// Returns when the next tick should start.
    pub(crate) fn due(&self) -> Instant {
        self.start + Duration::from_nanos((self.ticks + 1) * 1_000_000_000 / RATE)
    }

    /// Starts the next tick now, and returns how late it is.
    pub(crate) fn start_tick(&mut self, now: Instant) -> Duration {
        let late = now.saturating_duration_since(self.due());
        if late > MAX_LAG {
            *self = Schedule::new(now);
        } else {
            self.ticks += 1;
        }
        late
    }
}
