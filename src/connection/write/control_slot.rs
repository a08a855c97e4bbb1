//! [`ControlSlot`]: the next ping and pong, which overtake the queue. They are sent after the frame in progress and
//! after the bytes in the kernel's buffer, but before all queued messages.
//!
//! The slot holds only the *latest* pong, because a pong may answer all pings before it (RFC 6455 §5.5.3). With a queue
//! of pongs, a client could fill our memory.

use std::sync::Mutex;

use bytes::Bytes;
use tungstenite::protocol::frame::coding::Control as Opcode;

use super::frame::EncodedFrame;
use crate::connection::ping::Pings;
use crate::sync::lock;

#[derive(Debug)]
pub(crate) struct ControlSlot {
    pending: Mutex<Pending>,
    pub(crate) pings: Pings,
}

#[derive(Debug, Default)]
struct Pending {
    ping: bool,
    pong: Option<Bytes>,
}

impl ControlSlot {
    pub(crate) fn new() -> ControlSlot {
        ControlSlot {
            pending: Mutex::default(),
            pings: Pings::new(),
        }
    }

    /// Sets the pong to be sent. It replaces a pong that has not been taken yet.
    pub(crate) fn set_pong(&self, payload: Bytes) {
        lock(&self.pending).pong = Some(payload);
    }

    /// Sets a ping to be sent.
    pub(crate) fn set_ping(&self) {
        lock(&self.pending).ping = true;
    }

    /// Takes the ping and the pong, if they are set. The ping gets its payload only now, so that the time in the queue
    /// of a busy machine is not part of the round trip.
    pub(crate) fn take(&self) -> (Option<EncodedFrame>, Option<EncodedFrame>) {
        let Pending { ping, pong } = std::mem::take(&mut *lock(&self.pending));
        let ping = ping.then(|| EncodedFrame::control(Opcode::Ping, &self.pings.payload()));
        let pong = pong.map(|payload| EncodedFrame::control(Opcode::Pong, &payload));
        (ping, pong)
    }

    /// Drops both, because nothing will be sent any more.
    pub(crate) fn clear(&self) {
        *lock(&self.pending) = Pending::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_pong_is_kept() {
        let control = ControlSlot::new();
        for payload in [&b"a"[..], b"b", b"c"] {
            control.set_pong(Bytes::copy_from_slice(payload));
        }
        let (ping, pong) = control.take();
        assert!(ping.is_none());
        let pong = pong.expect("a pong was set");
        assert_eq!(pong.pieces(0).0, b"\x8a\x01c");
        assert!(control.take().1.is_none());
    }
}
