//! [`Decoder`]: turns bytes into frames and frames into messages. All bytes have passed the header check, so every
//! header is well-formed.
//!
//! The decoder uses tungstenite's public `FrameHeader`, but not its reading context. That context requests a fixed
//! number of bytes in each read and zeroes a buffer of that size each time, and a single message that is kept keeps the
//! whole buffer alive. This decoder copies small messages out of one buffer. The buffer grows while reads fill it, and
//! shrinks when they do not. A large message is read directly into its own memory.

use std::io::Cursor;

use bytes::Bytes;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::message::Message;

use super::violation::{CLOSE_BODY, CLOSE_CODE, NOT_UTF8, ReadError, Violation};
use crate::connection::write::close::{CloseReason, may_be_sent};

/// The maximum size of one read.
const LARGEST: usize = 256 << 10;

/// The size of a read while the client is idle.
const IDLE: usize = 1 << 10;

/// The minimum buffer size while the client is active: one whole control frame with its header.
const LEAST: usize = 6 + 125;

/// The factor by which the buffer grows or shrinks in one step.
const STEP: usize = 4;

/// A message, a control frame, or the end.
#[derive(Debug)]
pub(crate) enum Incoming {
    Data(Message),
    Ping(Bytes),
    Pong(Bytes),
    Close(CloseReason),
    /// The stream has ended.
    End,
}

/// A function that reads bytes into a buffer, and returns their number.
type Read<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize, ReadError>;

#[derive(Debug)]
pub(crate) struct Decoder {
    /// The bytes that have been read and not yet decoded are `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The size of a read while the client is active.
    read_size: usize,
    /// Whether the last read filled the buffer.
    filled: bool,
    message: Option<Partial>,
}

/// An incomplete fragmented message.
#[derive(Debug)]
struct Partial {
    is_text: bool,
    payload: Vec<u8>,
    /// How many bytes of a text have been validated as UTF-8.
    valid: usize,
}

impl Decoder {
    pub(crate) fn new(read_size: usize) -> Decoder {
        Decoder {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            read_size: read_size.clamp(LEAST, LARGEST),
            filled: false,
            message: None,
        }
    }

    /// Returns the next message or control frame.
    ///
    /// # Blocking
    /// Blocks in `read`, unless a whole frame has already been read.
    pub(crate) fn next(&mut self, read: Read<'_>) -> Result<Incoming, ReadError> {
        loop {
            let Some((header, length, at)) = self.header()? else {
                if !self.fill(read)? {
                    return Ok(Incoming::End);
                }
                continue;
            };
            if self.end - at < length && length > self.read_size {
                let Some(payload) = self.read_large(at, length, &header, read)? else {
                    return Ok(Incoming::End);
                };
                if let Some(message) = self.data(&header, payload)? {
                    return Ok(Incoming::Data(message));
                }
                continue;
            }
            if self.end - at < length {
                if !self.fill(read)? {
                    return Ok(Incoming::End);
                }
                continue;
            }
            let mut payload = self.buffer[at..at + length].to_vec();
            self.start = at + length;
            unmask(&mut payload, &header);
            match header.opcode {
                OpCode::Control(Control::Ping) => return Ok(Incoming::Ping(payload.into())),
                OpCode::Control(Control::Pong) => return Ok(Incoming::Pong(payload.into())),
                OpCode::Control(_) => return Ok(Incoming::Close(close_reason(&payload)?)),
                OpCode::Data(_) => {
                    if let Some(message) = self.data(&header, payload)? {
                        return Ok(Incoming::Data(message));
                    }
                }
            }
        }
    }

