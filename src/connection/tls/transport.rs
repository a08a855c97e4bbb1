//! [`TlsTransport`]: the socket of a connection with TLS, as a [`Transport`] over the plain socket.
//!
//! **Locks.** The TLS session is in a mutex that is held for work in memory only, and never during a system call. While
//! a thread holds it, the thread takes no other lock and runs no user code. What the reader has received, and the sealed
//! records, lie in slots: a thread takes the value out, uses it, and puts it back.
//!
//! **The right to seal is the right to send.** Each sealed record uses up a sequence number, so records must leave in the
//! order in which they were sealed. Only the holder of the write half seals. During the opening handshake, only one
//! thread uses the connection. Records that the session makes by itself in `read`, such as an alert, wait inside the session
//! until the holder of the write half writes next. Only `shutdown` seals without the write half. It closes the slot of the sealed
//! records first, so nothing is sealed afterwards.
//!
//! **Sealed bytes can be neither withdrawn nor reordered.** [`Transport::sealed`] returns how many bytes the write path
//! must leave where they are.
//!
//! **Bytes count as written when their record has been written.** A message counts as delivered when the socket has
//! accepted the last record that holds one of its bytes.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::{Connection as Session, HandshakeKind, ServerConfig};

use super::received::Received;
use super::sealed::{LARGEST_RECORD, SealedRecords};
use crate::config::Config;
use crate::connection::socket::{PeerState, Transport};
use crate::connection::write::slot::Slot;
use crate::panic::catch_panic;
use crate::sync::lock;
use crate::tls::TlsInfo;

pub(crate) struct TlsTransport {
    /// The plain socket. The watchdog and the other threads that only end the connection have it too.
    socket: Arc<dyn Transport>,
    /// Locked for work in memory only.
    session: Mutex<Session>,
    /// Used by the thread that reads.
    received: Slot<Received>,
    /// Used by the thread that writes. Closed when our direction has ended.
    sealed: Slot<SealedRecords>,
    /// The most plaintext in a record that is sent.
    largest_record: usize,
}

impl TlsTransport {
    /// Returns the socket of a session after its handshake, with what has been received already. `largest_record` is the
    /// most plaintext in a record that is sent.
    pub(super) fn new(
        socket: Arc<dyn Transport>,
        session: Session,
        received: Received,
        largest_record: usize,
    ) -> TlsTransport {
        TlsTransport {
            socket,
            session: Mutex::new(session),
            received: Slot::free(received),
            sealed: Slot::free(SealedRecords::default()),
            largest_record,
        }
    }

