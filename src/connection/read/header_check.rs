//! [`HeaderCheck`]: validates each frame by its header, before its payload is buffered.
//!
//! A reader that checks a frame only when it is complete buffers invalid frames too: tungstenite's context buffers a
//! ping of 15 MiB, or 100 million empty fragments in one `read`. So this state machine checks all bytes before they
//! reach the decoder. It looks only at headers and copies no payload.

use super::violation::{CONTROL_FLOOD, FRAGMENTS, TOO_BIG, TOO_FAST, Violation, protocol};
use crate::config::Config;
use crate::rate::{Bucket, Rate};

/// The rate of control frames that a peer may send. Each one costs work, and no well-behaved client needs more.
const CONTROL_FRAMES: Rate = Rate::per_second(100).burst(200);

/// A header has at most 2 + 8 + 4 bytes (RFC 6455 §5.2).
const MAX_HEADER: usize = 14;

#[derive(Debug)]
pub(crate) struct HeaderCheck {
    /// The larger of the limits for messages and for streams. The decoder checks the limit for messages, because only
    /// the decoder knows whether the handler reads a message as a stream.
    max_message: u64,
    max_fragments: usize,
    messages: Option<Bucket>,
    control: Bucket,
    /// The header in progress. Its first `have` bytes have arrived.
    header: [u8; MAX_HEADER],
    have: usize,
    /// How many bytes of the payload in progress are missing.
    payload: u64,
    /// The message in progress.
    message: Option<Message>,
    /// Whether the frame in progress is the last one of its message.
    last: bool,
    /// Whether a message, or a control frame between messages, ended in the last call of `check`.
    passed_boundary: bool,
    /// Whether a Close has arrived. All bytes after it are ignored.
    closed: bool,
}

/// The number of frames and payload bytes of the message in progress.
#[derive(Debug)]
struct Message {
    frames: usize,
    bytes: u64,
}

impl HeaderCheck {
    /// Returns the check for a client that connects at the time `now`.
    pub(crate) fn new(config: &Config, now: u64) -> HeaderCheck {
        HeaderCheck {
            max_message: config
                .max_message
                .max(config.max_streamed_message.unwrap_or(0)) as u64,
            max_fragments: config.max_fragments,
            messages: config.rate.map(|rate| Bucket::new(rate, now)),
            control: Bucket::new(CONTROL_FRAMES, now),
            header: [0; MAX_HEADER],
            have: 0,
            payload: 0,
            message: None,
            last: false,
            passed_boundary: false,
            closed: false,
        }
    }

    /// Checks the next bytes of the stream, which arrived at the time `now`.
    ///
    /// # Errors
    /// Returns the violation, and the number of bytes before the invalid frame. Those bytes are valid and must be
    /// decoded first.
    pub(crate) fn check(&mut self, bytes: &[u8], now: u64) -> Result<(), (usize, Violation)> {
        let mut at = 0;
        let mut frame_at = 0;
        self.passed_boundary = false;
        while at < bytes.len() && !self.closed {
            if let Some(length) = self.short_message(&bytes[at..], now) {
                at += length;
                continue;
            }
            if self.payload > 0 {
                let rest = bytes.len() - at;
                let skip = usize::try_from(self.payload).map_or(rest, |payload| payload.min(rest));
                self.payload -= skip as u64;
                at += skip;
                if self.payload == 0 {
                    self.frame_ended();
                }
                continue;
            }
            if self.have == 0 {
                frame_at = at;
            }
            self.header[self.have] = bytes[at];
            self.have += 1;
            at += 1;
            self.header_grew(now)
                .map_err(|violation| (frame_at, violation))?;
        }
        Ok(())
    }

    /// Fast path for most messages: checks a single masked frame of at most 125 bytes that has arrived completely, and
    /// returns its length. `None` means that the bytes must be checked one by one.
    fn short_message(&mut self, bytes: &[u8], now: u64) -> Option<usize> {
        let [0x81 | 0x82, second @ 0x80..=0xfd, ..] = *bytes else {
            return None;
        };
        let payload = usize::from(second & 0x7f);
        let length = 2 + 4 + payload;
        let between = self.have == 0 && self.payload == 0 && self.message.is_none();
        let allowed = payload as u64 <= self.max_message && self.max_fragments > 0;
        if !between || !allowed || bytes.len() < length {
            return None;
        }
        if let Some(messages) = &mut self.messages
            && !messages.take(now)
        {
            return None;
        }
        self.passed_boundary = true;
        Some(length)
    }

