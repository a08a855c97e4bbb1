//! [`QueueItem`]: an entry of a client's queue. An entry is a frame, or a ticket that is exchanged for a frame just
//! before writing.

use std::fmt;
use std::sync::Arc;

use crate::connection::write::frame::EncodedFrame;

/// Where a ticket is exchanged for a message: one topic's pending messages for one client, one message with a receipt, or
/// one message that is sent as a stream. Until the writing thread takes a message, its topic may drop or replace it.
pub(crate) trait TopicSource: Send + Sync + fmt::Debug {
    /// Takes the next message in exchange for a ticket. Returns `None` if no message is pending any more.
    fn take_next(self: Arc<Self>, purpose: Purpose) -> Option<Outgoing>;

    /// Takes the next message of a topic on the overflow list. Also returns whether the topic must stay on the list.
    fn take_overflow(self: Arc<Self>, purpose: Purpose) -> (Option<Outgoing>, bool);

    /// Records that a message of this source is finished: it was delivered, or it was discarded. A message that is sent as a
    /// stream is told this of each fragment.
    fn finished(&self, delivered: bool);

    /// Returns whether this is a checkpoint.
    fn is_checkpoint(&self) -> bool {
        false
    }

    /// Returns the fragments, if this is a message that is sent as a stream.
    fn fragments(self: Arc<Self>) -> Option<Arc<dyn FragmentSource>> {
        None
    }
}

/// The fragments of a message that is sent as a stream. Only the holder of the write half takes them.
pub(crate) trait FragmentSource: Send + Sync + fmt::Debug {
    fn take_fragment(self: Arc<Self>) -> Fragment;
    /// Returns whether [`take_fragment`](Self::take_fragment) would return something else than [`Fragment::NotReady`].
    fn has_work(&self) -> bool;
    /// Discards the message, because no further fragment will be taken.
    fn fail(&self);
}

pub(crate) enum Fragment {
    Frame {
        frame: EncodedFrame,
        is_last: bool,
        source: Arc<dyn TopicSource>,
    },
    /// The next fragment has not been produced yet. The thread that produces it requests attention and flushes.
    NotReady,
    /// The message has been withdrawn, or the connection has ended.
    Ended,
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

/// One entry taken from a queue: a notice, a message, or both. An entry with neither is the beginning of a stream, or a
/// checkpoint, whose `source` is told when everything ahead of it is written or discarded.
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
        let is_stream = |source: &Arc<dyn TopicSource>| Arc::clone(source).fragments().is_some();
        self.notice.is_none()
            && self.message.is_none()
            && !self.source.as_ref().is_some_and(is_stream)
    }
}

#[derive(Clone, Debug)]
pub(crate) enum QueueItem {
    Frame(EncodedFrame),
    Ticket(Arc<dyn TopicSource>),
}