    /// Returns the socket of a session whose handshake a test has run.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn for_tests(
        socket: Arc<dyn Transport>,
        session: Session,
        config: &ServerConfig,
    ) -> TlsTransport {
        let received = Received::new(Vec::new());
        TlsTransport::new(socket, session, received, largest_record(config))
    }

    /// Updates the keys of the server, and asks the peer to do the same.
    #[cfg(test)]
    pub(crate) fn update_keys(&self) {
        let updated = lock(&self.session).refresh_traffic_keys();
        updated.expect("TLS 1.3 has key updates");
    }

    /// Returns the bytes of memory that are allocated for received bytes and for sealed records.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        let received = self.with_received(|received| Ok(received.memory()));
        let sealed = self.with_sealed(|sealed| Ok(sealed.memory()));
        received.unwrap_or(0) + sealed.unwrap_or(0)
    }

    /// Returns what the session tells about the peer.
    pub(crate) fn info(&self) -> TlsInfo {
        TlsInfo::of(&lock(&self.session))
    }

    /// Returns whether the handshake has continued an earlier session of the peer.
    pub(crate) fn is_resumed(&self) -> bool {
        lock(&self.session).handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Calls `read` with what has been received.
    fn with_received<T>(&self, read: impl FnOnce(&mut Received) -> io::Result<T>) -> io::Result<T> {
        take(&self.received, read, |_| {})
    }

    /// Calls `write` with the sealed records.
    fn with_sealed<T>(
        &self,
        write: impl FnOnce(&mut SealedRecords) -> io::Result<T>,
    ) -> io::Result<T> {
        take(&self.sealed, write, SealedRecords::shrink)
    }

    /// Seals what `pieces` has after its first `skip` bytes. Returns how many bytes that are.
    fn seal(
        &self,
        sealed: &mut SealedRecords,
        pieces: &[IoSlice<'_>],
        skip: usize,
    ) -> io::Result<usize> {
        sealed.seal(&self.session, pieces, skip, self.largest_record)
    }

    /// Writes the sealed records as far as the socket accepts them without blocking. Returns the plaintext bytes of the
    /// records that it has accepted.
    fn try_send(&self, sealed: &mut SealedRecords) -> io::Result<usize> {
        if sealed.is_empty() {
            return Ok(0);
        }
        match self.socket.try_write(&[IoSlice::new(sealed.unsent())]) {
            Ok(written) => Ok(sealed.advance(written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Adds what the session has made by itself, and writes as [`try_send`](Self::try_send).
    fn try_send_session_records(&self, sealed: &mut SealedRecords) -> io::Result<usize> {
        sealed.take_from(&mut lock(&self.session));
        self.try_send(sealed)
    }
}

/// Returns the most plaintext in a record. The limit of a configuration includes the header of 5 bytes.
pub(super) fn largest_record(config: &ServerConfig) -> usize {
    let limit = config
        .max_fragment_size
        .map(|limit| limit.saturating_sub(5).max(1));
    limit.map_or(LARGEST_RECORD, |limit| limit.min(LARGEST_RECORD))
}

/// Takes a value out of its slot for a call of `use_it`, and puts it back, after `tidy`.
///
/// A panic of `rustls` ends only this connection, and not the thread, which may be sending for another client. The value
/// is lost then, and every later call fails, as after the end of the slot.
fn take<T, R>(
    slot: &Slot<T>,
    use_it: impl FnOnce(&mut T) -> io::Result<R>,
    tidy: impl FnOnce(&mut T),
) -> io::Result<R> {
    let Some(mut value) = slot.try_acquire() else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let Some(result) = catch_panic(|| use_it(&mut value)) else {
        return Err(io::Error::other("the TLS session panicked"));
    };
    tidy(&mut value);
    drop(slot.release(value));
    result
}

impl Transport for TlsTransport {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.with_received(|received| {
            loop {
                let opened = received.open(&self.session, buffer)?;
                if opened > 0 || buffer.is_empty() || received.has_ended() {
                    return Ok(opened);
                }
                received.fill(|bytes| self.socket.read(bytes))?;
            }
        })
    }

    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.with_sealed(|sealed| {
            let mut accepted = 0;
            let result = loop {
                match self.try_send(sealed) {
                    Ok(bytes) => accepted += bytes,
                    Err(error) => break Err(error),
                }
                // What is sealed and not sent was refused by the socket.
                if !sealed.is_empty() || accepted >= offered {
                    break Ok(());
                }
                if let Err(error) = self.seal(sealed, pieces, accepted) {
                    break Err(error);
                }
            };
            match result {
                // If there was an error, the next call returns it again.
                _ if accepted > 0 => Ok(accepted),
                Ok(()) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error),
            }
        })
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.with_sealed(|sealed| {
            loop {
                if sealed.is_empty() && self.seal(sealed, &[IoSlice::new(bytes)], 0)? == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                let written = self.socket.write(sealed.unsent())?;
                match sealed.advance(written) {
                    // A part of a record, or only records of the session itself.
                    0 => {}
                    accepted => return Ok(accepted),
                }
            }
        })
    }

    fn sealed(&self) -> usize {
        let sealed = self.with_sealed(|sealed| Ok(sealed.plaintext()));
        sealed.unwrap_or(0)
    }

    fn send_session_records(&self) -> io::Result<usize> {
        self.with_sealed(|sealed| self.try_send_session_records(sealed))
    }

    fn wait_readable(&self, limit: Duration) -> io::Result<bool> {
        self.with_received(|received| {
            let deadline = Instant::now().checked_add(limit);
            loop {
                if received.is_readable(&self.session) {
                    return Ok(true);
                }
                let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
                if !self.socket.wait_readable(left.unwrap_or(limit))? {
                    return Ok(false);
                }
                // The socket has bytes, so this does not wait.
                received.fill(|bytes| self.socket.read(bytes))?;
            }
        })
    }

    fn peer_state(&self) -> PeerState {
        self.socket.peer_state()
    }

    fn unread(&self) -> u64 {
        self.socket.unread()
    }

    fn discard(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.discard(buffer)
    }

    /// Before our direction ends, the peer is told so, if the socket accepts it without blocking (RFC 8446 §6.1). The peer
    /// has our Close, or the whole answer, in any case. After a failure, it is sent the alert instead, if one waits.
    ///
    /// A thread that is in the middle of a write meets the end of the socket, as without TLS.
    fn shutdown(&self, how: Shutdown) {
        let last = (how != Shutdown::Read).then(|| self.sealed.close());
        if let Some(mut sealed) = last.flatten() {
            // The peer may have gone.
            let _ = catch_panic(|| {
                if how == Shutdown::Write {
                    lock(&self.session).send_close_notify();
                }
                self.try_send_session_records(&mut sealed)
            });
        }
        self.socket.shutdown(how);
    }

    fn reset_at_end(&self) {
        self.socket.reset_at_end();
    }

    fn limit_read(&self, limit: Duration) {
        self.socket.limit_read(limit);
    }

    fn limit_silence(&self, config: &Config) {
        self.socket.limit_silence(config);
    }
}

impl AsFd for TlsTransport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}
