//! [`ControlSlot`]: the next ping and pong, which overtake the queue. They are sent after the frame in progress and
//! after the bytes in the kernel's buffer, but before all queued messages.
//!
//! The slot holds only the *latest* pong, because a pong may answer all pings before it (RFC 6455 §5.5.3). With a queue
//! of pongs, a client could fill our memory.

use std::sync::Mutex;

use bytes::Bytes;
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
    /// Sets the pong to be sent. It replaces a pong that has not been taken yet.
    pub(crate) fn set_pong(&self, payload: Bytes) {
        lock(&self.0).pong = Some(payload);
    }

    /// Sets the ping to be sent.
    pub(crate) fn set_ping(&self, payload: [u8; 8]) {
        lock(&self.0).ping = Some(payload);
    }

    /// Takes the ping and the pong, if they are set.
    pub(crate) fn take(&self) -> (Option<EncodedFrame>, Option<EncodedFrame>) {
        let Pending { ping, pong } = std::mem::take(&mut *lock(&self.0));
        let ping = ping.map(|payload| EncodedFrame::control(Opcode::Ping, &payload));
        let pong = pong.map(|payload| EncodedFrame::control(Opcode::Pong, &payload));
        (ping, pong)
    }

    /// Drops both, because nothing will be sent any more.
    pub(crate) fn clear(&self) {
        *lock(&self.0) = Pending::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_pong_is_kept() {
        let control = ControlSlot::default();
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
