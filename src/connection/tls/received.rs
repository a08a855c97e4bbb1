//! [`Received`]: what a peer has sent, from the bytes of the socket to the plaintext in the session.

use std::io::{self, ErrorKind, Read};
use std::sync::Mutex;

use rustls::{Connection as Session, Error};

use crate::sync::lock;

/// The least and the most bytes of one read from the socket.
const LEAST: usize = 2 << 10;
const MOST: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Received {
    /// The bytes that the session has not taken yet are `bytes[start..]`.
    bytes: Vec<u8>,
    start: usize,
    /// Whether the session has plaintext.
    has_plaintext: bool,
    /// Whether the stream has ended, with a close_notify or without. Only a Close begins a closing handshake, so an
    /// attacker gains nothing by cutting the stream off.
    has_ended: bool,
    /// Why the session has failed. It stays failed.
    failed: Option<Error>,
}

impl Received {
    /// Begins with bytes that have been read from the socket already.
    pub(super) fn new(bytes: Vec<u8>) -> Received {
        Received {
            bytes,
            ..Received::default()
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Returns the bytes that the session has not taken yet.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Reads once with `read`, which gets a buffer for `wanted` bytes of plaintext in small records. Large reads let
    /// messages that arrive together be returned together.
    pub(super) fn fill(
        &mut self,
        wanted: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        debug_assert!(
            self.unread().is_empty(),
            "the session takes all bytes first"
        );
        self.start = 0;
        self.bytes.clear();
        let size = wanted.saturating_mul(2).clamp(LEAST, MOST);
        if self.bytes.capacity() > 2 * size {
            self.bytes = Vec::new();
        }
        self.bytes.resize(size, 0);
        let result = read(&mut self.bytes);
        self.bytes.truncate(*result.as_ref().unwrap_or(&0));
        self.has_ended |= result? == 0;
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
        let mut filled = 0;
        while filled < buffer.len() {
            if !self.has_plaintext && !self.advance(&mut lock(session)) {
                break;
            }
            match lock(session).reader().read(&mut buffer[filled..]) {
                Ok(0) => {
                    self.has_ended = true;
                    self.has_plaintext = false;
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.has_plaintext = false,
                Err(error) => return Err(error),
            }
        }
        match &self.failed {
            Some(error) if filled == 0 => Err(invalid(error)),
            _ => Ok(filled),
        }
    }

    /// Returns whether the next `read` returns without reading the socket.
    pub(super) fn is_readable(&mut self, session: &Mutex<Session>) -> bool {
        while !self.has_plaintext {
            if !self.advance(&mut lock(session)) {
                return self.has_ended || self.failed.is_some();
            }
        }
        true
    }

    /// Gives the session up to 4 KiB. Returns whether it has taken some.
    pub(super) fn advance(&mut self, session: &mut Session) -> bool {
        if self.failed.is_some() || self.has_ended || self.unread().is_empty() {
            return false;
        }
        let taken = session.read_tls(&mut &self.bytes[self.start..]);
        let state = match taken {
            Ok(taken) => {
                self.start += taken;
                session.process_new_packets()
            }
            // The text of the error says that a message is too long.
            Err(error) => Err(Error::General(error.to_string())),
        };
        match state {
            Ok(state) => {
                self.has_plaintext = state.plaintext_bytes_to_read() > 0;
                self.has_ended = state.peer_has_closed() && !self.has_plaintext;
            }
            Err(error) => self.fail(error),
        }
        true
    }

    fn fail(&mut self, error: Error) {
        self.bytes = Vec::new();
        self.start = 0;
        self.failed = Some(error);
    }

    pub(super) fn failed(&self) -> Option<&Error> {
        self.failed.as_ref()
    }
}

fn invalid(error: &Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error.clone())
}
