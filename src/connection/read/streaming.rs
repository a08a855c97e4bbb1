//! The half of [`Decoder`] that returns a message in parts, or discards it.

use tungstenite::protocol::frame::coding::OpCode;

use super::decoder::{Decoder, Incoming, is_text};
use super::read_buffer::{Header, Read};
use super::streamed::{Streamed, unmask};
use super::violation::{ReadError, TOO_BIG, Violation};

/// A buffer of at least this size is read into directly, without a copy.
const DIRECT: usize = 4 << 10;

impl Decoder {
    /// Begins the next message, whose payload [`next_part`](Self::next_part) returns. An earlier message of which not all
    /// parts were taken is discarded first, in parts.
    ///
    /// # Blocking
    /// As [`next`](Self::next), for the header of a frame.
    pub(crate) fn begin_stream(&mut self, read: Read<'_>) -> Result<Incoming, ReadError> {
        if self.streamed.is_some() {
            return self.discard_part(read);
        }
        if self.message.is_some() || self.large.is_some() {
            return Ok(self.stream_collected());
        }
        let Some(header) = self.next_header(read)? else {
            return Ok(Incoming::End);
        };
        if let OpCode::Control(_) = header.frame.opcode {
            return self.control(&header);
        }
        let is_text = is_text(header.frame.opcode);
        let mut streamed = Streamed::new(is_text, Vec::new());
        self.begin_frame(&header, &mut streamed)?;
        self.streamed = Some(Box::new(streamed));
        Ok(Incoming::Begin { is_text })
    }

    /// Turns the message in progress, which a receive has begun, into a stream.
    fn stream_collected(&mut self) -> Incoming {
        let (mut is_text, mut payload) = match self.message.take() {
            Some(message) => (message.is_text, message.payload),
            None => (false, Vec::new()),
        };
        let Some(mut large) = self.large.take() else {
            self.streamed = Some(Box::new(Streamed::new(is_text, payload)));
            return Incoming::Begin { is_text };
        };
        is_text |= super::decoder::is_text(large.opcode);
        large.payload.truncate(large.have);
        let mut mask = large.mask;
        unmask(&mut large.payload, mask);
        payload.append(&mut large.payload);
        mask.rotate_left(large.have % 4);
        let mut streamed = Streamed::new(is_text, payload);
        // The limit for collected messages was checked when the frame began.
        streamed.begin_frame(large.length - large.have, mask, large.is_final, usize::MAX);
        self.streamed = Some(Box::new(streamed));
        Incoming::Begin { is_text }
    }

    /// Stores the next bytes of the message that [`begin_stream`](Self::begin_stream) has begun in `out`, which must not
    /// be empty. Also returns control frames that arrive between its frames.
    ///
    /// # Blocking
    /// Blocks in `read`, unless payload has already been read.
    pub(crate) fn next_part(
        &mut self,
        out: &mut [u8],
        read: Read<'_>,
    ) -> Result<Incoming, ReadError> {
        self.part(Some(out), read)
    }

    pub(super) fn discard_part(&mut self, read: Read<'_>) -> Result<Incoming, ReadError> {
        if let Some(streamed) = &mut self.streamed {
            streamed.discard();
        }
        self.part(None, read)
    }

    /// Returns the next part of the streamed message, or discards it.
    fn part(&mut self, mut out: Option<&mut [u8]>, read: Read<'_>) -> Result<Incoming, ReadError> {
        loop {
            let Some(streamed) = self.streamed.as_mut() else {
                return Ok(Incoming::EndOfMessage);
            };
            if streamed.is_complete() {
                streamed.end()?;
                self.streamed = None;
                return Ok(Incoming::EndOfMessage);
            }
            if streamed.has_collected()
                && let Some(out) = out
            {
                return Ok(Incoming::Part(streamed.take_collected(out)?));
            }
            if streamed.left() == 0 {
                let Some(header) = self.next_header(read)? else {
                    return Ok(Incoming::End);
                };
                if let OpCode::Control(_) = header.frame.opcode {
                    return self.control(&header);
                }
                if let Some(mut streamed) = self.streamed.take() {
                    self.begin_frame(&header, &mut streamed)?;
                    self.streamed = Some(streamed);
                }
                continue;
            }
            let unread = self.buffer.unread();
            if unread.is_empty() {
                let direct = out.as_deref_mut().filter(|out| out.len() >= DIRECT);
                let Some(out) = direct else {
                    if !self.buffer.fill(read)? {
                        return Ok(Incoming::End);
                    }
                    continue;
                };
                let most = out.len().min(streamed.left());
                let count = read(&mut out[..most])?;
                streamed.accept(&mut out[..count])?;
                return Ok(match count {
                    0 => Incoming::End,
                    count => Incoming::Part(count),
                });
            }
            let most = out.as_ref().map_or(usize::MAX, |out| out.len());
            let count = unread.len().min(streamed.left()).min(most);
            if let Some(out) = out {
                out[..count].copy_from_slice(&unread[..count]);
                streamed.accept(&mut out[..count])?;
            } else {
                streamed.skip(count);
            }
            self.buffer.consume(count);
            return Ok(Incoming::Part(count));
        }
    }

    /// Returns the next header. If it is that of a control frame, the whole frame is in the buffer. Returns `None` if
    /// the stream has ended.
    fn next_header(&mut self, read: Read<'_>) -> Result<Option<Header>, ReadError> {
        loop {
            if let Some(header) = self.buffer.header()? {
                let is_control = matches!(header.frame.opcode, OpCode::Control(_));
                if !is_control || self.buffer.unread().len() - header.size >= header.length {
                    return Ok(Some(header));
                }
            }
            if !self.buffer.fill(read)? {
                return Ok(None);
            }
        }
    }

    /// Takes the header of a frame of a streamed message.
    fn begin_frame(&mut self, header: &Header, streamed: &mut Streamed) -> Result<(), Violation> {
        self.buffer.consume(header.size);
        let (mask, is_final) = (header.mask(), header.frame.is_final);
        match streamed.begin_frame(header.length, mask, is_final, self.max_streamed) {
            true => Ok(()),
            false => Err(TOO_BIG),
        }
    }
}
