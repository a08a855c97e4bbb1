//! [`Overflow`]: the topics that need service although the client's queue has no room for a ticket, and the checkpoints
//! behind them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::item::{Outgoing, Purpose, TopicSource};
use crate::sync::lock;

/// While the list is not empty, every eighth message comes from it. Otherwise, a topic that keeps the queue full would
/// make the topics on this list wait forever.
const SERVED_EVERY: u64 = 8;

/// A FIFO of topics and checkpoints. The callers ensure that it contains each of them at most once.
#[derive(Debug, Default)]
pub(crate) struct Overflow {
    topics: Mutex<VecDeque<Arc<dyn TopicSource>>>,
    is_filled: AtomicBool,
    /// The number of messages that were taken while the list was not empty.
    taken: AtomicU64,
}

impl Overflow {
    pub(crate) fn push(&self, topic: Arc<dyn TopicSource>) {
        let mut topics = lock(&self.topics);
        topics.push_back(topic);
        self.is_filled.store(true, Ordering::Release);
    }

    pub(crate) fn is_filled(&self) -> bool {
        self.is_filled.load(Ordering::Acquire)
    }

    /// Counts the next message, and returns whether it must come from this list.
    pub(crate) fn advance_turn(&self) -> bool {
        self.is_filled() && self.taken.fetch_add(1, Ordering::Relaxed) % SERVED_EVERY == 0
    }

    /// Takes the next message of the first topic that has one.
    pub(crate) fn take_next(&self, purpose: Purpose) -> Option<Outgoing> {
        while self.is_filled() {
            let topic = {
                let mut topics = lock(&self.topics);
                let topic = topics.pop_front();
                self.is_filled.store(!topics.is_empty(), Ordering::Release);
                topic?
            };
            let (outgoing, stays) = Arc::clone(&topic).take_overflow(purpose);
            if stays {
                self.push(topic);
            }
            if outgoing.is_some() {
                return outgoing;
            }
        }
        None
    }
}
