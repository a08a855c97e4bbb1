//! [`InFlight`]: a frame that has left the queue, and not yet this process.

use std::sync::Arc;

use crate::clock::Stamp;
use crate::connection::queue::item::TopicSource;
use crate::connection::shared::Shared;
use crate::connection::write::frame::Frame;

#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) frame: Frame,
    pub(crate) kind: Kind,
    pub(crate) queued: Stamp,
    /// The topic's, for a message that was redeemed for a ticket.
    pub(crate) lane: Option<Arc<dyn TopicSource>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    /// A topic's word about what it left out; no message.
    Notice,
    Ping,
    Pong,
    Close,
}

impl InFlight {
    /// A frame that no sender has queued.
    pub(crate) fn ours(frame: Frame, kind: Kind) -> InFlight {
        InFlight {
            frame,
            kind,
            queued: Stamp::lately(),
            lane: None,
        }
    }

    /// It will not be sent.
    pub(crate) fn discard(self, client: &Shared) {
        if self.kind == Kind::Data {
            client.queue.discard(self.frame.len());
            if let Some(lane) = self.lane {
                lane.settled(false);
            }
        }
    }
}
