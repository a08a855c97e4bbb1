//! [`LineThrottle`]: log lines that clients can cause, at most one of each kind in three seconds.
//!
//! A client that is refused or disconnected can come again immediately. Otherwise, 2,000 connections that send garbage
//! would write 277 KB. The lines that are left out are counted, and the count is logged with the next line of that kind, or
//! in a line of its own. A kind never contains text from a client, so the number of kinds is fixed.
//! Compiled into the library and into the program.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The time between two lines of one kind, in milliseconds.
pub(crate) const INTERVAL: u64 = 3000;

/// The lines of one kind that were logged and left out.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// When the last line was logged; 0 if there was none.
    logged_at: u64,
    left_out: u64,
}

impl Kind {
    const NEW: Kind = Kind {
        logged_at: 0,
        left_out: 0,
    };

    /// Returns the number of lines that were left out, if a line may be logged at `now`.
    fn try_log(&mut self, now: u64) -> Option<u64> {
        if self.logged_at != 0 && now.saturating_sub(self.logged_at) < INTERVAL {
            return None;
        }
        self.logged_at = now;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Kinds are numbers below `KINDS`.
#[derive(Debug)]
pub(crate) struct LineThrottle<const KINDS: usize>(Mutex<[Kind; KINDS]>);

impl<const KINDS: usize> LineThrottle<KINDS> {
    pub(crate) const fn new() -> LineThrottle<KINDS> {
        LineThrottle(Mutex::new([Kind::NEW; KINDS]))
    }

    fn lock(&self) -> MutexGuard<'_, [Kind; KINDS]> {
        // A panic leaves nothing half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a line at `now`. Returns the number of lines that were left out, if this one is to be logged.
    pub(crate) fn admit(&self, kind: usize, now: u64) -> Option<u64> {
        let mut kinds = self.lock();
        let kind = &mut kinds[kind];
        let admitted = kind.try_log(now);
        if admitted.is_none() {
            kind.left_out += 1;
        }
        admitted
    }

    /// Returns how many lines of each kind were left out, for the kinds whose last line is three seconds old at `now`, and
    /// 0 for the others.
    pub(crate) fn take_due(&self, now: u64) -> [u64; KINDS] {
        let mut kinds = self.lock();
        kinds.each_mut().map(|kind| match kind.left_out {
            0 => 0,
            _ => kind.try_log(now).unwrap_or(0),
        })
    }

    /// Returns how many lines of each kind were left out, and begins anew: nobody would report a line that is left out
    /// later.
    pub(crate) fn take_rest(&self) -> [u64; KINDS] {
        std::mem::replace(&mut *self.lock(), [Kind::NEW; KINDS]).map(|kind| kind.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_counts_of_a_kind_add_up() {
        let throttle = LineThrottle::<2>::new();
        let (mut lines, mut left_out) = (0, 0);
        for n in 0..6000 {
            // A line each millisecond.
            if let Some(more) = throttle.admit(1, 1 + n) {
                (lines, left_out) = (lines + 1, left_out + more);
            }
        }
        assert_eq!((lines, left_out), (2, 2999), "a line in each 3 s");
        assert_eq!(throttle.take_due(6000), [0, 0], "the last is too recent");
        assert_eq!(throttle.take_due(6001), [0, 2999]);
        assert_eq!(throttle.admit(1, 6002), None, "the count was a line too");
        assert_eq!(throttle.take_rest(), [0, 1]);
        assert_eq!(throttle.take_rest(), [0, 0], "nothing is told twice");
        assert_eq!(throttle.admit(1, 6003), Some(0), "the end begins anew");
    }
}
