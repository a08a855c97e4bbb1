//! [`SwitchPoint`]: a place where loom must try to run another thread.

use loom::sync::atomic::{AtomicU8, Ordering};

/// Stands before each access to an atomic that threads both read and write.
///
/// loom compares an access with the last access to the same atomic only. So when a thread reads the atomic and then
/// writes it, its own read hides an earlier read by another thread, and loom does not try the write before that read.
/// Every access to a `SwitchPoint` is a write. `Relaxed` orders nothing, so the product's own orderings are not made
/// stronger.
#[derive(Debug, Default)]
pub(crate) struct SwitchPoint(AtomicU8);

impl SwitchPoint {
    pub(crate) fn reach(&self) {
        self.0.fetch_add(0, Ordering::Relaxed);
    }
}
