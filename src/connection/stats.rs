//! [`MessageCounts`]: what became of messages. Nothing is lost without being counted.

/// What became of the messages offered to one outbox. At the end, `accepted = delivered + dropped +
/// discarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageCounts {
    /// Messages that were queued, or offered by a topic.
    pub accepted: u64,
    /// Messages given to the kernel whole. Equal to what the client counts, if it still reads or ended with a closing
    /// handshake; an upper bound for one that was reset.
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
