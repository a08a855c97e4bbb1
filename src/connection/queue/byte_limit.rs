//! [`ByteLimit`]: the byte gate of one outbox.

use std::sync::{Condvar, Mutex};
use std::time::Instant;

use crate::clock::lock;
use crate::connection::queue::send_queue::Wait;

/// Lets bytes in while there is room for them; when nothing is in use, a message of any size goes alone.
#[derive(Debug)]
pub(crate) struct ByteLimit {
    limit: usize,
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inside {
    used: usize,
    /// How many wait, so that leaving without anybody waiting costs no wake-up.
    waiting: usize,
    ended: bool,
}

/// What became of a request to let bytes in without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    In,
    Full,
    Closed,
}

pub(crate) enum Entry {
    Passed,
    Full,
    Ended,
}

impl ByteLimit {
    pub(crate) fn new(limit: usize) -> ByteLimit {
        ByteLimit {
            limit,
            inside: Mutex::new(Inside {
                used: 0,
                waiting: 0,
                ended: false,
            }),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn enter(&self, size: usize, wait: Wait) -> Entry {
        let mut inside = lock(&self.inside);
        loop {
            if inside.ended {
                return Entry::Ended;
            }
            if inside.used == 0 || inside.used.saturating_add(size) <= self.limit {
                inside.used += size;
                return Entry::Passed;
            }
            let left = match wait {
                Wait::Never => return Entry::Full,
                Wait::Forever => None,
                Wait::Until(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    Some(left) if !left.is_zero() => Some(left),
                    _ => return Entry::Full,
                },
            };
            inside.waiting += 1;
            inside = match left {
                None => self
                    .changed
                    .wait(inside)
                    .unwrap_or_else(std::sync::PoisonError::into_inner),
                Some(left) => {
                    self.changed
                        .wait_timeout(inside, left)
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .0
                }
            };
            inside.waiting -= 1;
        }
    }

    /// Takes back what [`enter`](Self::enter) let in and was not used. Nothing has left, so nobody is woken; unless
    /// nothing is left either, for then nobody else would wake who was refused in between.
    pub(crate) fn take_back(&self, size: usize) {
        let mut inside = lock(&self.inside);
        inside.used -= size;
        if inside.used == 0 && inside.waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Lets `size` in whatever the limit says, unless it has ended.
    pub(crate) fn force(&self, size: usize) -> Admission {
        let mut inside = lock(&self.inside);
        if inside.ended {
            return Admission::Closed;
        }
        inside.used += size;
        Admission::In
    }

    /// Waits for the next [`leave`](Self::leave) or [`end`](Self::end), at most until `deadline`.
    pub(crate) fn wait_for_change(&self, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut inside = lock(&self.inside);
        if inside.ended || left.is_zero() {
            return;
        }
        inside.waiting += 1;
        inside = self
            .changed
            .wait_timeout(inside, left)
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .0;
        inside.waiting -= 1;
    }

    pub(crate) fn leave(&self, size: usize) {
        let mut inside = lock(&self.inside);
        inside.used -= size;
        if inside.waiting > 0 {
            self.changed.notify_all();
        }
    }

    pub(crate) fn end(&self) {
        lock(&self.inside).ended = true;
        self.changed.notify_all();
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn used(&self) -> usize {
        lock(&self.inside).used
    }
}
