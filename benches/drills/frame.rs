//! Frames (RFC 6455 §5.2): encodes the masked frames of a client, and decodes the frames of a server.

/// First bytes of a frame: FIN and the opcode.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;
/// First bytes of a message in fragments: its first fragment, and one in the middle.
pub(crate) const FIRST_FRAGMENT: u8 = 0x01;
pub(crate) const MIDDLE_FRAGMENT: u8 = 0x00;

/// Returns a client's frame with this first byte and payload.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len());
    let key = [0x37, 0xfa, 0x21, 0x3d];
    bytes.extend(key);
    let masked = payload.iter().zip(key.iter().cycle());
    bytes.extend(masked.map(|(byte, key)| byte ^ key));
    bytes
}

/// Returns a client's Close with this code and no reason.
pub(crate) fn close(code: u16) -> Vec<u8> {
    frame(CLOSE, &code.to_be_bytes())
}

fn header(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Message(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    /// The code of the Close; 1005 if it has none.
    Close(u16),
}

/// Received bytes that have not been decoded yet.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    /// How many of the bytes have been decoded.
    at: usize,
}

impl Input {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        if self.at > 0 && self.at == self.bytes.len() {
            self.bytes.clear();
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the next complete frame. The server never sends fragments.
    pub(crate) fn take(&mut self) -> Option<Got> {
        let bytes = &self.bytes[self.at..];
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
        let (header, length) = match second {
            126 => (4, number(bytes.get(2..4)?)),
            127 => (10, number(bytes.get(2..10)?)),
            short => (2, usize::from(short)),
        };
        let payload = bytes.get(header..header + length)?.to_vec();
        self.at += header + length;
        if self.at > 64 << 10 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        Some(match first {
            PING => Got::Ping(payload),
            PONG => Got::Pong,
            CLOSE => Got::Close(match payload[..] {
                [high, low, ..] => u16::from_be_bytes([high, low]),
                _ => 1005,
            }),
            _ => Got::Message(payload),
        })
    }

    /// Returns the head of an HTTP answer when it is complete. Frames may follow it.
    pub(crate) fn take_head(&mut self) -> Option<String> {
        let bytes = &self.bytes[self.at..];
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        self.at += end;
        Some(head)
    }

    /// Returns all remaining bytes as text: the body of an answer.
    pub(crate) fn take_text(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.bytes[self.at..]).into_owned();
        self.bytes.clear();
        self.at = 0;
        text
    }
}
