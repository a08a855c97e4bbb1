//! [`ControlSlot`]: a ping and a pong that overtake the queue. They wait for the frame in progress and for what the kernel
//! holds, but never behind queued messages.
//!
//! The slot holds the *latest* pong only: RFC 6455 §5.5.3 lets a later pong answer for all pings before it. A queue of
//! pongs would be a queue that the client fills.

use std::sync::Mutex;

use tungstenite::Bytes;
use tungstenite::protocol::frame::coding::Control as Opcode;

use super::frame::EncodedFrame;
use crate::sync::lock;

#[derive(Debug, Default)]
pub(crate) struct ControlSlot(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    ping: Option<[u8; 8]>,
    pong: Option<Bytes>,
}

impl ControlSlot {
    /// Sets the pong to be sent. It replaces one that still waits.
    pub(crate) fn set_pong(&self, payload: Bytes) {
        lock(&self.0).pong = Some(payload);
    }

    /// Sets the ping to be sent.
    pub(crate) fn set_ping(&self, payload: [u8; 8]) {
        lock(&self.0).ping = Some(payload);
    }

    /// Takes the ping and the pong that wait.
    pub(crate) fn take(&self) -> (Option<EncodedFrame>, Option<EncodedFrame>) {
        let Pending { ping, pong } = std::mem::take(&mut *lock(&self.0));
        let ping = ping.map(|payload| EncodedFrame::control(Opcode::Ping, &payload));
        let pong = pong.map(|payload| EncodedFrame::control(Opcode::Pong, &payload));
        (ping, pong)
    }

    /// Forgets both: nothing will be sent any more.
    pub(crate) fn clear(&self) {
        *lock(&self.0) = Pending::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_pong_waits() {
        let control = ControlSlot::default();
        for payload in [&b"a"[..], b"b", b"c"] {
            control.set_pong(Bytes::copy_from_slice(payload));
        }
        let (ping, pong) = control.take();
        assert!(ping.is_none());
        let pong = pong.expect("a pong waits");
        assert_eq!(pong.pieces(0).0, b"\x8a\x01c");
        assert!(control.take().1.is_none());
    }
}
