//! [`DirectWrite`]: a topic whose messages are written without being queued; and [`WriteNow`], what became of them.

use std::sync::Arc;

use crate::connection::queue::item::TopicSource;

/// Messages of one topic that are to be written without being queued.
pub(crate) trait DirectWrite {
    /// Called when nothing else is ahead of the messages. Records them as sent to this member and returns true, unless
    /// something of their own topic is still ahead of them.
    fn try_claim(&self) -> bool;
    /// Called for each message if the socket did not accept all of them. Counts it as accepted by the topic, and returns
    /// the topic, which is told when the message is finished.
    fn begin_in_flight(&self) -> Arc<dyn TopicSource>;
}

/// What became of a direct write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteNow {
    /// The kernel has all messages.
    Written,
    /// The kernel has some of them at most. The rest is in flight, and the writer has been notified.
    InFlight,
    /// Nothing was written: something is ahead, or another thread holds the write half. The caller must queue the
    /// messages and then flush, even if the queue refuses them.
    NotWritten,
}
