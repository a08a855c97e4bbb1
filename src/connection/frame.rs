//! [`Frame`]: a message as it stands on the wire. Server frames carry no mask, so it is encoded once and the same bytes
//! go to every client.

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::{Bytes, Message};

use crate::clock;

/// A payload from here on is shared, not copied behind its header. Below, one piece costs less than two, and a copy
/// does not keep the read buffer alive that the payload came in.
const SHARED_FROM: usize = 16 << 10;

/// Control frames carry at most 125 bytes (RFC 6455 §5.5), a Close two of them for its code.
const MAX_CONTROL: usize = 125;

/// One encoded frame; cloning it shares the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The header, and behind it the payload if that is small.
    front: Bytes,
    /// A large payload.
    rest: Option<Box<Bytes>>,
    /// When it was encoded, as [`clock::now`] counts.
    at: u64,
}

impl Frame {
    /// Encodes a text or binary message; anything else is not a message that can be queued.
    pub(crate) fn data(message: &Message) -> Option<Frame> {
        let (data, payload) = match message {
            Message::Text(text) => (Data::Text, AsRef::<Bytes>::as_ref(text)),
            Message::Binary(payload) => (Data::Binary, payload),
            _ => return None,
        };
        Some(Frame::encode(OpCode::Data(data), payload))
    }

    /// A ping or pong; what is beyond 125 bytes of payload is cut off.
    pub(crate) fn control(control: Control, payload: &[u8]) -> Frame {
        let payload = &payload[..payload.len().min(MAX_CONTROL)];
        Frame::small(OpCode::Control(control), payload)
    }

    /// A Close. The reason is cut to 123 bytes at a character's boundary; `None` is a Close without a body.
    pub(crate) fn close(close: Option<(u16, &str)>) -> Frame {
        let mut body = Vec::new();
        if let Some((code, reason)) = close {
            body.extend(code.to_be_bytes());
            let mut end = reason.len().min(MAX_CONTROL - 2);
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            body.extend(&reason.as_bytes()[..end]);
        }
        Frame::small(OpCode::Control(Control::Close), &body)
    }

    fn encode(opcode: OpCode, payload: &Bytes) -> Frame {
        if payload.len() < SHARED_FROM {
            return Frame::small(opcode, payload);
        }
        let mut front = Vec::with_capacity(10);
        header(opcode, payload.len(), &mut front);
        Frame {
            front: front.into(),
            rest: Some(Box::new(payload.clone())),
            at: clock::now(),
        }
    }

    fn small(opcode: OpCode, payload: &[u8]) -> Frame {
        let mut front = Vec::with_capacity(payload.len() + 4);
        header(opcode, payload.len(), &mut front);
        front.extend_from_slice(payload);
        Frame {
            front: front.into(),
            rest: None,
            at: clock::now(),
        }
    }

    /// The payload alone; it shares the bytes.
    pub(crate) fn payload(&self) -> Bytes {
        match &self.rest {
            Some(rest) => Bytes::clone(rest),
            None => {
                let header = match self.front[1] {
                    126 => 4,
                    127 => 10,
                    _ => 2,
                };
                self.front.slice(header..)
            }
        }
    }

    /// The moment it was made.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        self.front.len() + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    /// The bytes from `at` on, in one or two pieces.
    pub(crate) fn pieces(&self, at: usize) -> (&[u8], &[u8]) {
        let rest: &[u8] = self.rest.as_ref().map_or(&[], |rest| rest);
        match at.checked_sub(self.front.len()) {
            None => (&self.front[at..], rest),
            Some(at) => (&rest[at..], &[]),
        }
    }
}

fn header(opcode: OpCode, length: usize, out: &mut Vec<u8>) {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    header
        .format(length as u64, out)
        .expect("writing into a Vec does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(frame: &Frame) -> Vec<u8> {
        let (front, rest) = frame.pieces(0);
        [front, rest].concat()
    }

    #[test]
    fn a_small_message_is_one_piece_and_a_large_one_shares_its_payload() {
        let small = Frame::data(&Message::text("hello")).expect("text is data");
        assert_eq!(bytes(&small), b"\x81\x05hello");
        assert!(small.pieces(0).1.is_empty());

        let payload = Bytes::from(vec![7; 70_000]);
        let large = Frame::data(&Message::Binary(payload.clone())).expect("binary is data");
        assert_eq!(large.len(), 10 + 70_000);
        assert_eq!(large.pieces(0).1.as_ptr(), payload.as_ptr());
        for at in [0, 9, 10, 11, 70_009] {
            let (a, b) = large.pieces(at);
            assert_eq!(a.len() + b.len(), large.len() - at, "from {at}");
        }
        for length in [0, 125, 126, 16_383, 16_384, 65_535, 65_536] {
            let payload = Bytes::from(vec![3; length]);
            let frame = Frame::data(&Message::Binary(payload.clone())).expect("binary is data");
            assert_eq!(frame.payload(), payload, "{length}");
        }
    }

    #[test]
    fn control_frames_never_pass_125_bytes_and_a_reason_is_cut_at_a_character() {
        assert_eq!(Frame::control(Control::Ping, &[0; 200]).len(), 2 + 125);
        let close = bytes(&Frame::close(Some((1000, &"é".repeat(100)))));
        assert_eq!(close.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&close[4..]).is_ok());
        assert_eq!(bytes(&Frame::close(None)), b"\x88\x00");
    }

    #[test]
    fn only_text_and_binary_are_data() {
        for message in [
            Message::Ping(Bytes::new()),
            Message::Pong(Bytes::new()),
            Message::Close(None),
        ] {
            assert!(Frame::data(&message).is_none(), "{message:?}");
        }
    }
}
