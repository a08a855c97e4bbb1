//! [`MessageCounts`]: how many messages were accepted, delivered, dropped and discarded, how many were received, and
//! the bytes both ways. Every accepted message is counted.
//!
//! The bytes and the received messages have one writer at a time, so they are stored without a locked instruction.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counts of one client: the messages offered to its outbox, and the messages that it has sent. Once the connection
/// has ended, `accepted = delivered + dropped + discarded`. A message that is sent or received as a stream counts as one.
///
/// Bytes are those of frames on the connection, inside TLS: messages, control frames, and the headers of frames. The
/// opening handshake is not included.
///
/// ```
/// # fn example(outbox: &standpipe::Outbox) {
/// let counts = outbox.counts();
/// println!("{} accepted, {} delivered, {} dropped", counts.accepted, counts.delivered, counts.dropped);
/// println!("{} bytes received, {} bytes sent", counts.received_bytes, counts.delivered_bytes);
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
    /// Bytes that the kernel has accepted, of whole frames and of frames in progress.
    pub delivered_bytes: u64,
    /// Text and binary messages that the peer has sent, and that the handler got. Also those that were discarded
    /// because the handler had returned.
    pub received: u64,
    /// Bytes that were read from the peer.
    pub received_bytes: u64,
}

impl std::ops::Add for MessageCounts {
    type Output = MessageCounts;

    fn add(self, other: MessageCounts) -> MessageCounts {
        MessageCounts {
            accepted: self.accepted + other.accepted,
            delivered: self.delivered + other.delivered,
            dropped: self.dropped + other.dropped,
            discarded: self.discarded + other.discarded,
            delivered_bytes: self.delivered_bytes + other.delivered_bytes,
            received: self.received + other.received,
            received_bytes: self.received_bytes + other.received_bytes,
        }
    }
}

/// The counters of what is sent, behind [`MessageCounts`].
#[derive(Debug, Default)]
pub(crate) struct MessageCounters {
    pub(crate) accepted: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) discarded: AtomicU64,
    delivered_bytes: AtomicU64,
}

impl MessageCounters {
    /// Counts bytes that the socket has accepted. Only the holder of the write half calls this.
    pub(crate) fn record_written(&self, bytes: usize) {
        add(&self.delivered_bytes, bytes as u64);
    }

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
            delivered_bytes: self.delivered_bytes.load(Ordering::Relaxed),
            received: 0,
            received_bytes: 0,
        }
    }
}

/// The counters of what is received, behind [`MessageCounts`]. Only the reader changes them.
#[derive(Debug, Default)]
pub(crate) struct ReceivedCounters {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl ReceivedCounters {
    pub(crate) fn record_message(&self) {
        add(&self.messages, 1);
    }

    pub(crate) fn record_read(&self, bytes: usize) {
        add(&self.bytes, bytes as u64);
    }

    /// Returns `sent` together with what was received.
    pub(crate) fn read(&self, sent: MessageCounts) -> MessageCounts {
        MessageCounts {
            received: self.messages.load(Ordering::Relaxed),
            received_bytes: self.bytes.load(Ordering::Relaxed),
            ..sent
        }
    }
}

/// Adds to a counter that has one writer at a time. Without a locked instruction, this costs next to nothing.
fn add(counter: &AtomicU64, number: u64) {
    counter.store(counter.load(Ordering::Relaxed) + number, Ordering::Relaxed);
}
