//! [`Permits`]: limits how many threads may do something at the same time. Nothing waits for a permit.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The permits that are left.
pub(crate) struct Permits(AtomicUsize);

impl Permits {
    pub(crate) fn new(permits: usize) -> Permits {
        Permits(AtomicUsize::new(permits))
    }

    /// Takes one permit, or returns `None` if all are in use.
    pub(crate) fn try_acquire(&self) -> Option<Permit<'_>> {
        let one_less = |left: usize| left.checked_sub(1);
        let order = Ordering::Relaxed;
        self.0
            .fetch_update(order, order, one_less)
            .ok()
            .map(|_| Permit(self))
    }
}

/// One permit. Dropping it gives it back.
pub(crate) struct Permit<'a>(&'a Permits);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}
