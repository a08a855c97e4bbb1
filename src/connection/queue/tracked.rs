//! [`Fate`]: what became of a message. [`Tracked`]: an entry of a client's queue whose fate is recorded.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use super::item::{Outgoing, Purpose, TopicSource};
use crate::connection::write::frame::EncodedFrame;
use crate::sync::{Latch, lock};

/// What became of a message that was sent with [`Outbox::send_with_receipt`](crate::Outbox::send_with_receipt).
///
/// Only a topic drops messages, by its policy. Such a message is never dropped, because no topic owns it.
///
/// ```
/// assert_eq!(standpipe::Fate::Delivered.to_string(), "delivered");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fate {
    /// The kernel has accepted the whole message. This does not mean that the peer has read it.
    Delivered,
    /// The connection ended first, or a Close overtook the message. The peer does not get the whole message.
    Discarded,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fate::Delivered => "delivered",
            Fate::Discarded => "discarded",
        })
    }
}

/// A message whose fate is recorded, or a checkpoint: an entry without a message, which is finished when everything
/// ahead of it is written. In the queue, a ticket stands for it.
#[derive(Debug)]
pub(crate) struct Tracked {
    /// The message, until it is taken to be written. `None` for a checkpoint.
    frame: Mutex<Option<EncodedFrame>>,
    fate: OnceLock<Fate>,
    /// Set after `fate`.
    known: Latch,
}

impl Tracked {
    pub(crate) fn new(frame: Option<EncodedFrame>) -> Arc<Tracked> {
        Arc::new(Tracked {
            frame: Mutex::new(frame),
            fate: OnceLock::new(),
            known: Latch::new(),
        })
    }

    pub(crate) fn fate(&self) -> Option<Fate> {
        self.fate.get().copied()
    }

    /// Waits until the fate is known, at most until `deadline`. Returns whether it is.
    ///
    /// # Blocking
    /// Woken by the thread that writes or discards the message.
    pub(super) fn is_known_by(&self, deadline: Option<Instant>) -> bool {
        let known = self.known.receiver();
        let _ = match deadline {
            None => known.recv().map_err(drop),
            Some(deadline) => known.recv_deadline(deadline).map_err(drop),
        };
        self.fate().is_some()
    }

    /// Set when the fate is known.
    pub(crate) fn known(&self) -> &Latch {
        &self.known
    }
}

impl TopicSource for Tracked {
    fn take_next(self: Arc<Self>, _: Purpose) -> Option<Outgoing> {
        let message = lock(&self.frame).take();
        Some(Outgoing {
            notice: None,
            message,
            source: Some(self),
        })
    }

    fn take_overflow(self: Arc<Self>, purpose: Purpose) -> (Option<Outgoing>, bool) {
        (self.take_next(purpose), false)
    }

    fn is_checkpoint(&self) -> bool {
        lock(&self.frame).is_none()
    }

    fn finished(&self, delivered: bool) {
        let _ = self.fate.set(if delivered {
            Fate::Delivered
        } else {
            Fate::Discarded
        });
        self.known.set();
    }
}
