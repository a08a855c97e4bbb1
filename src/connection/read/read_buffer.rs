//! [`ReadBuffer`]: the bytes that have been read and not yet decoded. The buffer grows while reads fill it, and shrinks
//! when they do not.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;

use super::violation::ReadError;

/// The maximum size of one read.
pub(super) const LARGEST: usize = 256 << 10;

/// The size of a read while the client is idle.
pub(super) const IDLE: usize = 1 << 10;

/// The minimum buffer size while the client is active: one whole control frame with its header.
const LEAST: usize = 6 + 125;

/// The factor by which the buffer grows or shrinks in one step.
const STEP: usize = 4;

/// A function that reads bytes into a buffer, and returns their number.
pub(super) type Read<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize, ReadError>;

#[derive(Debug)]
pub(super) struct ReadBuffer {
    /// The bytes that have been read and not yet decoded are `bytes[start..end]`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// The size of a read while the client is active.
    read_size: usize,
    /// Whether the last read filled the buffer.
    filled: bool,
}

/// The header at the beginning of the buffer.
pub(super) struct Header {
    pub(super) frame: FrameHeader,
    /// The length of the header.
    pub(super) size: usize,
    /// The length of the payload.
    pub(super) length: usize,
}

impl Header {
    /// Returns the key that masks the payload. Every frame of a client is masked.
    pub(super) fn mask(&self) -> [u8; 4] {
        self.frame.mask.unwrap_or_default()
    }
}

impl ReadBuffer {
    pub(super) fn new(read_size: usize) -> ReadBuffer {
        ReadBuffer {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            read_size: read_size.clamp(LEAST, LARGEST),
            filled: false,
        }
    }

    /// Returns the bytes that have not been decoded.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Removes bytes that have been decoded.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start += bytes;
    }

    /// Removes all bytes.
    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    pub(super) fn read_size(&self) -> usize {
        self.read_size
    }

    /// Returns the next header, if it has been read completely. The header check has already parsed the same bytes. It
    /// must check a header before its payload is buffered, and does not store the header.
    pub(super) fn header(&self) -> Result<Option<Header>, ReadError> {
        let mut cursor = Cursor::new(self.unread());
        let parsed = FrameHeader::parse(&mut cursor)
            .map_err(|error| ReadError::Io(std::io::Error::other(error)))?;
        Ok(parsed.map(|(frame, length)| Header {
            frame,
            size: usize::try_from(cursor.position()).expect("the position is within the buffer"),
            length: usize::try_from(length).expect("the header check limits it"),
        }))
    }

    /// Reads once. Returns false if the stream has ended.
    pub(super) fn fill(&mut self, read: Read<'_>) -> Result<bool, ReadError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.bytes.len() - self.end < self.read_size / 2 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = self.bytes.len();
        let idle = IDLE.min(self.read_size);
        // Cleared before the read, so that a buffer does not grow in each of many reads that time out.
        let filled = std::mem::take(&mut self.filled);
        if room == 0 {
            self.resize(idle);
        } else if self.end == room || (filled && room < LARGEST) {
            let most = LARGEST.max(self.end + self.read_size);
            self.resize((room * STEP).clamp(self.read_size, most));
        }
        let count = read(&mut self.bytes[self.end..])?;
        self.end += count;
        let room = self.bytes.len();
        self.filled = self.end == room;
        if room > idle && self.start == 0 && self.end < room / STEP {
            self.resize((room / STEP).max(idle));
        }
        Ok(count > 0)
    }

    /// Moves the contents into a new buffer of another size. The kernel zeroes new memory only when it is first used.
    fn resize(&mut self, room: usize) {
        let mut bytes = vec![0; room];
        bytes[..self.end].copy_from_slice(&self.bytes[..self.end]);
        self.bytes = bytes;
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.len()
    }
}
