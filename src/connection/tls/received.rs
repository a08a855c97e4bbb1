//! [`Received`]: what a peer has sent, from the bytes of the socket to the plaintext in the session.

use std::io::{self, ErrorKind, Read};
use std::sync::Mutex;

use rustls::{Connection as Session, Error};

use crate::sync::lock;

/// The least and the most bytes of one read from the socket.
const LEAST: usize = 2 << 10;
const MOST: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Received {
    /// The bytes that the session has not taken yet are `bytes[start..end]`.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// For how many bytes of plaintext the last reader had room.
    wanted: usize,
    /// How many bytes of plaintext the session has. After a failure, this is only an upper limit.
    plaintext: usize,
    /// Whether the stream of the socket has ended.
    is_at_end: bool,
    /// Whether the peer has sent a close_notify. It means the same as the end of the stream: only a Close begins a closing
    /// handshake, so an attacker gains nothing by cutting the stream off.
    is_closed: bool,
    /// Why the session has failed. It stays failed.
    failed: Option<Box<Error>>,
}

impl Received {
    /// Begins with bytes that have been read from the socket already.
    pub(super) fn new(bytes: Vec<u8>) -> Received {
        Received {
            end: bytes.len(),
            bytes,
            start: 0,
            wanted: 0,
            plaintext: 0,
            is_at_end: false,
            is_closed: false,
            failed: None,
        }
    }

    /// Returns whether the stream has ended, and all its plaintext has been taken.
    pub(super) fn has_ended(&self) -> bool {
        self.plaintext == 0 && (self.is_at_end || self.is_closed)
    }

    /// Returns the bytes that the session has not taken yet.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub(super) fn failed(&self) -> Option<&Error> {
        self.failed.as_deref()
    }

    /// Reads once with `read`. Its buffer has room for what the last reader wanted, in small records. Large reads let
    /// messages that arrive together be returned together. After a large message, the memory is freed.
    pub(super) fn fill(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        debug_assert!(
            self.unread().is_empty(),
            "the session takes all bytes first"
        );
        (self.start, self.end) = (0, 0);
        let size = self.wanted.saturating_mul(2).clamp(LEAST, MOST);
        if self.bytes.len() < size || self.bytes.len() > 2 * size {
            self.bytes = vec![0; size];
        }
        self.end = read(&mut self.bytes[..size])?;
        self.is_at_end |= self.end == 0;
        Ok(())
    }

    /// Opens records into `buffer` until it is full, or nothing is left to open. Returns the number of bytes, or 0.
    ///
    /// # Errors
    /// `InvalidData` if the peer has violated the protocol. What was opened before is returned first.
    pub(super) fn open(
        &mut self,
        session: &Mutex<Session>,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        self.wanted = buffer.len();
        let mut filled = 0;
        while filled < buffer.len() {
            // Locked anew each time, because senders wait for the lock.
            let mut session = lock(session);
            if self.plaintext == 0 && !self.advance(&mut session) {
                break;
            }
            if self.plaintext > 0 {
                // The session has none if the count is that of a failure.
                let count = session.reader().read(&mut buffer[filled..]).unwrap_or(0);
                filled += count;
                self.plaintext = if count == 0 {
                    0
                } else {
                    self.plaintext - count
                };
            }
        }
        match &self.failed {
            Some(error) if filled == 0 && !buffer.is_empty() => {
                Err(io::Error::new(ErrorKind::InvalidData, error.clone()))
            }
            _ => Ok(filled),
        }
    }

    /// Returns whether the next `read` returns without reading the socket.
    pub(super) fn is_readable(&mut self, session: &Mutex<Session>) -> bool {
        while self.plaintext == 0 {
            if !self.advance(&mut lock(session)) {
                return self.has_ended() || self.failed.is_some();
            }
        }
        true
    }

    /// Gives the session some bytes. Returns whether there were any.
    pub(super) fn advance(&mut self, session: &mut Session) -> bool {
        if self.failed.is_some() || self.is_closed || self.unread().is_empty() {
            return false;
        }
        // The session takes 4 KiB, or the rest of a record for which it has room already.
        let state = match session.read_tls(&mut &self.bytes[self.start..self.end]) {
            Ok(taken) => {
                self.start += taken;
                session.process_new_packets()
            }
            // The text of the error says that a message is too long.
            Err(error) => Err(Error::General(error.to_string())),
        };
        match state {
            Ok(state) => {
                self.plaintext = state.plaintext_bytes_to_read();
                self.is_closed = state.peer_has_closed();
            }
            Err(error) => {
                // For some violations, such as too many key updates, the session makes no alert. The peer then sees this one.
                session.send_close_notify();
                self.fail(error);
            }
        }
        true
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    fn fail(&mut self, error: Error) {
        self.bytes = Vec::new();
        (self.start, self.end) = (0, 0);
        // There may be some of the records before the bad one.
        self.plaintext = usize::MAX;
        self.failed = Some(Box::new(error));
    }
}
