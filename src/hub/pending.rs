//! [`PendingMessages`]: what of one topic waits for one client, in order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::message::TopicMessage;
use super::policy::SoftLimit;
use crate::clock;
use crate::connection::write::frame::EncodedFrame;

/// Places in a lane that are kept for the next message.
const KEPT: usize = 4;

#[derive(Debug, Default)]
pub(super) struct PendingMessages {
    pub(super) waiting: VecDeque<Waiting>,
    /// How many have left at the front: what `keys` counts from.
    pub(super) left: u64,
    /// The place of each key that waits, for a conflating topic.
    pub(super) keys: HashMap<Option<Arc<str>>, u64>,
    /// Tickets in the client's queue.
    pub(super) tickets: usize,
    /// The client's queue owes this lane a visit.
    pub(super) owed: bool,
    /// The last id that the client got, or was told that it will not come.
    pub(super) told: u64,
    /// The last id that was offered.
    pub(super) offered: u64,
    /// A conflating topic's: it was full, and has not been empty since.
    pub(super) crowded: bool,
    /// Over the soft limit since; 0: it is not.
    pub(super) over_since: u64,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) frame: EncodedFrame,
    pub(super) id: u64,
    pub(super) key: Option<Arc<str>>,
    /// Ids before it may never come without being a gap.
    pub(super) conflated: bool,
}

/// Ids that will never come, and the message after them.
pub(super) type Next = (Option<(u64, u64)>, Option<EncodedFrame>);

impl PendingMessages {
    /// The next message, and the ids that will never come before it.
    pub(super) fn next(&mut self) -> Option<Next> {
        let (up_to, message) = match self.pop() {
            Some(next) if next.conflated => {
                self.told = self.told.max(next.id);
                return Some((None, Some(next.frame)));
            }
            Some(next) => (next.id, Some(next.frame)),
            None if self.offered > self.told => (self.offered + 1, None),
            None => return None,
        };
        let (first, last) = (self.told + 1, up_to - 1);
        self.told = self.told.max(if message.is_some() { up_to } else { last });
        Some(((first <= last).then_some((first, last)), message))
    }

    /// Says whether nothing comes before the messages with the ids `first` to `last`, neither another nor the word of a
    /// gap. Then they have come.
    pub(super) fn pass(&mut self, first: u64, last: u64) -> bool {
        let passes = self.waiting.is_empty() && self.offered <= self.told && first == self.told + 1;
        if passes {
            (self.told, self.offered, self.over_since) = (last, last, 0);
        }
        passes
    }

    /// Where the newest with this post's key waits, in a conflating topic.
    pub(super) fn place_of(&self, post: &TopicMessage) -> Option<usize> {
        let at = self.keys.get(&post.key().cloned())?;
        Some(usize::try_from(at - self.left).expect("a place in a queue in memory"))
    }

    /// Takes out the messages that a later one of their key stands behind, and gives their sizes.
    pub(super) fn take_superseded(&mut self) -> Vec<usize> {
        let mut gone = Vec::new();
        if self.keys.len() == self.waiting.len() {
            return gone;
        }
        let (mut kept, mut keys) = (VecDeque::new(), HashMap::new());
        for (at, waiting) in (self.left..).zip(std::mem::take(&mut self.waiting)) {
            if waiting.conflated && self.keys.get(&waiting.key) != Some(&at) {
                gone.push(waiting.frame.len());
                continue;
            }
            if waiting.conflated {
                keys.insert(waiting.key.clone(), self.left + kept.len() as u64);
            }
            kept.push_back(waiting);
        }
        (self.waiting, self.keys) = (kept, keys);
        gone
    }

    /// Something was offered after the last that waits, or was told, and did not stay.
    pub(super) fn ends_in_a_gap(&self) -> bool {
        let last = self.waiting.iter().map(|waiting| waiting.id).max();
        self.offered > last.unwrap_or(0).max(self.told)
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let first = self.waiting.pop_front()?;
        if self.keys.get(&first.key) == Some(&self.left) {
            self.keys.remove(&first.key);
        }
        self.left += 1;
        self.crowded &= !self.waiting.is_empty();
        // After a burst an idle member costs no more than before.
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT {
            self.waiting = VecDeque::new();
            self.keys = HashMap::new();
        }
        Some(first)
    }

    pub(super) fn is_overdue(&mut self, soft: SoftLimit, queue: usize) -> bool {
        let now = clock::now();
        if self.waiting.len() * 100 <= queue * usize::from(soft.percent) {
            self.over_since = 0;
        } else if self.over_since == 0 {
            self.over_since = now;
        }
        self.over_since != 0 && now - self.over_since >= clock::millis(soft.duration)
    }
}
