//! [`EncodedFrame`] and [`FrameBatch`]: messages as they are written to a socket.
//!
//! A server's frames have no mask (RFC 6455 §5.1), so a message is encoded once, and every client gets the same bytes.

use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::message::Message;

/// From this size on, a payload is shared. A smaller one is copied after its header, because one piece costs less than
/// two, and the copy does not keep the buffer alive in which the payload arrived.
const SHARED_FROM: usize = 16 << 10;

/// Up to this size a frame is assembled on the stack and allocated once. Zeroing a larger stack buffer would cost more
/// than it saves.
const ON_STACK: usize = 144;

/// An unmasked header has at most 10 bytes (RFC 6455 §5.2).
pub(crate) const MAX_HEADER: usize = 10;

/// A control frame carries at most 125 bytes (RFC 6455 §5.5). In a Close, the code takes two of them.
const MAX_CONTROL: usize = 125;

/// The maximum size of a batch in bytes. Only a single message may be larger. Larger batches would save few system
/// calls, and would delay a Close.
pub(crate) const BATCH_BYTES: usize = 64 << 10;

/// The maximum number of pieces that are passed to the kernel in one call. A frame is one or two pieces.
pub(crate) const PIECES: usize = 32;

/// Below this many bytes, it is cheaper to copy several frames into one piece than to pass a list.
const SMALL: usize = 8 << 10;

/// What a fragment begins or continues (RFC 6455 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FragmentKind {
    Text,
    Binary,
    Continuation,
}

/// One encoded frame. Cloning it shares the bytes. Its size is only two words, because every slot of every queue can
/// hold one.
#[derive(Clone, Debug)]
pub(crate) struct EncodedFrame(Encoded);

#[derive(Clone, Debug)]
enum Encoded {
    /// Header and payload in one piece.
    Small(Arc<[u8]>),
    /// Header and payload in two pieces. The payload is not copied.
    Large(Arc<Large>),
}

#[derive(Debug)]
struct Large {
    header: Header,
    payload: Bytes,
}

impl EncodedFrame {
    /// Encodes a message.
    pub(crate) fn data(message: &Message) -> EncodedFrame {
        let (data, payload) = match message {
            Message::Text(text) => (Data::Text, AsRef::<Bytes>::as_ref(text)),
            Message::Binary(payload) => (Data::Binary, payload),
        };
        EncodedFrame::encode(OpCode::Data(data), payload, true)
    }

    /// Encodes a ping or pong. The payload is truncated to 125 bytes.
    pub(crate) fn control(control: Control, payload: &[u8]) -> EncodedFrame {
        let payload = &payload[..payload.len().min(MAX_CONTROL)];
        EncodedFrame::small(OpCode::Control(control), payload, true)
    }

    /// Encodes a Close. The reason is truncated to at most 123 bytes, at a character boundary. `None` gives a Close
    /// without a body.
    pub(crate) fn close(close: Option<(u16, &str)>) -> EncodedFrame {
        let mut body = Vec::new();
        if let Some((code, reason)) = close {
            body.extend(code.to_be_bytes());
            let mut end = reason.len().min(MAX_CONTROL - 2);
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            body.extend(&reason.as_bytes()[..end]);
        }
        EncodedFrame::small(OpCode::Control(Control::Close), &body, true)
    }

    /// Encodes a fragment of a message.
    pub(crate) fn fragment(kind: FragmentKind, payload: &Bytes, is_last: bool) -> EncodedFrame {
        let data = match kind {
            FragmentKind::Text => Data::Text,
            FragmentKind::Binary => Data::Binary,
            FragmentKind::Continuation => Data::Continue,
        };
        EncodedFrame::encode(OpCode::Data(data), payload, is_last)
    }

    /// Returns a frame without any byte, which is not written.
    pub(crate) fn empty() -> EncodedFrame {
        EncodedFrame(Encoded::Small(Arc::from([])))
    }

