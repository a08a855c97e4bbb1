//! [`Accounts`]: what became of messages. Nothing is lost without being counted.

/// What became of the messages offered to one outbox. At the end, `accepted = delivered + dropped +
/// discarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Accounts {
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

impl std::ops::Add for Accounts {
    type Output = Accounts;

    fn add(self, other: Accounts) -> Accounts {
        Accounts {
            accepted: self.accepted + other.accepted,
            delivered: self.delivered + other.delivered,
            dropped: self.dropped + other.dropped,
            discarded: self.discarded + other.discarded,
        }
    }
}
