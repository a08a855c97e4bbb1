//! [`Attention`]: tells the holder of the write half to look for more than queued messages.

use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that is set after something has been stored for the holder of the write half: a ping, a pong, a fragment, a
/// Close or the end of writing. The holder clears the flag before it checks for these. `SeqCst`, so that a later setter does not hide
/// what an earlier one has stored.
#[derive(Debug, Default)]
pub(crate) struct Attention(AtomicBool);

impl Attention {
    pub(crate) fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Clears the flag. Returns whether it was set.
    pub(crate) fn take(&self) -> bool {
        self.is_requested() && self.0.swap(false, Ordering::SeqCst)
    }
}
