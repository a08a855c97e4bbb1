//! [`catch_panic`] runs code that the user supplied, and catches its panics so that the calling thread continues.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls `run` and returns its result, or `None` if it panicked.
pub(crate) fn catch_panic<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(payload) => {
            // The payload may have a type of the user, and dropping it may panic too. The payload of that second panic
            // is leaked, because dropping it could panic again, and so on without end.
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                mem::forget(second);
            }
            None
        }
    }
}
