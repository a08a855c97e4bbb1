//! [`EndCallbacks`]: what the program wants to be called when a connection has ended.
//!
//! The [`Lifecycle`](super::lifecycle::Lifecycle) keeps the callbacks under the lock of its record, so that a callback is
//! either kept before the end or refused after it. They are taken out under that lock, once, and called without it.

use std::fmt;

use super::close_cause::CloseCause;

/// How many callbacks one connection may have.
pub(crate) const MOST_CALLBACKS: usize = 16;

/// A callback of [`Outbox::on_end`](crate::Outbox::on_end).
pub(crate) type EndCallback = Box<dyn FnOnce(CloseCause) + Send>;

/// The result of an attempt to add a callback.
pub(crate) enum Registration {
    /// The callback will be called at the end.
    Kept,
    /// The connection has ended already, with this cause.
    Due(EndCallback, CloseCause),
    /// The connection has too many callbacks.
    Refused(EndCallback),
}

/// The callbacks of one connection. Most connections have none, which needs no allocation.
#[derive(Default)]
pub(crate) struct EndCallbacks(Vec<EndCallback>);

impl EndCallbacks {
    /// Adds `callback`. Gives it back if there are 16 already: the caller holds a lock, under which no code of the user
    /// may run, and so no value of the user may be dropped.
    pub(crate) fn add(&mut self, callback: EndCallback) -> Registration {
        if self.0.len() >= MOST_CALLBACKS {
            return Registration::Refused(callback);
        }
        self.0.push(callback);
        Registration::Kept
    }

    /// Takes all callbacks out, in the order in which they were added.
    pub(crate) fn take(&mut self) -> Vec<EndCallback> {
        std::mem::take(&mut self.0)
    }
}

impl fmt::Debug for EndCallbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EndCallbacks").field(&self.0.len()).finish()
    }
}

/// The connection already has 16 callbacks. [`Outbox::on_end`](crate::Outbox::on_end) returns this error.
///
/// ```
/// use standpipe::Outbox;
///
/// fn watch(outbox: &Outbox) {
///     if let Err(error) = outbox.on_end(|cause| println!("ended: {cause}")) {
///         assert_eq!(error.to_string(), "the connection already has 16 end callbacks");
///     }
/// }
/// # let _ = watch;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooManyCallbacks(pub(super) ());

impl fmt::Display for TooManyCallbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the connection already has {MOST_CALLBACKS} end callbacks"
        )
    }
}

impl std::error::Error for TooManyCallbacks {}
