//! [`HeaderCheck`]: judges a frame by its header, before its payload.
//!
//! A reader that looks at a frame once it is whole buffers what it will refuse: tungstenite's context a 15 MiB ping, or
//! 100 million empty fragments in one `read`. So a state machine that looks at headers alone sits in front of ours, and
//! copies nothing.

use crate::config::Config;
use crate::connection::read::violation::{
    CONTROL_FLOOD, FRAGMENTS, TOO_BIG, TOO_FAST, Violation, protocol,
};
use crate::rate::{Bucket, Rate};

/// Pings, pongs and the like that a peer may send: each costs us a look at the slot, and nobody needs so many.
const CONTROL_FRAMES: Rate = Rate {
    per_second: 100,
    burst: 200,
};

/// A header is at most 2 + 8 + 4 bytes (RFC 6455 §5.2).
const MAX_HEADER: usize = 14;

#[derive(Debug)]
pub(crate) struct HeaderCheck {
    max_message: u64,
    max_fragments: usize,
    messages: Option<Bucket>,
    control: Bucket,
    /// The header that is coming in.
    header: [u8; MAX_HEADER],
    have: usize,
    /// Bytes of payload to come.
    payload: u64,
    /// The message that is coming in: frames and bytes so far.
    message: Option<Message>,
    /// The frame that is coming in is the message's last.
    last: bool,
    /// In the bytes judged last a message ended, or a control frame between two.
    ended: bool,
    /// A Close has come: what follows is nobody's.
    closed: bool,
}

#[derive(Debug)]
struct Message {
    frames: usize,
    bytes: u64,
}

impl HeaderCheck {
    /// For a client that began at the moment `now`.
    pub(crate) fn new(config: &Config, now: u64) -> HeaderCheck {
        HeaderCheck {
            max_message: config.max_message as u64,
            max_fragments: config.max_fragments,
            messages: config.rate.map(|rate| Bucket::new(rate, now)),
            control: Bucket::new(CONTROL_FRAMES, now),
            header: [0; MAX_HEADER],
            have: 0,
            payload: 0,
            message: None,
            last: false,
            ended: false,
            closed: false,
        }
    }

    /// Judges the next bytes of the stream, which came at the moment `now`. On a fault, says how many bytes stand before the frame that has it: those
    /// are good, and are to be handed on first.
    pub(crate) fn judge(&mut self, bytes: &[u8], now: u64) -> Result<(), (usize, Violation)> {
        let mut at = 0;
        let mut frame_at = 0;
        self.ended = false;
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
            self.header_grew(now).map_err(|fault| (frame_at, fault))?;
        }
        Ok(())
    }

    /// Passes what most messages are in one go: a frame of their own, masked, of at most 125 bytes, and all of it here.
    /// Gives its length. `None` is no verdict: then byte by byte.
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
        if let Some(messages) = &mut self.messages {
            if !messages.take(now) {
                return None;
            }
        }
        self.ended = true;
        Some(length)
    }

    /// The bytes seen so far end inside a frame or a message.
    pub(crate) fn in_message(&self) -> bool {
        !self.closed && (self.have > 0 || self.payload > 0 || self.message.is_some())
    }

    /// Somewhere in the bytes judged last the stream stood between messages: what it is inside of now began after that.
    pub(crate) fn ended_one(&self) -> bool {
        self.ended
    }

    /// Judges as much of the header as there is, as soon as it is there.
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

    /// The length is known.
    fn frame_begins(&mut self, first: u8, length: u64, now: u64) -> Result<(), Violation> {
        self.payload = length;
        if first & 0x08 != 0 {
            self.last = false;
            // A Close ends it anyway, and is owed an answer.
            return if first & 0x0f == 8 || self.control.take(now) {
                Ok(())
            } else {
                Err(CONTROL_FLOOD)
            };
        }
        if let (None, Some(messages)) = (&self.message, &mut self.messages) {
            if !messages.take(now) {
                return Err(TOO_FAST);
            }
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
        self.ended |= self.message.is_none();
        self.closed = self.header[0] & 0x0f == 8;
    }
}

#[cfg(test)]
#[path = "tests/header_check.rs"]
mod tests;

#[cfg(test)]
#[path = "tests/every_header.rs"]
mod headers;