    fn encode(opcode: OpCode, payload: &Bytes, is_final: bool) -> EncodedFrame {
        if payload.len() < SHARED_FROM {
            return EncodedFrame::small(opcode, payload, is_final);
        }
        EncodedFrame(Encoded::Large(Arc::new(Large {
            header: Header::new(opcode, payload.len(), is_final),
            payload: payload.clone(),
        })))
    }

    fn small(opcode: OpCode, payload: &[u8], is_final: bool) -> EncodedFrame {
        let header = Header::new(opcode, payload.len(), is_final);
        let header = header.bytes();
        let all = header.len() + payload.len();
        let bytes = if all <= ON_STACK {
            let mut buffer = [0; ON_STACK];
            buffer[..header.len()].copy_from_slice(header);
            buffer[header.len()..all].copy_from_slice(payload);
            Arc::from(&buffer[..all])
        } else {
            [header, payload].concat().into()
        };
        EncodedFrame(Encoded::Small(bytes))
    }

    /// Returns whether the frame holds a text message.
    pub(crate) fn is_text(&self) -> bool {
        self.pieces(0).0[0] & 0x0f == u8::from(OpCode::Data(Data::Text))
    }

    /// Returns the payload, which shares the bytes of the frame.
    pub(crate) fn payload(&self) -> Bytes {
        match &self.0 {
            Encoded::Large(large) => large.payload.clone(),
            Encoded::Small(bytes) => {
                let header = if bytes[1] == 126 { 4 } else { 2 };
                Bytes::from_owner(Arc::clone(bytes)).slice(header..)
            }
        }
    }

    /// Returns the size of the whole frame in bytes.
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Encoded::Small(bytes) => bytes.len(),
            Encoded::Large(large) => large.header.bytes().len() + large.payload.len(),
        }
    }

    /// Returns the bytes from `at` on, in one or two pieces.
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

/// Frames that are written together, in order. A batch is made once, for all clients that receive it.
#[derive(Debug)]
pub(crate) enum FrameBatch {
    One(EncodedFrame),
    /// A few large frames, which are passed to the kernel as a list.
    Few(Vec<EncodedFrame>),
    /// Many or small frames, and a copy of their bytes in one piece. One piece is cheaper for the kernel than a list,
    /// for every client.
    Many(Vec<EncodedFrame>, Vec<u8>),
}

impl FrameBatch {
    /// The maximum number of messages in a batch.
    pub(crate) const MAX_MESSAGES: usize = 64;

    pub(crate) fn new(mut frames: Vec<EncodedFrame>) -> FrameBatch {
        if frames.len() == 1 {
            return FrameBatch::One(frames.remove(0));
        }
        let bytes = frames.iter().map(EncodedFrame::len).sum();
        if !is_cheaper_copied(frames.len(), bytes) {
            return FrameBatch::Few(frames);
        }
        let all = copy(frames.iter(), 0, bytes);
        FrameBatch::Many(frames, all)
    }

    /// Returns how many messages of these sizes form one batch: up to [`MAX_MESSAGES`](Self::MAX_MESSAGES), and until
    /// they have [`BATCH_BYTES`]. A larger message forms its own batch.
    pub(crate) fn count_that_fits(sizes: impl Iterator<Item = usize>) -> usize {
        let mut before = 0;
        let fits = |size: &usize| {
            let fits = before == 0 || (before < BATCH_BYTES && *size <= BATCH_BYTES);
            before += size.max(&1);
            fits
        };
        sizes.take(Self::MAX_MESSAGES).take_while(fits).count()
    }

    pub(crate) fn frames(&self) -> &[EncodedFrame] {
        match self {
            FrameBatch::One(frame) => std::slice::from_ref(frame),
            FrameBatch::Few(frames) | FrameBatch::Many(frames, _) => frames,
        }
    }

    /// Fills `pieces` with all bytes of the batch. Returns the number of messages, of pieces and of bytes.
    pub(crate) fn slices<'a>(
        &'a self,
        pieces: &mut [IoSlice<'a>; PIECES],
    ) -> (usize, usize, usize) {
        let frames = self.frames();
        let (count, bytes) = match self {
            FrameBatch::Many(_, bytes) => {
                pieces[0] = IoSlice::new(bytes);
                (1, bytes.len())
            }
            _ => slices(frames.iter(), 0, pieces),
        };
        (frames.len(), count, bytes)
    }
}

