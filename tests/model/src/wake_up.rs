//! `write/wake_up.rs`.

use std::mem;

use loom::sync::{Condvar, Mutex};

use crate::lock;

/// Notifications that come before the writer has woken are joined into one.
#[derive(Debug, Default)]
pub(crate) struct WakeUp {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_notified: bool,
    /// The test's own: no thread will notify the writer any more.
    is_last: bool,
}

impl WakeUp {
    pub(crate) fn notify(&self) {
        lock(&self.state).is_notified = true;
        self.changed.notify_one();
    }

    /// Waits for a notification. Returns false if there is none and none will come.
    pub(crate) fn wait(&self) -> bool {
        let mut state = lock(&self.state);
        while !state.is_notified && !state.is_last {
            state = self.changed.wait(state).expect("no thread panics");
        }
        mem::take(&mut state.is_notified)
    }

    /// Lets [`wait`](Self::wait) return false once there is no notification left.
    pub(crate) fn end(&self) {
        lock(&self.state).is_last = true;
        self.changed.notify_one();
    }
}
