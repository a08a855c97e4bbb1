//! [`QueueItem`]: an entry of a client's queue. It is a frame, or a ticket that is exchanged for one at the last moment.

use std::fmt;
use std::sync::Arc;

use crate::connection::write::frame::EncodedFrame;

/// One topic's pending messages for one client. The topic alone may drop or replace them, until the thread that writes
/// takes the next one.
pub(crate) trait TopicSource: Send + Sync + fmt::Debug {
    /// Takes the next message in exchange for a ticket. Returns `None` if the ticket stands for nothing any more.
    fn take_next(self: Arc<Self>, purpose: Purpose) -> Option<Outgoing>;

    /// Takes the next message without a ticket, for a topic on the overflow list. Also returns whether the topic has to
    /// stay on the list.
    fn take_overflow(self: Arc<Self>, purpose: Purpose) -> (Option<Outgoing>, bool);

    /// Records that a message from this source has been given to the kernel (`delivered`), or never will be.
    fn finished(&self, delivered: bool);
}

/// Why a message is taken out of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be written.
    Send,
    /// To be counted as discarded. No gap notice is built: that would call user code for a text that nobody reads.
    Discard,
}

/// What is taken out of a queue to be written: a notice, a message, or both.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Tells the client what its topic left out before the message. It does not count as a message.
    pub(crate) notice: Option<EncodedFrame>,
    pub(crate) message: Option<EncodedFrame>,
    /// The topic that the message comes from, if it was taken in exchange for a ticket.
    pub(crate) source: Option<Arc<dyn TopicSource>>,
}

#[derive(Debug)]
pub(crate) enum QueueItem {
    Frame(EncodedFrame),
    Ticket(Arc<dyn TopicSource>),
}