    /// Returns the next message if it has been read completely and is a single frame. Returns `None` if a control
    /// frame, a fragment or a violation is next; [`next`](Self::next) handles those.
    pub(crate) fn next_if_read(&mut self) -> Option<Message> {
        let (header, length, at) = self.header().ok()??;
        let is_whole = header.is_final && self.end - at >= length;
        if !is_whole || !matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary)) {
            return None;
        }
        let mut payload = self.buffer[at..at + length].to_vec();
        unmask(&mut payload, &header);
        let message = message(is_text(&header), payload).ok()?;
        self.start = at + length;
        Some(message)
    }

    /// Returns the next header, the length of its payload, and the payload's position in the buffer. The header check
    /// has already parsed the same bytes. It must check a header before its payload is buffered, and does not store the
    /// header.
    fn header(&self) -> Result<Option<(FrameHeader, usize, usize)>, ReadError> {
        let mut cursor = Cursor::new(&self.buffer[self.start..self.end]);
        let parsed = FrameHeader::parse(&mut cursor)
            .map_err(|error| ReadError::Io(std::io::Error::other(error)))?;
        Ok(parsed.map(|(header, length)| {
            let length =
                usize::try_from(length).expect("the header check keeps it below max_message");
            let at = self.start
                + usize::try_from(cursor.position()).expect("the position is within the buffer");
            (header, length, at)
        }))
    }

    /// Reads once. Returns false if the stream has ended.
    fn fill(&mut self, read: Read<'_>) -> Result<bool, ReadError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.buffer.len() - self.end < self.read_size / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = self.buffer.len();
        let idle = IDLE.min(self.read_size);
        if room == 0 {
            self.resize(idle);
        } else if self.end == room || (self.filled && room < LARGEST) {
            let most = LARGEST.max(self.end + self.read_size);
            self.resize((room * STEP).clamp(self.read_size, most));
        }
        let count = read(&mut self.buffer[self.end..])?;
        self.end += count;
        let room = self.buffer.len();
        self.filled = self.end == room;
        if room > idle && self.start == 0 && self.end < room / STEP {
            self.resize((room / STEP).max(idle));
        }
        Ok(count > 0)
    }

    /// Moves the contents into a new buffer of another size. The kernel zeroes new memory only when it is first used.
    fn resize(&mut self, room: usize) {
        let mut buffer = vec![0; room];
        buffer[..self.end].copy_from_slice(&self.buffer[..self.end]);
        self.buffer = buffer;
    }

    /// Reads a payload that is larger than the buffer into its own memory. Returns `None` if the stream has ended.
    fn read_large(
        &mut self,
        at: usize,
        length: usize,
        header: &FrameHeader,
        read: Read<'_>,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let mut have = self.end - at;
        let mut payload = Vec::with_capacity(length.min(self.read_size.max(have)));
        payload.extend_from_slice(&self.buffer[at..self.end]);
        (self.start, self.end) = (0, 0);
        while have < length {
            if have == payload.len() {
                // Grow by 125 % of what has arrived, because the announced length alone must not allocate memory. With
                // plain doubling, the buffer for a message of 1 MiB would be a few bytes too small after four steps,
                // which costs another read and another copy of the whole message.
                let more = (have + have / 4).max(self.read_size).min(length - have);
                payload.reserve_exact(more);
                payload.resize(have + more, 0);
            }
            match read(&mut payload[have..])? {
                0 => return Ok(None),
                count => have += count,
            }
        }
        unmask(&mut payload, header);
        Ok(Some(payload))
    }

    /// Adds one data frame. Returns the message if the frame completes it.
    fn data(
        &mut self,
        header: &FrameHeader,
        payload: Vec<u8>,
    ) -> Result<Option<Message>, Violation> {
        let mut message = match self.message.take() {
            None if header.is_final => {
                return message(is_text(header), payload).map(Some);
            }
            None => Partial {
                is_text: is_text(header),
                payload,
                valid: 0,
            },
            Some(mut message) => {
                message.payload.extend_from_slice(&payload);
                message
            }
        };
        if header.is_final {
            let Partial {
                is_text, payload, ..
            } = message;
            return self::message(is_text, payload).map(Some);
        }
        message.check()?;
        self.message = Some(message);
        Ok(None)
    }
}

impl Partial {
    /// Checks the part of a text that has arrived, so that invalid UTF-8 is found before the last fragment arrives.
    fn check(&mut self) -> Result<(), Violation> {
        if !self.is_text {
            return Ok(());
        }
        match std::str::from_utf8(&self.payload[self.valid..]) {
            Ok(_) => self.valid = self.payload.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(NOT_UTF8),
        }
        Ok(())
    }
}

fn is_text(header: &FrameHeader) -> bool {
    header.opcode == OpCode::Data(Data::Text)
}

fn message(is_text: bool, payload: Vec<u8>) -> Result<Message, Violation> {
    if !is_text {
        return Ok(Message::binary(payload));
    }
    String::from_utf8(payload)
        .map(Message::text)
        .map_err(|_| NOT_UTF8)
}

/// Parses the body of a Close: nothing, or a code and a reason (RFC 6455 §5.5.1, §7.4).
fn close_reason(body: &[u8]) -> Result<CloseReason, Violation> {
    let (code, reason) = match body {
        [] => return Ok(CloseReason(None)),
        [_] => return Err(CLOSE_BODY),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    let reason = std::str::from_utf8(reason).map_err(|_| NOT_UTF8)?;
    if may_be_sent(code) {
        Ok(CloseReason::new(code, reason))
    } else {
        Err(CLOSE_CODE)
    }
}

/// Removes the mask (RFC 6455 §5.3), eight bytes at a time.
fn unmask(payload: &mut [u8], header: &FrameHeader) {
    let Some(mask) = header.mask else {
        return;
    };
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = payload.chunks_exact_mut(8);
    for bytes in &mut words {
        let value = u64::from_ne_bytes((&*bytes).try_into().expect("eight bytes"));
        bytes.copy_from_slice(&(value ^ word).to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
#[path = "tests/decoder.rs"]
mod tests;
