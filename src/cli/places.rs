//! [`Places`]: so many may do a thing at a time, and nobody waits for one.

use std::sync::atomic::{AtomicUsize, Ordering};

/// So many places.
pub(crate) struct Places(AtomicUsize);

impl Places {
    pub(crate) fn new(places: usize) -> Places {
        Places(AtomicUsize::new(places))
    }

    /// One of them, until it is dropped.
    pub(crate) fn take(&self) -> Option<Place<'_>> {
        let one_less = |left: usize| left.checked_sub(1);
        let order = Ordering::Relaxed;
        self.0
            .fetch_update(order, order, one_less)
            .ok()
            .map(|_| Place(self))
    }
}

pub(crate) struct Place<'a>(&'a Places);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}
