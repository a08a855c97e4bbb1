//! [`Decoder`]: turns bytes into frames and frames into messages. All bytes have passed the header check, so every
//! header is well-formed.
//!
//! The decoder uses tungstenite's public `FrameHeader`, but not its reading context. That context requests a fixed
//! number of bytes in each read and zeroes a buffer of that size each time, and a single message that is kept keeps the
//! whole buffer alive. This decoder copies small messages out of one buffer. A large message is
//! read directly into its own memory. The decoder keeps what has arrived of a frame or message, so a read may fail and be
//! repeated.

use bytes::Bytes;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::message::Message;

use super::read_buffer::{Header, Read, ReadBuffer};
use super::streamed::{Streamed, unmask};
use super::violation::{CLOSE_BODY, CLOSE_CODE, NOT_UTF8, ReadError, TOO_BIG, Violation};
use crate::config::Config;
use crate::connection::write::close::{CloseReason, may_be_sent};

/// A message, a control frame, or the end.
#[derive(Debug)]
pub(crate) enum Incoming {
    Data(Message),
    Ping(Bytes),
    Pong(Bytes),
    Close(CloseReason),
    /// A message begins that [`Decoder::next_part`] returns in parts.
    Begin {
        is_text: bool,
    },
    /// This many bytes of that message were stored, or were discarded.
    Part(usize),
    /// That message is complete.
    EndOfMessage,
    /// The stream has ended.
    End,
}

#[derive(Debug)]
pub(crate) struct Decoder {
    pub(super) buffer: ReadBuffer,
    max_message: usize,
    pub(super) max_streamed: usize,
    pub(super) message: Option<Partial>,
    /// The frame in progress, if it is larger than the buffer.
    pub(super) large: Option<Box<Large>>,
    /// The message that is read in parts, or that is discarded.
    pub(super) streamed: Option<Box<Streamed>>,
}

/// An incomplete fragmented message.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) is_text: bool,
    pub(super) payload: Vec<u8>,
    /// How many bytes of a text have been validated as UTF-8.
    valid: usize,
}

/// An incomplete frame whose payload is read into its own memory.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) opcode: OpCode,
    pub(super) is_final: bool,
    pub(super) mask: [u8; 4],
    pub(super) length: usize,
    /// The first `have` bytes have arrived.
    pub(super) payload: Vec<u8>,
    pub(super) have: usize,
}

impl Decoder {
    pub(crate) fn new(config: &Config) -> Decoder {
        Decoder {
            buffer: ReadBuffer::new(config.read_buffer),
            max_message: config.max_message,
            max_streamed: config.max_streamed_message.unwrap_or(config.max_message),
            message: None,
            large: None,
            streamed: None,
        }
    }

    /// Returns the next message or control frame. After an error of `read`, the call can be repeated: what has arrived
    /// is kept.
    ///
    /// The rest of a message that [`next_part`](Self::next_part) has not returned is discarded, in parts.
    ///
    /// # Blocking
    /// Blocks in `read`, unless a whole frame has already been read.
    pub(crate) fn next(&mut self, read: Read<'_>) -> Result<Incoming, ReadError> {
        if self.streamed.is_some() {
            return self.discard_part(read);
        }
        loop {
            if self.large.is_some() {
                let Some(large) = self.read_large(read)? else {
                    return Ok(Incoming::End);
                };
                if let Some(message) = self.data(large.opcode, large.is_final, large.payload)? {
                    return Ok(Incoming::Data(message));
                }
                continue;
            }
            let Some(header) = self.buffer.header()? else {
                if !self.buffer.fill(read)? {
                    return Ok(Incoming::End);
                }
                continue;
            };
            let (length, size) = (header.length, header.size);
            if self.is_too_big(&header) {
                return Err(TOO_BIG.into());
            }
            if self.buffer.unread().len() - size < length {
                if length > self.buffer.read_size() {
                    self.begin_large(&header);
                } else if !self.buffer.fill(read)? {
                    return Ok(Incoming::End);
                }
                continue;
            }
            match header.frame.opcode {
                OpCode::Control(_) => return self.control(&header),
                OpCode::Data(_) => {
                    let payload = self.take_payload(&header);
                    let (opcode, is_final) = (header.frame.opcode, header.frame.is_final);
                    if let Some(message) = self.data(opcode, is_final, payload)? {
                        return Ok(Incoming::Data(message));
                    }
                }
            }
        }
    }

    /// Returns whether this frame makes the message in progress too large to be collected. The header check allows as
    /// much as the larger of the limits for messages and for streams.
    fn is_too_big(&self, header: &Header) -> bool {
        let collected = self
            .message
            .as_ref()
            .map_or(0, |message| message.payload.len());
        collected.saturating_add(header.length) > self.max_message
            && matches!(header.frame.opcode, OpCode::Data(_))
    }

