//! [`InHand`]: a frame that has left the queue, and not yet this process.

use std::sync::Arc;

use super::client::Client;
use super::frame::Frame;
use super::ticket::Lane;
use crate::clock::Stamp;

#[derive(Debug)]
pub(super) struct InHand {
    pub(super) frame: Frame,
    pub(super) kind: Kind,
    pub(super) queued: Stamp,
    /// The topic's, for a message that was redeemed for a ticket.
    pub(super) lane: Option<Arc<dyn Lane>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    /// A topic's word about what it left out; no message.
    Notice,
    Ping,
    Pong,
    Close,
}

impl InHand {
    /// A frame that no sender has queued.
    pub(super) fn ours(frame: Frame, kind: Kind) -> InHand {
        InHand {
            frame,
            kind,
            queued: Stamp::lately(),
            lane: None,
        }
    }

    /// It will not be sent.
    pub(super) fn discard(self, client: &Client) {
        if self.kind == Kind::Data {
            client.queue.discard(self.frame.len());
            if let Some(lane) = self.lane {
                lane.settled(false);
            }
        }
    }
}
