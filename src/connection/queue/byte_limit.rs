//! [`ByteLimit`]: the bytes of one client that are queued or in flight, and the threads that wait for them.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use super::usage::Usage;
use crate::sync::{lock, wait};
use crate::watch::signal::Signal;

/// How long a sender is willing to wait for room.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    Never,
    Until(Instant),
    Forever,
}

/// The result of an attempt to queue a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Admitted,
    /// The queue has no room now.
    Full,
    /// The connection has ended or is closing.
    Closed,
}

#[derive(Debug)]
pub(crate) struct ByteLimit {
    /// The maximum number of bytes queued or in flight. A larger message is admitted when nothing else is queued or in
    /// flight.
    limit: usize,
    usage: Mutex<Usage>,
    /// Notified when bytes are released, and when the queue closes.
    changed: Condvar,
}

impl ByteLimit {
    pub(crate) fn new(limit: usize) -> ByteLimit {
        ByteLimit {
            limit,
            usage: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the bytes that are queued or in flight.
    pub(crate) fn bytes(&self) -> usize {
        lock(&self.usage).bytes
    }

    /// Reserves `size` bytes.
    ///
    /// # Blocking
    /// Waits as `wait` says. Woken by the writer's progress, and by [`close`](Self::close).
    pub(crate) fn admit(&self, size: usize, wait: Wait) -> Admission {
        let mut usage = lock(&self.usage);
        loop {
            if usage.is_closed {
                return Admission::Closed;
            }
            if usage.bytes == 0 || usage.bytes.saturating_add(size) <= self.limit {
                usage.bytes += size;
                return Admission::Admitted;
            }
            let left = match wait {
                Wait::Never => return Admission::Full,
                Wait::Forever => None,
                Wait::Until(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => Some(left),
                    _ => return Admission::Full,
                },
            };
            usage.waiters += 1;
            usage = self::wait(&self.changed, usage, left);
            usage.waiters -= 1;
        }
    }

    /// Reserves `size` bytes, even beyond the limit. Returns false if the queue is closed.
    pub(crate) fn admit_replacement(&self, size: usize) -> bool {
        let mut usage = lock(&self.usage);
        usage.bytes += if usage.is_closed { 0 } else { size };
        !usage.is_closed
    }

    /// Releases bytes. Waiting senders are woken only if no bytes are in use afterwards.
    pub(crate) fn cancel(&self, size: usize) {
        let mut usage = lock(&self.usage);
        usage.bytes -= size;
        if usage.bytes == 0 && usage.waiters > 0 {
            self.changed.notify_all();
            usage.wake_handler();
        }
    }

    /// Releases bytes, and wakes the waiting senders.
    pub(crate) fn release(&self, size: usize) {
        let mut usage = lock(&self.usage);
        usage.bytes -= size;
        if usage.waiters > 0 {
            self.changed.notify_all();
            usage.wake_handler();
        }
    }

    /// Fires `handler` when no bytes are in use, or the queue is closed. There is one handler per queue.
    pub(crate) fn wake_when_empty(&self, handler: &Arc<Signal>) {
        lock(&self.usage).wake_when_empty(handler);
    }

    /// Waits until bytes are released, at most until `deadline`.
    ///
    /// # Blocking
    /// Woken by the writer's progress, and by [`close`](Self::close).
    pub(crate) fn wait_for_change(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut usage = lock(&self.usage);
        if usage.is_closed || left.is_zero() {
            return;
        }
        usage.waiters += 1;
        usage = wait(&self.changed, usage, Some(left));
        usage.waiters -= 1;
    }

    /// Admits no more bytes, and wakes every thread that waits for some.
    pub(crate) fn close(&self) {
        {
            let mut usage = lock(&self.usage);
            usage.is_closed = true;
            usage.wake_handler();
        }
        self.changed.notify_all();
    }
}
