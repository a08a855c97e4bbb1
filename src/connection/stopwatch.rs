//! [`Stopwatch`]: for how long something was the case, in all.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The sum of periods, in milliseconds. One thread at a time starts and stops it. Every thread can read it, also while
/// it runs.
///
/// The state is one word, so that a reader never sees one half of a change. The lowest bit is set while the stopwatch
/// runs. The other bits are the sum of the periods that have ended, minus the start of the one that has not.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch(AtomicU64);

const RUNNING: u64 = 1;

impl Stopwatch {
    /// Begins a period at the time `now`, unless one has begun.
    pub(crate) fn start(&self, now: u64) {
        let word = self.0.load(Relaxed);
        if word & RUNNING == 0 {
            self.0.store(word.wrapping_sub(now << 1) | RUNNING, Relaxed);
        }
    }

    /// Ends the period at the time `now`, if one has begun.
    pub(crate) fn stop(&self, now: u64) {
        let word = self.0.load(Relaxed);
        if word & RUNNING != 0 {
            self.0
                .store((word & !RUNNING).wrapping_add(now << 1), Relaxed);
        }
    }

    /// Returns the sum of all periods, up to now.
    pub(crate) fn total(&self, now: impl FnOnce() -> u64) -> Duration {
        let word = self.0.load(Relaxed);
        let millis = match word & RUNNING {
            0 => word >> 1,
            // The time is read after the word, so it is not before the start.
            _ => (word & !RUNNING).wrapping_add(now() << 1) >> 1,
        };
        Duration::from_millis(millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_add_up() {
        let stopwatch = Stopwatch::default();
        let total = |now| stopwatch.total(|| now).as_millis();
        assert_eq!(total(5), 0);
        stopwatch.start(100);
        stopwatch.start(150);
        assert_eq!(total(100), 0);
        assert_eq!(total(170), 70, "the period in progress counts");
        stopwatch.stop(180);
        stopwatch.stop(190);
        assert_eq!(total(1000), 80);
        stopwatch.start(200);
        assert_eq!(total(203), 83);
        stopwatch.stop(205);
        assert_eq!(total(9999), 85);
    }
}
