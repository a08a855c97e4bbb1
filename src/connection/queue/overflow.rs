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
///
/// A topic gives one message at a time. If it has more, it goes to the end of the list. So a checkpoint that comes to the
/// front goes to the end too, until no topic is left, or each topic has given as many messages as it could have had.
#[derive(Debug)]
pub(crate) struct Overflow {
    entries: Mutex<VecDeque<Entry>>,
    is_filled: AtomicBool,
    /// The number of messages that were taken while the list was not empty.
    taken: AtomicU64,
    /// The most messages that a topic can have pending, and one gap notice.
    most_pending: usize,
}

#[derive(Debug)]
struct Entry {
    source: Arc<dyn TopicSource>,
    /// How many more times a checkpoint goes to the end of the list. `None` for a topic.
    passes: Option<usize>,
}

impl Overflow {
    /// Returns the list of a queue of `capacity` messages.
    pub(crate) fn new(capacity: usize) -> Overflow {
        Overflow {
            entries: Mutex::default(),
            is_filled: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            most_pending: capacity.saturating_add(1),
        }
    }

    /// Appends a topic or a checkpoint.
    pub(crate) fn push(&self, source: Arc<dyn TopicSource>) {
        let passes = source.is_checkpoint().then_some(self.most_pending);
        let mut entries = lock(&self.entries);
        entries.push_back(Entry { source, passes });
        self.is_filled.store(true, Ordering::Release);
    }

    pub(crate) fn is_filled(&self) -> bool {
        self.is_filled.load(Ordering::Acquire)
    }

    /// Counts the next message, and returns whether it must come from this list.
    pub(crate) fn advance_turn(&self) -> bool {
        self.is_filled()
            && self
                .taken
                .fetch_add(1, Ordering::Relaxed)
                .is_multiple_of(SERVED_EVERY)
    }

    /// Takes the next message of the first topic that has one, or a checkpoint.
    pub(crate) fn take_next(&self, purpose: Purpose) -> Option<Outgoing> {
        while self.is_filled() {
            let source = {
                let mut entries = lock(&self.entries);
                let source = take_first(&mut entries);
                self.is_filled.store(!entries.is_empty(), Ordering::Release);
                source?
            };
            let (outgoing, stays) = Arc::clone(&source).take_overflow(purpose);
            if stays {
                self.push(source);
            }
            if outgoing.is_some() {
                return outgoing;
            }
        }
        None
    }
}

/// Takes out the first topic, or a checkpoint that need not wait for the topics any more.
fn take_first(entries: &mut VecDeque<Entry>) -> Option<Arc<dyn TopicSource>> {
    let has_topic = entries.iter().any(|entry| entry.passes.is_none());
    loop {
        let mut entry = entries.pop_front()?;
        match &mut entry.passes {
            Some(left) if has_topic && *left > 0 => *left -= 1,
            _ => return Some(entry.source),
        }
        entries.push_back(entry);
    }
}
