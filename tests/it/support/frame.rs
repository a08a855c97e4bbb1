//! Encodes frames, valid and invalid ones, and decodes their meaning.

use standpipe::Message;

/// Opcodes (RFC 6455 §11.8).
pub(crate) mod op {
    pub(crate) const CONTINUATION: u8 = 0;
    pub(crate) const TEXT: u8 = 1;
    pub(crate) const BINARY: u8 = 2;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;
}

/// A frame that is to be sent, or that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    /// The three reserved bits.
    pub(crate) rsv: u8,
    pub(crate) opcode: u8,
    pub(crate) masked: bool,
    pub(crate) length: Length,
    pub(crate) payload: Vec<u8>,
}

/// How the header of a frame encodes the payload length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// The shortest form, as RFC 6455 §5.2 requires.
    Shortest,
    /// An extended length of two bytes, which may differ from the length of the payload.
    Two(u16),
    /// An extended length of eight bytes, which may differ from the length of the payload.
    Eight(u64),
}

impl Frame {
    /// Returns a complete message in one valid client frame.
    pub(crate) fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
        Frame {
            fin: true,
            rsv: 0,
            opcode,
            masked: true,
            length: Length::Shortest,
            payload: payload.as_ref().to_vec(),
        }
    }

    /// Clears FIN: more frames of the same message follow.
    pub(crate) fn unfinished(mut self) -> Frame {
        self.fin = false;
        self
    }

    /// Returns a Close with this code and reason.
    pub(crate) fn close(code: u16, reason: &str) -> Frame {
        let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
        Frame::new(op::CLOSE, payload)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mask: u8 = if self.masked { 0x80 } else { 0 };
        let mut bytes = vec![u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode];
        match (self.length, self.payload.len()) {
            (Length::Two(length), _) => {
                bytes.push(mask | 126);
                bytes.extend(length.to_be_bytes());
            }
            (Length::Eight(length), _) => {
                bytes.push(mask | 127);
                bytes.extend(length.to_be_bytes());
            }
            (Length::Shortest, length @ 0..126) => bytes.push(mask | length as u8),
            (Length::Shortest, length @ 126..65_536) => {
                bytes.push(mask | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            (Length::Shortest, length) => {
                bytes.push(mask | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        if self.masked {
            let key = [0x37, 0xfa, 0x21, 0x3d];
            bytes.extend(key);
            let masked = self.payload.iter().zip(key.iter().cycle());
            bytes.extend(masked.map(|(byte, key)| byte ^ key));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }

    /// Takes the first frame of a server out of what a client has received, if it is complete.
    #[track_caller]
    pub(crate) fn take(received: &mut Vec<u8>) -> Option<Frame> {
        let (first, second) = (*received.first()?, *received.get(1)?);
        assert_eq!(second & 0x80, 0, "the server sent a masked frame");
        let (length, at) = match second {
            126 => {
                let length = u16::from_be_bytes(received.get(2..4)?.try_into().unwrap());
                assert!(length >= 126, "{length} is not in its shortest form");
                (u64::from(length), 4)
            }
            127 => {
                let length = u64::from_be_bytes(received.get(2..10)?.try_into().unwrap());
                assert!(length >= 65_536, "{length} is not in its shortest form");
                (length, 10)
            }
            short => (u64::from(short), 2),
        };
        let end = at + usize::try_from(length).unwrap();
        let payload = received.get(at..end)?.to_vec();
        received.drain(..end);
        Some(Frame {
            fin: first & 0x80 != 0,
            rsv: first >> 4 & 7,
            opcode: first & 15,
            masked: false,
            length: Length::Shortest,
            payload,
        })
    }

    /// Returns the code and reason of a Close. The code is 1005 if the Close has none.
    #[track_caller]
    pub(crate) fn code(&self) -> (u16, String) {
        assert_eq!(self.opcode, op::CLOSE, "not a Close: {self:?}");
        match &self.payload[..] {
            [] => (1005, String::new()),
            [high, low, reason @ ..] => {
                let reason = String::from_utf8(reason.to_vec()).unwrap();
                (u16::from_be_bytes([*high, *low]), reason)
            }
            [_] => panic!("a Close with one byte"),
        }
    }
}

/// Returns the message in a data frame, and `None` for a control frame.
pub(super) fn message(frame: &Frame) -> Option<Message> {
    assert!(frame.fin, "the server does not fragment: {frame:?}");
    assert_eq!(frame.rsv, 0, "reserved bits in {frame:?}");
    match frame.opcode {
        op::TEXT => Some(Message::text(
            String::from_utf8(frame.payload.clone()).unwrap(),
        )),
        op::BINARY => Some(Message::binary(frame.payload.clone())),
        _ => None,
    }
}
