//! [`QueueItem`]: an entry of a client's queue. An entry is a frame, or a ticket that is exchanged for a frame just
//! before writing.

use std::fmt;
use std::sync::Arc;

use crate::connection::write::frame::EncodedFrame;

/// Where a ticket is exchanged for a message: one topic's pending messages for one client, or one message with a receipt.
/// Until the writing thread takes a message, its topic may drop or replace it.
pub(crate) trait TopicSource: Send + Sync + fmt::Debug {
    /// Takes the next message in exchange for a ticket. Returns `None` if no message is pending any more.
    fn take_next(self: Arc<Self>, purpose: Purpose) -> Option<Outgoing>;

    /// Takes the next message of a topic on the overflow list. Also returns whether the topic must stay on the list.
    fn take_overflow(self: Arc<Self>, purpose: Purpose) -> (Option<Outgoing>, bool);

    /// Records that a message of this source is finished: it was delivered, or it was discarded.
    fn finished(&self, delivered: bool);
}

/// Why a message is taken out of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be written.
    Send,
    /// To be counted as discarded. No gap notice is built, because that would call user code for a text that nobody
    /// reads.
    Discard,
}

/// One entry taken from a queue: a notice, a message, or both. An entry with neither is a checkpoint. Its `source` is told
/// when everything ahead of it is written, or discarded.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Tells the client which messages of the topic were left out before this one. A notice is not counted as a
    /// message.
    pub(crate) notice: Option<EncodedFrame>,
    pub(crate) message: Option<EncodedFrame>,
    /// The source of the message, whose [`TopicSource::finished`] must be called later. `None` for a message that was
    /// sent without a receipt.
    pub(crate) source: Option<Arc<dyn TopicSource>>,
}

impl Outgoing {
    pub(crate) fn is_checkpoint(&self) -> bool {
        self.notice.is_none() && self.message.is_none()
    }
}

#[derive(Clone, Debug)]
pub(crate) enum QueueItem {
    Frame(EncodedFrame),
    Ticket(Arc<dyn TopicSource>),
}
