//! [`Slot`]: the place where a value lies while no thread holds it.

use std::sync::Mutex;

use crate::sync::lock;

/// Holds a value that one thread at a time takes out and puts back. The lock is held for these two moves only.
#[derive(Debug)]
pub(crate) struct Slot<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    Free(T),
    Held,
    /// The value is not wanted any more.
    Closed,
}

impl<T> Slot<T> {
    /// Returns a slot whose value is held. The first call is [`release`](Self::release).
    pub(crate) fn held() -> Slot<T> {
        Slot(Mutex::new(State::Held))
    }

    /// Returns a slot with the value in it.
    #[cfg(feature = "tls")]
    pub(crate) fn free(value: T) -> Slot<T> {
        Slot(Mutex::new(State::Free(value)))
    }

    /// Takes the value out, unless another thread holds it.
    pub(crate) fn try_acquire(&self) -> Option<T> {
        let mut slot = lock(&self.0);
        match std::mem::replace(&mut *slot, State::Held) {
            State::Free(value) => Some(value),
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Puts the value back. Returns the value if the slot is closed.
    #[must_use]
    pub(crate) fn release(&self, value: T) -> Option<T> {
        let mut slot = lock(&self.0);
        if matches!(*slot, State::Closed) {
            return Some(value);
        }
        *slot = State::Free(value);
        None
    }

    /// Closes the slot. Returns the value if no thread holds it.
    #[must_use]
    pub(crate) fn close(&self) -> Option<T> {
        match std::mem::replace(&mut *lock(&self.0), State::Closed) {
            State::Free(value) => Some(value),
            State::Held | State::Closed => None,
        }
    }
}
