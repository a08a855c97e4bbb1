//! [`caught`]: the user's code, run so that a panic of it costs no more than it must.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs it. `None`: it panicked.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // It may be of the user's own type, and panic once more when it is dropped. Of what that panic carries
            // nobody knows when it would be over, so it is left where it is.
            if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                mem::forget(again);
            }
            None
        }
    }
}
