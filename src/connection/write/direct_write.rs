//! [`DirectWrite`]: a topic whose messages are to be written directly. [`WriteNow`]: the result of a direct write.

use std::sync::Arc;

use crate::connection::queue::item::TopicSource;

/// Messages of one topic that are to be written directly to one member, without being queued.
pub(crate) trait DirectWrite {
    /// Called when nothing in the client's queue is ahead of the messages. Records them as sent to this member and
    /// returns true, unless other messages of the same topic are still ahead of them.
    fn try_claim(&self) -> bool;
    /// Called once for each message if the socket did not accept all of them. Counts the message as accepted by the
    /// topic, and returns the topic, whose [`TopicSource::finished`] is called later.
    fn begin_in_flight(&self) -> Arc<dyn TopicSource>;
}

/// The result of a direct write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteNow {
    /// The kernel has accepted all messages.
    Written,
    /// The kernel has not accepted all of them. The rest is in flight, and the writer has been notified.
    InFlight,
    /// Nothing was written, because something is ahead or another thread holds the write half. The caller must queue
    /// the messages and then flush, even if the queue refuses them. Otherwise, messages of other threads could stay in
    /// the queue, because such a thread skips its own flush while the write half is held.
    NotWritten,
}