    /// Returns the next message if it has been read completely and is a single frame. Returns `None` if a control
    /// frame, a fragment or a violation is next; [`next`](Self::next) handles those.
    pub(crate) fn next_if_read(&mut self) -> Option<Message> {
        let header = self.buffer.header().ok()??;
        let is_whole =
            header.frame.is_final && self.buffer.unread().len() - header.size >= header.length;
        let is_data = matches!(header.frame.opcode, OpCode::Data(Data::Text | Data::Binary));
        if !is_whole || !is_data || header.length > self.max_message {
            return None;
        }
        let mut payload = self.buffer.unread()[header.size..][..header.length].to_vec();
        unmask(&mut payload, header.mask());
        let message = message(is_text(header.frame.opcode), payload).ok()?;
        self.buffer.consume(header.size + header.length);
        Some(message)
    }

    /// Returns whether the buffer has a whole frame, or the beginning of a frame that is larger than the buffer.
    pub(crate) fn has_frame(&self) -> bool {
        let has_all = |header: Header| {
            let is_large = header.length > self.buffer.read_size();
            is_large || self.buffer.unread().len() - header.size >= header.length
        };
        match &self.streamed {
            Some(_) => !self.buffer.unread().is_empty(),
            None => !matches!(
                self.buffer.header().map(|header| header.map(has_all)),
                Ok(None | Some(false))
            ),
        }
    }

    /// Copies the payload of a frame that lies whole in the buffer.
    fn take_payload(&mut self, header: &Header) -> Vec<u8> {
        let mut payload = self.buffer.unread()[header.size..][..header.length].to_vec();
        self.buffer.consume(header.size + header.length);
        unmask(&mut payload, header.mask());
        payload
    }

    /// Takes a control frame that lies whole in the buffer.
    pub(super) fn control(&mut self, header: &Header) -> Result<Incoming, ReadError> {
        let payload = self.take_payload(header);
        match header.frame.opcode {
            OpCode::Control(Control::Ping) => Ok(Incoming::Ping(payload.into())),
            OpCode::Control(Control::Pong) => Ok(Incoming::Pong(payload.into())),
            _ => Ok(Incoming::Close(close_reason(&payload)?)),
        }
    }

    /// Moves the beginning of a frame that is larger than the buffer into memory of its own.
    fn begin_large(&mut self, header: &Header) {
        let begun = &self.buffer.unread()[header.size..];
        let have = begun.len();
        let mut payload = Vec::with_capacity(header.length.min(self.buffer.read_size().max(have)));
        payload.extend_from_slice(begun);
        self.buffer.clear();
        self.large = Some(Box::new(Large {
            opcode: header.frame.opcode,
            is_final: header.frame.is_final,
            mask: header.mask(),
            length: header.length,
            payload,
            have,
        }));
    }

    /// Reads the rest of the frame in `large`, and takes it. Returns `None` if the stream has ended.
    fn read_large(&mut self, read: Read<'_>) -> Result<Option<Box<Large>>, ReadError> {
        let read_size = self.buffer.read_size();
        while let Some(large) = &mut self.large {
            let (have, length) = (large.have, large.length);
            if have == length {
                break;
            }
            if have == large.payload.len() {
                // Grow by 125 % of what has arrived, because the announced length alone must not allocate memory. With
                // plain doubling, the buffer for a message of 1 MiB would be a few bytes too small after four steps,
                // which costs another read and another copy of the whole message.
                let more = (have + have / 4).max(read_size).min(length - have);
                large.payload.reserve_exact(more);
                large.payload.resize(have + more, 0);
            }
            match read(&mut large.payload[have..])? {
                0 => return Ok(None),
                count => large.have += count,
            }
        }
        Ok(self.large.take().map(|mut large| {
            unmask(&mut large.payload, large.mask);
            large
        }))
    }

    /// Adds one data frame. Returns the message if the frame completes it.
    fn data(
        &mut self,
        opcode: OpCode,
        is_final: bool,
        payload: Vec<u8>,
    ) -> Result<Option<Message>, Violation> {
        let mut message = match self.message.take() {
            None if is_final => {
                return message(is_text(opcode), payload).map(Some);
            }
            None => Partial {
                is_text: is_text(opcode),
                payload,
                valid: 0,
            },
            Some(mut message) => {
                message.payload.extend_from_slice(&payload);
                message
            }
        };
        if is_final {
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

pub(super) fn is_text(opcode: OpCode) -> bool {
    opcode == OpCode::Data(Data::Text)
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

#[cfg(test)]
#[path = "tests/decoder.rs"]
mod tests;
