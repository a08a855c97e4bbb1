//! Moments and deadlines as milliseconds in a `u64`, so that a thread can leave one in an atomic for the watchdog.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the first call in this process, counted from 1: 0 always means *not set*.
pub(crate) fn now() -> u64 {
    let ms = START.elapsed().as_millis();
    let now = u64::try_from(ms).map_or(u64::MAX, |ms| ms.saturating_add(1));
    // Written when it changes only: many threads share its cache line.
    if LATELY.load(Relaxed) != now {
        LATELY.store(now, Relaxed);
    }
    now
}

static LATELY: AtomicU64 = AtomicU64::new(1);

/// When a message was queued. Not asked of the clock, which costs more than the rest of queueing: it is the moment at
/// which any thread last asked [`now`], so it is behind by a tick of the watchdog at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp(u32);

impl Stamp {
    pub(crate) fn lately() -> Stamp {
        Stamp::of(LATELY.load(Relaxed))
    }

    /// Half a word, so that a place in a queue is a word smaller; 49 days of waiting are all it can tell.
    pub(crate) fn of(moment: u64) -> Stamp {
        Stamp(moment as u32)
    }

    /// The moment, as [`now`] counts.
    pub(crate) fn moment(self) -> u64 {
        let lately = LATELY.load(Relaxed);
        let age = (lately as u32).wrapping_sub(self.0);
        lately.saturating_sub(u64::from(age)).max(1)
    }
}

/// The moment `duration` from now. Never 0, and never in the past.
pub(crate) fn after(duration: Duration) -> u64 {
    now().saturating_add(millis(duration))
}

/// A configured duration in the clock's unit.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Locks memory that no user code runs under: a poisoned lock only says that some thread died elsewhere.
pub(crate) fn lock<T: ?Sized>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
