//! [`KeyedQueue`]: messages in the order in which they are sent, with an index of the newest message of each key.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::connection::write::frame::EncodedFrame;

/// Slots whose memory an empty queue keeps for the next messages.
const KEPT_SLOTS: usize = 4;

/// A message that is pending for one member.
#[derive(Clone, Debug)]
pub(crate) struct PendingMessage {
    pub(crate) frame: EncodedFrame,
    pub(crate) id: u64,
    /// Messages without a key share one key: `None`.
    pub(crate) key: Option<Arc<str>>,
    /// The topic conflated when the message was queued. A newer message of its key may replace it, and missing ids before
    /// it are not gaps.
    pub(crate) conflated: bool,
}

/// Both kinds of message can be in the queue at the same time, because the policy of a topic may change.
#[derive(Debug, Default)]
pub(super) struct KeyedQueue {
    /// In the order in which they are sent.
    pub(super) fifo: VecDeque<PendingMessage>,
    /// The number of messages that have left at the front. A position counts from the first message ever queued, so it
    /// stays valid when messages leave.
    removed: u64,
    /// The position of the newest message of each key, if that message is conflated.
    newest: HashMap<Option<Arc<str>>, u64>,
}

impl KeyedQueue {
    pub(super) fn push(&mut self, message: PendingMessage) {
        if message.conflated {
            let position = self.removed + self.fifo.len() as u64;
            self.newest.insert(message.key.clone(), position);
        } else if !self.newest.is_empty() {
            // The policy was `conflate` before. A later conflated message of this key must not overtake this one by
            // replacing an older one.
            self.newest.remove(&message.key);
        }
        self.fifo.push_back(message);
    }

    pub(super) fn pop(&mut self) -> Option<PendingMessage> {
        let first = self.fifo.pop_front()?;
        if self.newest.get(&first.key) == Some(&self.removed) {
            self.newest.remove(&first.key);
        }
        self.removed += 1;
        // After a burst, an idle member uses no more memory than before.
        if self.fifo.is_empty() && self.fifo.capacity() > KEPT_SLOTS {
            self.fifo = VecDeque::new();
            self.newest = HashMap::new();
        }
        Some(first)
    }

    /// Replaces the newest message that has the same key, at its place in the order. Returns the size of the old message,
    /// or the new message if no conflated message has its key.
    pub(super) fn replace(&mut self, message: PendingMessage) -> Result<usize, PendingMessage> {
        let Some(position) = self.newest.get(&message.key) else {
            return Err(message);
        };
        let index = usize::try_from(position - self.removed).expect("an index of a queue");
        let old = std::mem::replace(&mut self.fifo[index], message);
        Ok(old.frame.len())
    }

    /// Removes the conflated messages that are superseded by a newer message with the same key. Calls `dropped` with the
    /// size of each.
    pub(super) fn remove_superseded(&mut self, mut dropped: impl FnMut(usize)) {
        if self.newest.len() == self.fifo.len() {
            return;
        }
        let (messages, newest) = (
            std::mem::take(&mut self.fifo),
            std::mem::take(&mut self.newest),
        );
        for (position, message) in (self.removed..).zip(messages) {
            if message.conflated && newest.get(&message.key) != Some(&position) {
                dropped(message.frame.len());
                continue;
            }
            if message.conflated {
                let position = self.removed + self.fifo.len() as u64;
                self.newest.insert(message.key.clone(), position);
            }
            self.fifo.push_back(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::message::Message;

    use super::*;

    fn message(id: u64, key: &str, conflated: bool) -> PendingMessage {
        let text = Message::text("x".repeat(usize::try_from(id).expect("small")));
        PendingMessage {
            frame: EncodedFrame::data(&text),
            id,
            key: Some(key.into()),
            conflated,
        }
    }

    fn ids(queue: &mut KeyedQueue) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop().map(|message| message.id)).collect()
    }

    #[test]
    fn replaced_message_keeps_its_place() {
        let mut queue = KeyedQueue::default();
        queue.push(message(1, "gone", true));
        queue.push(message(2, "a", true));
        queue.push(message(3, "b", true));
        queue.pop();
        assert_eq!(queue.replace(message(4, "a", true)).ok(), Some(2 + 2));
        assert!(queue.replace(message(5, "gone", true)).is_err());
        assert_eq!(ids(&mut queue), [4, 3]);
    }

    #[test]
    fn superseded_messages_are_removed() {
        let mut queue = KeyedQueue::default();
        for (id, key) in [
            (1, "gone"),
            (2, "a"),
            (3, "b"),
            (4, "a"),
            (5, "b"),
            (6, "a"),
        ] {
            queue.push(message(id, key, true));
        }
        queue.pop();
        let mut sizes = Vec::new();
        queue.remove_superseded(|size| sizes.push(size));
        assert_eq!(sizes, [2 + 2, 2 + 3, 2 + 4]);
        assert!(queue.replace(message(7, "b", true)).is_ok());
        assert_eq!(ids(&mut queue), [7, 6]);
    }

    #[test]
    fn messages_of_other_policies_are_never_replaced_or_superseded() {
        let mut queue = KeyedQueue::default();
        queue.push(message(1, "a", true));
        queue.push(message(2, "a", false));
        queue.push(message(3, "b", false));
        assert!(queue.replace(message(4, "a", true)).is_err());
        queue.push(message(4, "a", true));
        queue.push(message(5, "b", false));
        queue.remove_superseded(|_| {});
        assert_eq!(ids(&mut queue), [2, 3, 4, 5]);
    }

    #[test]
    fn empty_queue_frees_the_memory_of_a_burst() {
        let mut queue = KeyedQueue::default();
        for id in 1..100 {
            queue.push(message(id, &id.to_string(), true));
        }
        assert_eq!(ids(&mut queue).len(), 99);
        assert_eq!((queue.fifo.capacity(), queue.newest.capacity()), (0, 0));
    }
}
