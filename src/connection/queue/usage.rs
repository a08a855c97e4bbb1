//! [`Usage`]: the bytes of a client that are queued or in flight, and who waits until they are released.

use std::sync::Arc;

use crate::watch::signal::Signal;

#[derive(Debug, Default)]
pub(super) struct Usage {
    pub(super) bytes: usize,
    /// Threads that wait for bytes to be released. While there are none, `release` skips the notification.
    pub(super) waiters: usize,
    /// A handler in `select!` that waits until no bytes are in use. It is one of the waiters.
    handler: Option<Arc<Signal>>,
    pub(super) is_closed: bool,
}

impl Usage {
    /// Fires `handler` when no bytes are in use, or the queue is closed.
    pub(super) fn wake_when_empty(&mut self, handler: &Arc<Signal>) {
        if self.handler.replace(Arc::clone(handler)).is_none() {
            self.waiters += 1;
        }
        self.wake_handler();
    }

    /// Wakes the handler if no bytes are in use, or the queue is closed.
    pub(super) fn wake_handler(&mut self) {
        if (self.bytes == 0 || self.is_closed)
            && let Some(handler) = self.handler.take()
        {
            self.waiters -= 1;
            handler.fire();
        }
    }
}
