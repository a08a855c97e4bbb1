//! `queue/send_queue.rs`. The queue is a list under a lock, and it has no limit.

use std::collections::VecDeque;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering};

use crate::log::Log;
use crate::write_path::WritePath;
use crate::{Mutant, lock};

#[derive(Debug)]
pub(crate) struct SendQueue {
    items: Mutex<VecDeque<u8>>,
    /// The length of `items`, for [`is_empty`](Self::is_empty), which does not take the lock.
    length: AtomicUsize,
    usage: Mutex<Usage>,
    /// The counter of discarded messages. [`Log`] has the messages.
    discarded: AtomicUsize,
    draining: Mutex<()>,
}

#[derive(Debug, Default)]
struct Usage {
    is_closed: bool,
}

impl SendQueue {
    pub(crate) fn new() -> SendQueue {
        SendQueue {
            items: Mutex::default(),
            length: AtomicUsize::new(0),
            usage: Mutex::default(),
            discarded: AtomicUsize::new(0),
            draining: Mutex::default(),
        }
    }

    /// Queues `message`. Returns false if the queue is closed.
    pub(crate) fn push(&self, message: u8, path: &WritePath) -> bool {
        if !self.admit() {
            return false;
        }
        path.log.accepted(message);
        self.place(message);
        if !path.is(Mutant::LateSenderDoesNotDrain) {
            self.drain_if_finished(path);
        }
        true
    }

    pub(crate) fn place(&self, message: u8) {
        let mut items = lock(&self.items);
        items.push_back(message);
        self.length.fetch_add(1, Ordering::Relaxed);
    }

    fn admit(&self) -> bool {
        !lock(&self.usage).is_closed
    }

    pub(crate) fn admit_direct(&self, path: &WritePath) -> bool {
        (self.is_empty() || path.is(Mutant::DirectWritePassesQueue)) && self.admit()
    }

    pub(crate) fn pop(&self) -> Option<u8> {
        let mut items = lock(&self.items);
        let message = items.pop_front()?;
        self.length.fetch_sub(1, Ordering::Relaxed);
        Some(message)
    }

    pub(crate) fn close(&self) {
        lock(&self.usage).is_closed = true;
    }

    pub(crate) fn drain(&self, path: &WritePath) {
        let _one_at_a_time = (!path.is(Mutant::DrainDoesNotWait)).then(|| lock(&self.draining));
        while let Some(message) = self.pop() {
            self.record_discarded(message, &path.log);
        }
    }

    fn drain_if_finished(&self, path: &WritePath) {
        if path.lifecycle.is_finished() {
            self.drain(path);
        }
    }

    pub(crate) fn record_discarded(&self, message: u8, log: &Log) {
        self.discarded.fetch_add(1, Ordering::Release);
        log.discarded(message);
    }

    /// Returns the counter of discarded messages.
    pub(crate) fn counts(&self) -> usize {
        self.discarded.load(Ordering::Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length.load(Ordering::Relaxed) == 0
    }
}
