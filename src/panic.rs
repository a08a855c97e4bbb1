//! [`catch_panic`] runs code that the user supplied and stops a panic of it from ending the calling thread.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `run` and returns its result, or `None` if it panicked.
pub(crate) fn catch_panic<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // The payload may be of the user's own type, whose `drop` may panic too. The payload of that second panic is
            // leaked, because dropping it could panic again, without end.
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                mem::forget(second);
            }
            None
        }
    }
}
