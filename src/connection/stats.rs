//! [`MessageCounts`]: how many messages were accepted, delivered, dropped and discarded. Every accepted message is
//! counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counts of the messages offered to one outbox. Once the connection has ended, `accepted = delivered + dropped +
/// discarded`. A message that is sent as a stream counts as one.
///
/// ```
/// # fn example(outbox: &standpipe::Outbox) {
/// let counts = outbox.counts();
/// println!("{} accepted, {} delivered, {} dropped", counts.accepted, counts.delivered, counts.dropped);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageCounts {
    /// Messages that were queued or written directly, and messages that a topic offered.
    pub accepted: u64,
    /// Messages that the kernel has accepted whole. A client that read until its closing handshake received exactly
    /// this many messages. A client that was reset may have received fewer.
    pub delivered: u64,
    /// Messages that a topic's policy dropped.
    pub dropped: u64,
    /// Messages that were still queued or in flight when the connection ended.
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
    /// Returns the counts. `accepted` is read last, so the other three never add up to more than it.
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
