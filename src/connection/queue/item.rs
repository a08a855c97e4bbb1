//! [`QueueItem`]: what stands in a client's queue: a frame, or a ticket that is redeemed for one at the last moment.

use std::fmt;
use std::sync::Arc;

use crate::clock::Stamp;
use crate::connection::write::frame::Frame;

/// Where a topic keeps what it has for one client, until the writer comes for it.
pub(crate) trait TopicSource: Send + Sync + fmt::Debug {
    /// The next message. `None`: there is none any more for this ticket.
    fn redeem(&self, purpose: Purpose) -> Option<Redeemed>;
    /// For a lane that the channel owes tickets: as `redeem`, and whether there is still more without a ticket.
    fn redeem_owed(&self, purpose: Purpose) -> (Option<Redeemed>, bool);
    /// What was redeemed has been given to the kernel whole, or never will be.
    fn settled(&self, delivered: bool);
}

/// What will become of what is taken out of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Send,
    /// Nobody will read what was left out, so it is not put into words, which is the user's code.
    Discard,
}

/// What a ticket stood for.
#[derive(Debug)]
pub(crate) struct Redeemed {
    /// A word about what was left out, to be sent before it; it counts as no message.
    pub(crate) notice: Option<Frame>,
    pub(crate) message: Option<(Frame, Stamp)>,
}

/// What the writer takes out of the queue.
#[derive(Debug)]
pub(crate) struct Popped {
    pub(crate) notice: Option<Frame>,
    pub(crate) message: Option<Due>,
}

/// A message whose turn has come.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) frame: Frame,
    pub(crate) queued: Stamp,
    /// The topic's, for a message that was redeemed for a ticket.
    pub(crate) lane: Option<Arc<dyn TopicSource>>,
}

#[derive(Debug)]
pub(crate) enum QueueItem {
    Frame(Frame, Stamp),
    Ticket(Arc<dyn TopicSource>),
}

impl Redeemed {
    pub(crate) fn of(self, lane: Arc<dyn TopicSource>) -> Popped {
        Popped {
            notice: self.notice,
            message: self.message.map(|(frame, queued)| Due {
                frame,
                queued,
                lane: Some(lane),
            }),
        }
    }
}

impl QueueItem {
    pub(crate) fn into_frame(self) -> Frame {
        match self {
            QueueItem::Frame(frame, _) => frame,
            QueueItem::Ticket(_) => unreachable!("only frames are placed with waiting"),
        }
    }
}
