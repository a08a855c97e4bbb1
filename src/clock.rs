//! Moments and deadlines as milliseconds in a `u64`, so that threads can share them with the watchdog in atomics.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Returns the current moment: the milliseconds since the first call in this process, counted from 1. In an atomic, 0
/// means *not set*.
pub(crate) fn now() -> u64 {
    let ms = START.elapsed().as_millis();
    let now = u64::try_from(ms).map_or(u64::MAX, |ms| ms.saturating_add(1));
    // Written only when it changes, because many threads share its cache line.
    if LATELY.load(Relaxed) != now {
        LATELY.store(now, Relaxed);
    }
    now
}

/// The latest result of [`now`] in any thread.
static LATELY: AtomicU64 = AtomicU64::new(1);

/// The moment at which a message was queued.
///
/// A stamp is the latest result of [`now`] in any thread, because reading the clock would cost more than the rest of
/// queueing. It is late by at most one tick of the watchdog.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp(u32);

impl Stamp {
    /// Returns a stamp of the latest result of [`now`].
    pub(crate) fn lately() -> Stamp {
        Stamp::of(LATELY.load(Relaxed))
    }

    /// Returns the stamp of `moment`. It keeps only 32 bits, so that an entry in a queue is 8 bytes smaller. It is
    /// therefore correct only for messages that wait less than 49 days.
    pub(crate) fn of(moment: u64) -> Stamp {
        Stamp(moment as u32)
    }

    /// Returns the moment in the unit of [`now`].
    pub(crate) fn moment(self) -> u64 {
        let lately = LATELY.load(Relaxed);
        let age = (lately as u32).wrapping_sub(self.0);
        lately.saturating_sub(u64::from(age)).max(1)
    }
}

/// Returns the moment `duration` from now. It is never 0, and never in the past.
pub(crate) fn after(duration: Duration) -> u64 {
    now().saturating_add(millis(duration))
}

/// Returns a duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Locks a mutex that is never held while user code runs, and ignores poisoning. A poisoned lock only means that another
/// thread panicked: no user code can have left the data half changed.
pub(crate) fn lock<T: ?Sized>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
