//! [`QueueItem`]: an entry of a client's queue. An entry is a frame, or a ticket that is exchanged for a frame just
//! before writing.

use std::fmt;
use std::sync::Arc;

use crate::connection::write::frame::EncodedFrame;

/// One topic's pending messages for one client. Until the writing thread takes a message, the topic may drop or replace
/// it.
pub(crate) trait TopicSource: Send + Sync + fmt::Debug {
    /// Takes the next message in exchange for a ticket. Returns `None` if no message is pending any more.
    fn take_next(self: Arc<Self>, purpose: Purpose) -> Option<Outgoing>;

    /// Takes the next message of a topic on the overflow list. Also returns whether the topic must stay on the list.
    fn take_overflow(self: Arc<Self>, purpose: Purpose) -> (Option<Outgoing>, bool);

    /// Records that a message of this topic is finished: it was delivered, or it was discarded.
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

/// One entry taken from a queue: a notice, a message, or both.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Tells the client which messages of the topic were left out before this one. A notice is not counted as a
    /// message.
    pub(crate) notice: Option<EncodedFrame>,
    pub(crate) message: Option<EncodedFrame>,
    /// The topic of the message, whose [`TopicSource::finished`] must be called later. `None` for a message that no
    /// topic owns.
    pub(crate) source: Option<Arc<dyn TopicSource>>,
}

#[derive(Debug)]
pub(crate) enum QueueItem {
    Frame(EncodedFrame),
    Ticket(Arc<dyn TopicSource>),
}
