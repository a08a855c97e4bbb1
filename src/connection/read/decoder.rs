//! [`Decoder`]: bytes → frames → messages. All bytes have passed the header check, so headers are well-formed here.
//!
//! It uses tungstenite's public `FrameHeader` instead of its reading context. The context asks the kernel for a fixed
//! number of bytes and zeroes a buffer of that size each time, and one message that is kept pins the whole buffer. Here one
//! buffer serves all small messages, which are copied out of it. The buffer grows while reads fill it, and shrinks when
//! they do not. A large message is read straight into the memory that it will keep.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::{Bytes, Message};

use super::violation::{CLOSE_BODY, CLOSE_CODE, NOT_UTF8, ReadError, Violation};
use crate::connection::write::close::{CloseReason, may_be_sent};

/// The most bytes that are requested at a time, however full the reads are.
const LARGEST: usize = 256 << 10;

/// Bytes that an idle client's reader requests: enough for what wakes it.
const IDLE: usize = 1 << 10;

/// The buffer holds at least one whole control frame with its header.
const LEAST: usize = 6 + 125;

/// The factor of one step of growing or shrinking.
const STEP: usize = 4;

/// What arrived.
#[derive(Debug)]
pub(crate) enum Incoming {
    Data(Message),
    Ping(Bytes),
    Pong(Bytes),
    Close(CloseReason),
    /// The stream has ended.
    End,
}

/// Reads bytes into a buffer, and returns how many.
type Read<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize, ReadError>;

#[derive(Debug)]
pub(crate) struct Decoder {
    /// Bytes that have been read and not yet used are `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes requested at a time while the client is active.
    rest: usize,
    /// The last read filled the buffer.
    filled: bool,
    message: Option<Partial>,
}

/// A message of which fragments are still missing.
#[derive(Debug)]
struct Partial {
    is_text: bool,
    payload: Vec<u8>,
    /// How many bytes of a text have been found to be UTF-8.
    valid: usize,
}

impl Decoder {
    pub(crate) fn new(rest: usize) -> Decoder {
        Decoder {
            buffer: Vec::new(),
            start: 0,
            end: 0,
            rest: rest.clamp(LEAST, LARGEST),
            filled: false,
            message: None,
        }
    }

    /// Returns the next message or control frame.
    ///
    /// # Blocking
    /// In `read`, if what has been read before holds no whole frame.
    pub(crate) fn next(&mut self, read: Read<'_>) -> Result<Incoming, ReadError> {
        loop {
            let Some((header, length, at)) = self.header()? else {
                if !self.fill(read)? {
                    return Ok(Incoming::End);
                }
                continue;
            };
            if self.end - at < length && length > self.rest {
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

    /// Returns the next message if it has been read whole and in one frame. A control frame or a violation before it gives
    /// `None`: those are for [`next`](Self::next).
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

    /// Returns the header at the front, the length of its payload, and where that begins. The header check has parsed
    /// the same bytes before; it must judge a header before its payload is buffered, and keeps nothing of it.
    fn header(&self) -> Result<Option<(FrameHeader, usize, usize)>, ReadError> {
        let mut cursor = Cursor::new(&self.buffer[self.start..self.end]);
        let parsed = FrameHeader::parse(&mut cursor)
            .map_err(|error| ReadError::Io(std::io::Error::other(error)))?;
        Ok(parsed.map(|(header, length)| {
            let length =
                usize::try_from(length).expect("the header check keeps it below max_message");
            let at =
                self.start + usize::try_from(cursor.position()).expect("it lies within the buffer");
            (header, length, at)
        }))
    }

    /// Reads once. Returns false if the stream has ended.
    fn fill(&mut self, read: Read<'_>) -> Result<bool, ReadError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.buffer.len() - self.end < self.rest / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = self.buffer.len();
        let idle = IDLE.min(self.rest);
        if room == 0 {
            self.resize(idle);
        } else if self.end == room || (self.filled && room < LARGEST) {
            let most = LARGEST.max(self.end + self.rest);
            self.resize((room * STEP).clamp(self.rest, most));
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

    /// Moves the contents into a buffer of another size. Fresh zeroed memory costs nothing until it is written to.
    fn resize(&mut self, room: usize) {
        let mut buffer = vec![0; room];
        buffer[..self.end].copy_from_slice(&self.buffer[..self.end]);
        self.buffer = buffer;
    }

    /// Reads a payload that is larger than the buffer into memory of its own. Returns `None` if the stream has ended.
    fn read_large(
        &mut self,
        at: usize,
        length: usize,
        header: &FrameHeader,
        read: Read<'_>,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let mut have = self.end - at;
        let mut payload = Vec::with_capacity(length.min(self.rest.max(have)));
        payload.extend_from_slice(&self.buffer[at..self.end]);
        (self.start, self.end) = (0, 0);
        while have < length {
            if have == payload.len() {
                // Grow by 125 % of what has arrived: the announced length alone earns no memory. With plain doubling, a
                // message of 1 MiB would end a few bytes short after four steps, which costs one more read and one more
                // copy of everything.
                let more = (have + have / 4).max(self.rest).min(length - have);
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
    /// Refuses a text that is already wrong now, and not when its last fragment arrives.
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

/// Removes the mask (RFC 6455 §5.3), a word at a time.
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
