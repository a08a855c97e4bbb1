//! [`Frame`]: a message as it stands on the wire. Server frames carry no mask, so it is encoded once and the same bytes
//! go to every client.

use std::sync::Arc;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::{Bytes, Message};

/// A payload from here on is shared, not copied behind its header. Below, one piece costs less than two, and a copy
/// does not keep the read buffer alive that the payload came in.
const SHARED_FROM: usize = 16 << 10;

/// Up to here a frame is put together on the stack, and allocated once. Room that is not used is zeroed all the same.
const ON_STACK: usize = 144;

/// A header without a mask has at most so many bytes (RFC 6455 §5.2).
const MAX_HEADER: usize = 10;

/// Control frames carry at most 125 bytes (RFC 6455 §5.5), a Close two of them for its code.
const MAX_CONTROL: usize = 125;

/// One encoded frame; cloning it shares the bytes. Two words, because every place in every queue has room for one.
#[derive(Clone, Debug)]
pub(crate) struct Frame(Encoded);

#[derive(Clone, Debug)]
enum Encoded {
    /// Header and payload in one piece.
    Small(Arc<[u8]>),
    /// A large payload stays where it is.
    Large(Arc<Large>),
}

#[derive(Debug)]
struct Large {
    header: Header,
    payload: Bytes,
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
        Frame(Encoded::Large(Arc::new(Large {
            header: Header::new(opcode, payload.len()),
            payload: payload.clone(),
        })))
    }

    fn small(opcode: OpCode, payload: &[u8]) -> Frame {
        let header = Header::new(opcode, payload.len());
        let header = header.bytes();
        let all = header.len() + payload.len();
        let bytes = if all <= ON_STACK {
            let mut room = [0; ON_STACK];
            room[..header.len()].copy_from_slice(header);
            room[header.len()..all].copy_from_slice(payload);
            Arc::from(&room[..all])
        } else {
            [header, payload].concat().into()
        };
        Frame(Encoded::Small(bytes))
    }

    /// The payload alone; it shares the bytes.
    pub(crate) fn payload(&self) -> Bytes {
        match &self.0 {
            Encoded::Large(large) => large.payload.clone(),
            Encoded::Small(bytes) => {
                let header = if bytes[1] == 126 { 4 } else { 2 };
                Bytes::from_owner(Arc::clone(bytes)).slice(header..)
            }
        }
    }

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Encoded::Small(bytes) => bytes.len(),
            Encoded::Large(large) => large.header.bytes().len() + large.payload.len(),
        }
    }

    /// The bytes from `at` on, in one or two pieces.
    pub(crate) fn pieces(&self, at: usize) -> (&[u8], &[u8]) {
        let (front, rest): (&[u8], &[u8]) = match &self.0 {
            Encoded::Small(bytes) => (bytes, &[]),
            Encoded::Large(large) => (large.header.bytes(), &large.payload),
        };
        match at.checked_sub(front.len()) {
            None => (&front[at..], rest),
            Some(at) => (&rest[at..], &[]),
        }
    }
}

/// The bytes before a payload.
#[derive(Debug)]
struct Header {
    bytes: [u8; MAX_HEADER],
    length: u8,
}

impl Header {
    fn new(opcode: OpCode, payload: usize) -> Header {
        let header = FrameHeader {
            opcode,
            ..FrameHeader::default()
        };
        let mut bytes = [0; MAX_HEADER];
        let mut rest = &mut bytes[..];
        header
            .format(payload as u64, &mut rest)
            .expect("there is room for the longest header");
        let left = rest.len();
        let length = u8::try_from(MAX_HEADER - left).expect("at most ten");
        Header { bytes, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
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
