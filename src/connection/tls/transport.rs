//! [`TlsTransport`]: the socket of a connection with TLS, as a [`Transport`] over the plain socket.
//!
//! **Locks.** The TLS session is in a mutex that is held for work in memory only, and never during a system call. While
//! a thread holds it, the thread takes no other lock and runs no user code. What the reader has received, and the sealed
//! records, lie in slots: a thread takes the value out, uses it, and puts it back.
//!
//! **The right to seal is the right to send.** Each sealed record uses up a sequence number, so records must leave in the
//! order in which they were sealed. Only the holder of the write half seals. During the opening handshake, only one
//! thread uses the connection. What the session produces by itself in `read`, as an alert, waits inside the session until
//! the holder of the write half writes next. Only `shutdown` seals without the write half: the writing has ended by then.
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

use rustls::{Connection as Session, HandshakeKind};

use super::received::Received;
use super::sealed::SealedRecords;
use crate::config::Config;
use crate::connection::socket::{PeerState, Transport};
use crate::connection::write::slot::Slot;
use crate::sync::lock;
use crate::tls::TlsInfo;

/// The reader and the holder of the write half take their values out of the slots. No two threads do the same at once.
const ONE_THREAD: &str = "one thread reads, and one thread writes";

pub(crate) struct TlsTransport {
    /// The plain socket. The watchdog and the other threads that only end the connection have it too.
    socket: Arc<dyn Transport>,
    /// Locked for work in memory only.
    session: Mutex<Session>,
    /// Used by the thread that reads.
    received: Slot<Received>,
    /// Used by the thread that writes.
    sealed: Slot<SealedRecords>,
}

impl TlsTransport {
    /// Returns the socket of a session after its handshake, with what has been received already.
    pub(super) fn new(
        socket: Arc<dyn Transport>,
        session: Session,
        received: Received,
    ) -> TlsTransport {
        TlsTransport {
            socket,
            session: Mutex::new(session),
            received: Slot::free(received),
            sealed: Slot::free(SealedRecords::default()),
        }
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
    fn with_received<T>(&self, read: impl FnOnce(&mut Received) -> T) -> T {
        let mut received = self.received.try_acquire().expect(ONE_THREAD);
        let result = read(&mut received);
        drop(self.received.release(received));
        result
    }

    /// Calls `write` with the sealed records.
    fn with_sealed<T>(&self, write: impl FnOnce(&mut SealedRecords) -> T) -> T {
        let mut sealed = self.sealed.try_acquire().expect(ONE_THREAD);
        let result = write(&mut sealed);
        sealed.shrink();
        drop(self.sealed.release(sealed));
        result
    }

    /// Reads once from the plain socket. `wanted` is how many bytes the caller has room for.
    fn receive(&self, received: &mut Received, wanted: usize) -> io::Result<()> {
        received.fill(wanted, |buffer| self.socket.read(buffer))
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
}

impl Transport for TlsTransport {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.with_received(|received| {
            loop {
                let opened = received.open(&self.session, buffer)?;
                if opened > 0 || buffer.is_empty() || received.has_ended() {
                    return Ok(opened);
                }
                self.receive(received, buffer.len())?;
            }
        })
    }

    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.with_sealed(|sealed| {
            let mut accepted = 0;
            loop {
                let sent = self.try_send(sealed);
                match sent {
                    Ok(bytes) => accepted += bytes,
                    // The next call returns the error again.
                    Err(_) if accepted > 0 => return Ok(accepted),
                    Err(error) => return Err(error),
                }
                // What is sealed and not sent was refused by the socket.
                if !sealed.is_empty() || sealed.seal(&self.session, pieces, accepted)? == 0 {
                    break;
                }
            }
            match accepted {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                accepted => Ok(accepted),
            }
        })
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.with_sealed(|sealed| {
            loop {
                if sealed.is_empty() && sealed.seal(&self.session, &[IoSlice::new(bytes)], 0)? == 0
                {
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
        self.with_sealed(|sealed| sealed.plaintext())
    }

    fn send_session_records(&self) -> io::Result<usize> {
        self.with_sealed(|sealed| {
            sealed.take_session_records(&self.session);
            self.try_send(sealed)
        })
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
                self.receive(received, 0)?;
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
    /// has our Close, or the whole answer, in any case.
    fn shutdown(&self, how: Shutdown) {
        if how == Shutdown::Write
            && let Some(mut sealed) = self.sealed.try_acquire()
        {
            lock(&self.session).send_close_notify();
            sealed.take_session_records(&self.session);
            let _ = self.try_send(&mut sealed);
            drop(self.sealed.release(sealed));
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
