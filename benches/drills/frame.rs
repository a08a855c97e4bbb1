//! Frames (RFC 6455 §5.2): those a client sends, masked, and those a server sends, as they come.

/// First bytes: FIN and the opcode.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;
/// Of a message of which more is to come.
pub(crate) const BEGINS: u8 = 0x01;
pub(crate) const GOES_ON: u8 = 0x00;

/// A client's frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len());
    let key = [0x37, 0xfa, 0x21, 0x3d];
    bytes.extend(key);
    let masked = payload.iter().zip(key.iter().cycle());
    bytes.extend(masked.map(|(byte, key)| byte ^ key));
    bytes
}

/// A Close with a code and no reason.
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

/// What a server sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Message(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    /// Its code; 1005 stands for none.
    Close(u16),
}

/// Bytes that came and are not yet a whole frame.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    /// So many of them have been taken.
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

    /// The next whole frame. The server sends none in fragments.
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

    /// The head of an HTTP answer, once it is there whole. Frames may follow it.
    pub(crate) fn take_head(&mut self) -> Option<String> {
        let bytes = &self.bytes[self.at..];
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        self.at += end;
        Some(head)
    }

    /// All that is left, as text: the body of an answer.
    pub(crate) fn take_text(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.bytes[self.at..]).into_owned();
        self.bytes.clear();
        self.at = 0;
        text
    }
}
