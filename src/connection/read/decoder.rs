//! [`Decoder`]: bytes → frames → messages. Every byte has passed the guard, so what is here is well-formed.
//!
//! It reads on tungstenite's public `FrameHeader` instead of its whole context, which asks the kernel for a fixed number
//! of bytes and zeroes a buffer of that size each time, and of which one kept message pins all. Here one buffer serves
//! all small messages, copied out of it; it grows while reads fill it and shrinks when they do not. A large message is
//! read straight into the memory it will keep.

use std::io::{self, Cursor, Read};

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::{Bytes, Message};

use crate::connection::queue::outbox::sendable;
use crate::connection::read::violation::{CLOSE_BODY, CLOSE_CODE, NOT_UTF8, Violation};
use crate::connection::write::control_slot::CloseReason;

/// Bytes that are asked for at a time at most, however full the reads are.
const LARGEST: usize = 256 << 10;

/// Bytes that an idle client's reader asks for: enough for what wakes it.
const IDLE: usize = 1 << 10;

/// A buffer holds at least one control frame whole, header and all: what is read past it is data.
const LEAST: usize = 6 + 125;

/// One step of growing or shrinking.
const STEP: usize = 4;

/// What came.
#[derive(Debug)]
pub(crate) enum Incoming {
    Data(Message),
    Ping(Bytes),
    Pong(Bytes),
    Close(CloseReason),
    /// The stream has ended.
    End,
}

#[derive(Debug)]
pub(crate) struct Decoder {
    /// Bytes read and not yet used are `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes asked for when there is more than a little to read.
    rest: usize,
    /// The last read took all the room there was.
    filled: bool,
    message: Option<Partial>,
}

/// A message of which not all fragments are here.
#[derive(Debug)]
struct Partial {
    is_text: bool,
    payload: Vec<u8>,
    /// Bytes of a text that are UTF-8 so far.
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

    /// The next message or control frame.
    ///
    /// # Blocking
    /// In `stream`, when what was read before holds no whole frame.
    pub(crate) fn next(&mut self, stream: &mut impl Read) -> io::Result<Incoming> {
        loop {
            let Some((header, length, at)) = self.header()? else {
                if !self.fill(stream)? {
                    return Ok(Incoming::End);
                }
                continue;
            };
            if self.end - at < length && length > self.rest {
                let Some(payload) = self.read_large(at, length, &header, stream)? else {
                    return Ok(Incoming::End);
                };
                if let Some(message) = self.data(&header, payload)? {
                    return Ok(Incoming::Data(message));
                }
                continue;
            }
            if self.end - at < length {
                if !self.fill(stream)? {
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
                OpCode::Control(_) => return Ok(Incoming::Close(goodbye(&payload)?)),
                OpCode::Data(_) => {
                    if let Some(message) = self.data(&header, payload)? {
                        return Ok(Incoming::Data(message));
                    }
                }
            }
        }
    }

    /// The next message behind one that [`next`](Self::next) gave, if it has been read whole, in one frame, and no control
    /// frame or mistake comes before it: those are for `next`.
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

    /// The header at the front, the length of its payload, and where that begins.
    fn header(&self) -> io::Result<Option<(FrameHeader, usize, usize)>> {
        let mut cursor = Cursor::new(&self.buffer[self.start..self.end]);
        let parsed = FrameHeader::parse(&mut cursor).map_err(io::Error::other)?;
        Ok(parsed.map(|(header, length)| {
            let length = usize::try_from(length).expect("the guard keeps it below max_message");
            let at = self.start + usize::try_from(cursor.position()).expect("within the buffer");
            (header, length, at)
        }))
    }

    /// Reads once. False: the stream has ended.
    fn fill(&mut self, stream: &mut impl Read) -> io::Result<bool> {
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
        let read = stream.read(&mut self.buffer[self.end..])?;
        self.end += read;
        let room = self.buffer.len();
        self.filled = self.end == room;
        if room > idle && self.start == 0 && self.end < room / STEP {
            self.resize((room / STEP).max(idle));
        }
        Ok(read > 0)
    }

    /// Moves what is there into a buffer of another size. Fresh zeroed memory costs nothing until it is written to.
    fn resize(&mut self, room: usize) {
        let mut buffer = vec![0; room];
        buffer[..self.end].copy_from_slice(&self.buffer[..self.end]);
        self.buffer = buffer;
    }

    /// Reads a payload that is larger than the buffer at rest into memory of its own. `None`: the stream has ended.
    fn read_large(
        &mut self,
        at: usize,
        length: usize,
        header: &FrameHeader,
        stream: &mut impl Read,
    ) -> io::Result<Option<Vec<u8>>> {
        let mut have = self.end - at;
        let mut payload = Vec::with_capacity(length.min(self.rest.max(have)));
        payload.extend_from_slice(&self.buffer[at..self.end]);
        (self.start, self.end) = (0, 0);
        while have < length {
            if have == payload.len() {
                // As much again as has come, and a quarter: a claim of a length is not worth memory yet. Without the quarter
                // a MiB would be four doublings of what came with its header, and in the end some bytes short: one more
                // read, and one more copy of all.
                let more = (have + have / 4).max(self.rest).min(length - have);
                payload.reserve_exact(more);
                payload.resize(have + more, 0);
            }
            match stream.read(&mut payload[have..])? {
                0 => return Ok(None),
                read => have += read,
            }
        }
        unmask(&mut payload, header);
        Ok(Some(payload))
    }

    /// One data frame; the message, if it is whole with it.
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
    /// A text that is wrong already is refused now, not when its last fragment comes.
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

/// A Close's body: nothing, or a code and a reason (RFC 6455 §5.5.1, §7.4).
fn goodbye(body: &[u8]) -> Result<CloseReason, Violation> {
    let (code, reason) = match body {
        [] => return Ok(CloseReason(None)),
        [_] => return Err(CLOSE_BODY),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    let reason = std::str::from_utf8(reason).map_err(|_| NOT_UTF8)?;
    if sendable(code) == code {
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
