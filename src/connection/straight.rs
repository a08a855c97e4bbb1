//! [`Straight`]: a message that nothing is before goes to the socket without having been queued.
//!
//! Most messages meet an empty queue and a socket with room. Going through channel and lane they would touch a dozen
//! cache lines of their client's, and in a fan-out to a thousand clients none of them is at hand: that was a fifth
//! of what a message costs. The rule of `wire.rs` is the same, *anyone may write what the socket takes at once*, and so
//! is the order: whoever has the wire and sees nothing in hand, in the queue and in the control slot has nobody before
//! it, and who queues meanwhile comes behind.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::budget::Admission;
use super::client::Client;
use super::frame::Frame;
use super::in_hand::{InHand, Kind};
use super::ticket::Lane;
use super::wire::{Wire, retry};
use crate::clock::Stamp;

/// A message that would go straight, and where it comes from.
pub(crate) trait Straight {
    fn frame(&self) -> &Frame;
    fn queued(&self) -> Stamp;
    /// Asked when nothing else is before it: whether nothing of its own topic is. After a yes it goes.
    fn passes(&self) -> bool;
    /// The socket has not taken all of it: who will be told when it has.
    fn lane(&self) -> Option<Arc<dyn Lane>>;
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Went {
    /// The kernel has it.
    Whole,
    /// The kernel has some of it at most. The rest is in hand, and the writer has been rung.
    InHand,
    /// Nothing has happened: something is before it, or another has the wire. It is to be queued; and to be flushed also
    /// when the queue refuses it, for while this looked it may have kept the wire from who had something to write.
    Nowhere,
}

impl Client {
    /// Writes a message past the queue, if nothing is before it. Never waits.
    pub(crate) fn go_straight(&self, message: &impl Straight) -> Went {
        if !self.config.early_flush {
            return Went::Nowhere;
        }
        let Some(mut wire) = self.wire.borrow() else {
            return Went::Nowhere;
        };
        let went = wire.straight(message, self);
        self.wire.give_back(wire, self);
        // Given back first, looked at then: see `wire.rs`.
        if went == Went::InHand || (went == Went::Whole && self.has_work()) {
            self.ring();
        }
        went
    }
}

impl Wire {
    fn straight(&mut self, message: &impl Straight, client: &Client) -> Went {
        let (frame, queue) = (message.frame(), &client.queue);
        if self.has_some_in_hand() || client.has_work() {
            return Went::Nowhere;
        }
        // What others queue meanwhile and this together stay within `queue_bytes`.
        if queue.admit(frame.len(), false) != Admission::In {
            return Went::Nowhere;
        }
        if !message.passes() {
            queue.return_bytes(frame.len());
            return Went::Nowhere;
        }
        queue.count_accepted();
        let (front, rest) = frame.pieces(0);
        let pieces = [IoSlice::new(front), IoSlice::new(rest)];
        let pieces = &pieces[..1 + usize::from(!rest.is_empty())];
        let written = retry(|| self.transport.try_write(pieces));
        if written
            .as_ref()
            .is_ok_and(|&written| written == frame.len())
        {
            queue.settle(1, frame.len());
            client.state.took_all();
            return Went::Whole;
        }
        // From here on it is as any that was queued, and the writer sees to it.
        self.take_in_hand(InHand {
            frame: frame.clone(),
            kind: Kind::Data,
            queued: message.queued(),
            lane: message.lane(),
        });
        match written {
            Ok(written) => self.wrote(written, frame.len(), client),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.wrote(0, frame.len(), client)
            }
            Err(error) => self.failed(&error, client),
        };
        Went::InHand
    }
}

/// A message to one client alone.
pub(super) struct Alone<'a>(pub(super) &'a Frame);

impl Straight for Alone<'_> {
    fn frame(&self) -> &Frame {
        self.0
    }

    fn queued(&self) -> Stamp {
        Stamp::lately()
    }

    fn passes(&self) -> bool {
        true
    }

    fn lane(&self) -> Option<Arc<dyn Lane>> {
        None
    }
}
