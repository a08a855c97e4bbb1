//! [`MessageCounts`]: what became of messages. No message is lost without being counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of the messages offered to one outbox. Once the connection has ended,
/// `accepted = delivered + dropped + discarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageCounts {
    /// Messages that were queued, or offered by a topic.
    pub accepted: u64,
    /// Messages that were given to the kernel whole. For a client that still reads, or that ended with a closing
    /// handshake, this is what the client counts; for one that was reset it is an upper bound.
    pub delivered: u64,
    /// Messages that a topic's policy dropped.
    pub dropped: u64,
    /// Messages that were still queued when the connection ended.
    pub discarded: u64,
}

impl std::ops::Add for MessageCounts {
    type Output = MessageCounts;

    fn add(self, other: MessageCounts) -> MessageCounts {
        MessageCounts {
            accepted: self.accepted + other.accepted,
            delivered: self.delivered + other.delivered,
            dropped: self.dropped + other.dropped,
            discarded: self.discarded + other.discarded,
        }
    }
}

/// The counters behind [`MessageCounts`].
#[derive(Debug, Default)]
pub(crate) struct MessageCounters {
    pub(crate) accepted: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) discarded: AtomicU64,
}

impl MessageCounters {
    /// Returns the counts. The fates are read before `accepted`, so they never add up to more than it.
    pub(crate) fn read(&self) -> MessageCounts {
        let delivered = self.delivered.load(Ordering::Acquire);
        let discarded = self.discarded.load(Ordering::Acquire);
        let dropped = self.dropped.load(Ordering::Acquire);
        MessageCounts {
            accepted: self.accepted.load(Ordering::Acquire),
            delivered,
            dropped,
            discarded,
        }
    }
}