/// Returns whether `frames` frames with `bytes` bytes in all are cheaper to write as one copied piece than as a list.
pub(crate) fn is_cheaper_copied(frames: usize, bytes: usize) -> bool {
    frames > PIECES / 2 || (frames > 1 && bytes < SMALL)
}

/// Copies the frames into one piece of `bytes` bytes, without the first `skip` bytes of the first frame.
pub(crate) fn copy<'a>(
    frames: impl Iterator<Item = &'a EncodedFrame>,
    mut skip: usize,
    bytes: usize,
) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes);
    for frame in frames {
        let (front, rest) = frame.pieces(skip);
        skip = 0;
        all.extend_from_slice(front);
        all.extend_from_slice(rest);
    }
    all
}

/// Fills `pieces` with as many frames as fit, without the first `skip` bytes of the first frame. Returns the number of
/// pieces and of bytes.
pub(crate) fn slices<'a>(
    frames: impl Iterator<Item = &'a EncodedFrame>,
    mut skip: usize,
    pieces: &mut [IoSlice<'a>; PIECES],
) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for frame in frames {
        if count == PIECES {
            break;
        }
        let (front, rest) = frame.pieces(skip);
        skip = 0;
        for piece in [front, rest] {
            if !piece.is_empty() && count < PIECES {
                pieces[count] = IoSlice::new(piece);
                count += 1;
                bytes += piece.len();
            }
        }
    }
    (count, bytes)
}

/// The header of a frame.
#[derive(Debug)]
struct Header {
    bytes: [u8; MAX_HEADER],
    length: u8,
}

impl Header {
    fn new(opcode: OpCode, payload: usize, is_final: bool) -> Header {
        let header = FrameHeader {
            opcode,
            is_final,
            ..FrameHeader::default()
        };
        let mut bytes = [0; MAX_HEADER];
        let mut rest = &mut bytes[..];
        header
            .format(payload as u64, &mut rest)
            .expect("the array holds the longest header");
        let left = rest.len();
        let length = u8::try_from(MAX_HEADER - left).expect("a header has at most ten bytes");
        Header { bytes, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(frame: &EncodedFrame) -> Vec<u8> {
        let (front, rest) = frame.pieces(0);
        [front, rest].concat()
    }

    #[test]
    fn large_message_shares_its_payload() {
        let small = EncodedFrame::data(&Message::text("hello"));
        assert_eq!(bytes(&small), b"\x81\x05hello");
        assert!(small.pieces(0).1.is_empty());

        let payload = Bytes::from(vec![7; 70_000]);
        let large = EncodedFrame::data(&Message::Binary(payload.clone()));
        assert_eq!(large.len(), 10 + 70_000);
        assert_eq!(large.pieces(0).1.as_ptr(), payload.as_ptr());
        for at in [0, 9, 10, 11, 70_009] {
            let (a, b) = large.pieces(at);
            assert_eq!(a.len() + b.len(), large.len() - at, "from {at}");
        }
        for length in [0, 125, 126, 16_383, 16_384, 65_535, 65_536] {
            let payload = Bytes::from(vec![3; length]);
            let frame = EncodedFrame::data(&Message::Binary(payload.clone()));
            assert_eq!(frame.payload(), payload, "{length}");
        }
    }

    #[test]
    fn control_frames_are_truncated_to_125_bytes() {
        assert_eq!(
            EncodedFrame::control(Control::Ping, &[0; 200]).len(),
            2 + 125
        );
        let close = bytes(&EncodedFrame::close(Some((1000, &"é".repeat(100)))));
        assert_eq!(close.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&close[4..]).is_ok());
        assert_eq!(bytes(&EncodedFrame::close(None)), b"\x88\x00");
    }
}
