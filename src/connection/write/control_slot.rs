//! [`Control`]: the slot beside the queue. Pong, ping and Close overtake data: they wait for the frame in progress and
//! for what the kernel holds, never in our queue.
//!
//! It holds the *latest* pong only (RFC 6455 §5.5.3 lets a later one answer for all): a queue of pongs is a queue that
//! the client fills.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tungstenite::Bytes;
use tungstenite::protocol::frame::coding::Control as Opcode;

use crate::clock::lock;
use crate::connection::write::frame::Frame;

/// A Close: its code and reason, or no body at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CloseReason(pub(crate) Option<(u16, String)>);

impl CloseReason {
    pub(crate) fn new(code: u16, reason: &str) -> CloseReason {
        CloseReason(Some((code, reason.to_owned())))
    }

    pub(crate) fn frame(&self) -> Frame {
        Frame::close(self.0.as_ref().map(|(code, reason)| (*code, &**reason)))
    }

    /// 1005 stands for a Close without a code (RFC 6455 §7.1.5).
    pub(crate) fn code(&self) -> u16 {
        self.0.as_ref().map_or(1005, |(code, _)| *code)
    }

    pub(crate) fn reason(&self) -> &str {
        self.0.as_ref().map_or("", |(_, reason)| reason)
    }
}

/// When a Close goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseMode {
    /// After what is queued: the handler returned, `close()`, shutdown.
    AfterQueue,
    /// After the frame in progress; the queue is discarded: a fault, a slow consumer, the answer to the peer's Close.
    Immediate,
}

#[derive(Debug, Default)]
enum Close {
    #[default]
    Open,
    Posted(CloseMode, CloseReason),
    /// Its bytes are on their way, or will never be: nothing may follow.
    Over,
}

#[derive(Debug, Default)]
pub(crate) struct ControlSlot {
    slot: Mutex<Slot>,
    /// Whether the slot has something for the wire: spares its holder the lock at every batch.
    filled: AtomicBool,
}

#[derive(Debug, Default)]
struct Slot {
    pong: Option<Bytes>,
    ping: Option<[u8; 8]>,
    close: Close,
}

/// What the holder of the wire finds in the slot.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) pong: Option<Frame>,
    pub(crate) ping: Option<Frame>,
    /// A Close that goes now.
    pub(crate) close: Option<CloseReason>,
    /// A Close waits for the queue: who finds the queue empty *after* this may take it.
    pub(crate) close_pending: bool,
}

impl ControlSlot {
    /// Leaves a pong to be sent, in place of one that still waits.
    pub(crate) fn pong(&self, payload: Bytes) {
        let mut slot = lock(&self.slot);
        if !matches!(slot.close, Close::Over) {
            slot.pong = Some(payload);
            self.filled.store(true, Ordering::Release);
        }
    }

    /// Leaves a ping to be sent.
    pub(crate) fn ping(&self, payload: [u8; 8]) {
        let mut slot = lock(&self.slot);
        if matches!(slot.close, Close::Open) {
            slot.ping = Some(payload);
            self.filled.store(true, Ordering::Release);
        }
    }

    /// Posts a Close. One that waits for the queue may harden into one that goes now; otherwise the first stands.
    /// Says whether this one was taken.
    pub(crate) fn close(&self, when: CloseMode, reason: CloseReason) -> bool {
        let mut slot = lock(&self.slot);
        let stands = match slot.close {
            Close::Open => false,
            Close::Posted(CloseMode::AfterQueue, _) => when == CloseMode::AfterQueue,
            Close::Posted(CloseMode::Immediate, _) | Close::Over => true,
        };
        if !stands {
            slot.close = Close::Posted(when, reason);
            self.filled.store(true, Ordering::Release);
        }
        !stands
    }

    /// No Close was posted or sent yet.
    pub(crate) fn is_open(&self) -> bool {
        matches!(lock(&self.slot).close, Close::Open)
    }

    /// Whether the holder of the wire has something to look at here.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// Takes what goes before the next data frame. A Close that waits for the queue stays, and keeps the slot filled.
    pub(crate) fn take(&self) -> Taken {
        if !self.is_filled() {
            return Taken::default();
        }
        let mut slot = lock(&self.slot);
        let mut taken = Taken {
            pong: slot
                .pong
                .take()
                .map(|payload| Frame::control(Opcode::Pong, &payload)),
            ping: slot
                .ping
                .take()
                .map(|payload| Frame::control(Opcode::Ping, &payload)),
            close: None,
            close_pending: false,
        };
        match std::mem::take(&mut slot.close) {
            Close::Posted(CloseMode::Immediate, reason) => {
                slot.close = Close::Over;
                taken.close = Some(reason);
            }
            other => slot.close = other,
        }
        taken.close_pending = matches!(slot.close, Close::Posted(..));
        self.filled.store(taken.close_pending, Ordering::Release);
        taken
    }

    /// Takes the Close that waited for the queue, now that the queue was found empty. Only after [`take`](Self::take)
    /// saw it: what was queued before a Close that came later may have been missed.
    pub(crate) fn take_deferred_close(&self) -> Option<CloseReason> {
        if !self.is_filled() {
            return None;
        }
        let mut slot = lock(&self.slot);
        match std::mem::take(&mut slot.close) {
            Close::Posted(_, reason) => {
                slot.close = Close::Over;
                self.filled.store(false, Ordering::Release);
                Some(reason)
            }
            other => {
                slot.close = other;
                None
            }
        }
    }

    /// Nothing will be sent any more.
    pub(crate) fn end(&self) {
        *lock(&self.slot) = Slot {
            close: Close::Over,
            ..Slot::default()
        };
        self.filled.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: u16) -> CloseReason {
        CloseReason::new(code, "")
    }

    #[test]
    fn only_the_latest_pong_waits() {
        let control = ControlSlot::default();
        for payload in [&b"a"[..], b"b", b"c"] {
            control.pong(Bytes::copy_from_slice(payload));
        }
        let pong = control.take().pong.expect("a pong waits");
        assert_eq!(pong.pieces(0).0, b"\x8a\x01c");
        assert!(control.take().pong.is_none());
    }

    #[test]
    fn a_close_may_harden_once_and_then_never_changes() {
        let control = ControlSlot::default();
        assert!(control.is_open());
        assert!(control.close(CloseMode::AfterQueue, reason(1000)));
        assert!(
            !control.close(CloseMode::AfterQueue, reason(1001)),
            "the first polite one stands"
        );
        assert!(
            control.take().close.is_none(),
            "a polite one waits for the queue"
        );
        assert!(control.close(CloseMode::Immediate, reason(4008)));
        assert!(!control.close(CloseMode::Immediate, reason(1011)));
        assert_eq!(control.take().close, Some(reason(4008)));
        assert!(
            !control.close(CloseMode::Immediate, reason(1002)),
            "it is on its way"
        );
        assert!(
            control.take_deferred_close().is_none(),
            "one Close on the wire"
        );
    }

    #[test]
    fn nothing_is_left_for_the_wire_after_a_close() {
        let control = ControlSlot::default();
        control.close(CloseMode::AfterQueue, reason(1000));
        assert_eq!(control.take_deferred_close(), Some(reason(1000)));
        control.pong(Bytes::from_static(b"late"));
        control.ping([0; 8]);
        assert!(!control.is_filled());
    }
}
