//! Synchronization for several modules: locking without poison, permits, and a latch.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

/// Locks a mutex and ignores poison. No user code runs under these locks, so a poisoned lock still protects consistent
/// data.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on a condition variable, for at most `limit` if there is one. Ignores poison as [`lock`] does.
pub(crate) fn wait<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    limit: Option<Duration>,
) -> MutexGuard<'a, T> {
    match limit {
        None => changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(limit) => {
            let waited = changed.wait_timeout(guard, limit);
            waited.unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

/// A counting semaphore that never blocks: up to `limit` permits are in use at the same time.
#[derive(Debug)]
pub(crate) struct Permits {
    limit: usize,
    in_use: AtomicUsize,
}

impl Permits {
    pub(crate) fn new(limit: usize) -> Permits {
        let in_use = AtomicUsize::new(0);
        Permits { limit, in_use }
    }

    /// Returns a permit, or `None` if all permits are in use.
    pub(crate) fn try_acquire(&self) -> Option<Permit<'_>> {
        let one_more = |in_use| (in_use < self.limit).then_some(in_use + 1);
        self.in_use
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()
            .map(|_| Permit(self))
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }
}

/// One of the [`Permits`]. Dropping this value releases the permit.
#[derive(Debug)]
pub(crate) struct Permit<'a>(&'a Permits);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An event that happens once, and wakes every thread that waits for it.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    state: Mutex<LatchState>,
    /// Made for the first thread that waits, because most latches of a client are never waited for.
    receiver: OnceLock<Receiver<Infallible>>,
}

#[derive(Debug, Default)]
struct LatchState {
    is_set: bool,
    /// Dropped when the latch is set, which disconnects the receiver.
    sender: Option<Sender<Infallible>>,
}

impl Latch {
    pub(crate) fn new() -> Latch {
        Latch::default()
    }

    pub(crate) fn set(&self) {
        let mut state = lock(&self.state);
        state.is_set = true;
        state.sender = None;
    }

    pub(crate) fn is_set(&self) -> bool {
        lock(&self.state).is_set
    }

    /// Waits until the latch is set, for at most `limit`. Returns whether the latch is set.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        self.receiver().recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }

    /// Returns a channel that disconnects when the latch is set. Nothing is ever sent on it.
    pub(crate) fn receiver(&self) -> &Receiver<Infallible> {
        self.receiver.get_or_init(|| {
            let (sender, receiver) = crossbeam_channel::bounded(0);
            let mut state = lock(&self.state);
            // Once the latch is set, the sender is dropped here instead.
            state.sender = Some(sender).filter(|_| !state.is_set);
            receiver
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[test]
    fn latch_wakes_threads_that_wait_before_and_after_it_is_set() {
        let latch = Latch::new();
        assert!(!latch.wait(Duration::ZERO) && !latch.is_set());
        let before = latch.receiver().clone();
        latch.set();
        assert_eq!(
            before.try_recv(),
            Err(crossbeam_channel::TryRecvError::Disconnected)
        );
        assert!(latch.wait(Duration::ZERO) && latch.is_set());
        let late = Latch::new();
        late.set();
        assert!(
            late.wait(Duration::ZERO),
            "the first thread waits afterwards"
        );
    }

    /// The channel is made by the first thread that waits, which may be at the moment when the latch is set.
    #[test]
    fn latch_that_is_set_while_its_channel_is_made_wakes() {
        for round in 0..1000 {
            let (latch, start) = (Latch::new(), Barrier::new(2));
            thread::scope(|scope| {
                scope.spawn(|| {
                    start.wait();
                    latch.set();
                });
                start.wait();
                assert!(latch.wait(DEADLINE), "round {round}");
            });
        }
    }
}