    /// Returns whether the bytes so far end inside a frame or a message.
    pub(crate) fn in_message(&self) -> bool {
        !self.closed && (self.have > 0 || self.payload > 0 || self.message.is_some())
    }

    /// Returns whether the bytes of the last call contained a message boundary. If so, a message in progress began
    /// after it.
    pub(crate) fn passed_boundary(&self) -> bool {
        self.passed_boundary
    }

    /// Checks the header after each byte, so that a violation is found as early as possible.
    fn header_grew(&mut self, now: u64) -> Result<(), Violation> {
        let (first, second) = (self.header[0], self.header[1]);
        if self.have == 1 {
            return self.first_byte(first);
        }
        let short = second & 0x7f;
        if self.have == 2 {
            // RFC 6455 §5.1
            if second & 0x80 == 0 {
                return Err(protocol("frame is not masked"));
            }
            // RFC 6455 §5.5
            if first & 0x08 != 0 && short > 125 {
                return Err(protocol("control frame over 125 bytes"));
            }
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.have == 2 + extended {
            let length = match extended {
                0 => u64::from(short),
                _ => self.header[2..2 + extended]
                    .iter()
                    .fold(0, |length, byte| length << 8 | u64::from(*byte)),
            };
            // RFC 6455 §5.2: the minimal number of bytes, and the most significant bit 0.
            if length >> 63 != 0 {
                return Err(protocol("length has its highest bit set"));
            }
            if (extended == 2 && length < 126) || (extended == 8 && length < 65_536) {
                return Err(protocol("length is not in its shortest form"));
            }
            self.frame_begins(first, length, now)?;
        }
        if self.have == 2 + extended + 4 {
            self.have = 0;
            if self.payload == 0 {
                self.frame_ended();
            }
        }
        Ok(())
    }

    fn first_byte(&self, first: u8) -> Result<(), Violation> {
        if first & 0x70 != 0 {
            return Err(protocol("reserved bits without an extension"));
        }
        let is_final = first & 0x80 != 0;
        match first & 0x0f {
            0 if self.message.is_none() => Err(protocol("continuation of nothing")),
            1 | 2 if self.message.is_some() => Err(protocol("new message inside another")),
            0..=2 => Ok(()),
            8..=10 if !is_final => Err(protocol("control frame in fragments")),
            8..=10 => Ok(()),
            _ => Err(protocol("reserved opcode")),
        }
    }

    /// Checks a frame whose payload length is known.
    fn frame_begins(&mut self, first: u8, length: u64, now: u64) -> Result<(), Violation> {
        self.payload = length;
        if first & 0x08 != 0 {
            self.last = false;
            // The rate does not apply to a Close, which ends the connection and must be answered.
            return if first & 0x0f == 8 || self.control.take(now) {
                Ok(())
            } else {
                Err(CONTROL_FLOOD)
            };
        }
        if let (None, Some(messages)) = (&self.message, &mut self.messages)
            && !messages.take(now)
        {
            return Err(TOO_FAST);
        }
        let message = self.message.get_or_insert(Message {
            frames: 0,
            bytes: 0,
        });
        message.frames += 1;
        message.bytes = message.bytes.saturating_add(length);
        if message.bytes > self.max_message {
            return Err(TOO_BIG);
        }
        if message.frames > self.max_fragments {
            return Err(FRAGMENTS);
        }
        self.last = first & 0x80 != 0;
        Ok(())
    }

    fn frame_ended(&mut self) {
        if self.last {
            self.message = None;
            self.last = false;
        }
        self.passed_boundary |= self.message.is_none();
        self.closed = self.header[0] & 0x0f == 8;
    }
}

#[cfg(test)]
#[path = "tests/header_check.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/every_header.rs"]
mod headers;
