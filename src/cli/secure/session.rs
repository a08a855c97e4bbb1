//! [`TlsSession`]: the TLS session on the socket of a command. One thread may read while another one writes.
//!
//! The session is in a mutex that is held for work in memory only. Received bytes and sealed records lie in
//! slots: a thread takes the value out, uses it, and puts it back. So no thread waits for the socket with a lock, and a
//! thread that reads never keeps another one from writing.

use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Error};
use socket2::Socket;
use standpipe::rustls;

/// The least and the most bytes of one read from the socket. A client that reads slowly on purpose asks for few.
const LEAST: usize = 512;
const MOST: usize = 16 << 10;

/// The most plaintext that is sealed before it is written: four records.
const SEALED: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct TlsSession {
    session: Mutex<ClientConnection>,
    received: Slot<Received>,
    sealed: Slot<Sealed>,
}

/// A value that one thread at a time takes out. It is empty meanwhile.
#[derive(Debug)]
struct Slot<T>(Mutex<Option<T>>);

/// The bytes that the session has not taken yet: `bytes[taken..]`.
#[derive(Debug, Default)]
struct Received {
    bytes: Vec<u8>,
    taken: usize,
    /// Whether the stream has ended, as the server has announced or not.
    has_ended: bool,
    /// Why the session has failed. It stays failed.
    error: Option<Error>,
}

/// The records that the socket has not accepted yet.
#[derive(Debug, Default)]
struct Sealed {
    bytes: Vec<u8>,
    /// Whether a record has been written in part. Nothing can be written after that.
    has_failed: bool,
}

impl TlsSession {
    /// Runs the handshake.
    ///
    /// # Blocking
    /// Waits for the server, for at most `limit`. Then the time limits of the socket are what they were.
    pub(super) fn open(
        socket: &Socket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        limit: Duration,
    ) -> io::Result<TlsSession> {
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let tls = TlsSession {
            session: Mutex::new(session),
            received: Slot(Mutex::new(Some(Received::default()))),
            sealed: Slot(Mutex::new(Some(Sealed::default()))),
        };
        let (reading, writing) = (socket.read_timeout()?, socket.write_timeout()?);
        let end = Instant::now() + limit;
        let mut received = Received::default();
        while tls.lock().is_handshaking() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::WouldBlock.into());
            }
            socket.set_write_timeout(Some(left))?;
            tls.write_own(socket, SendFlags::empty())?;
            socket.set_read_timeout(Some(left))?;
            if received.fill(socket, MOST, RecvFlags::empty())? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            tls.open_records(socket, &mut received);
            if let Some(error) = &received.error {
                return Err(io::Error::other(error.clone()));
            }
        }
        tls.write_own(socket, SendFlags::empty())?;
        tls.received.put(received);
        socket.set_read_timeout(reading)?;
        socket.set_write_timeout(writing)?;
        Ok(tls)
    }

    /// Reads as from a socket. `Ok(0)` is the end that the server has announced. A stream that ends without this is an
    /// error, `UnexpectedEof`.
    pub(crate) fn read(&self, socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
        let mut received = self.received.take("reads")?;
        let read = self.read_into(socket, &mut received, buffer);
        self.received.put(received);
        read
    }

    fn read_into(
        &self,
        socket: &Socket,
        received: &mut Received,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            match self.lock().reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    let text =
                        "the server ended the connection in the middle (there was no close_notify)";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
                }
                read => return read,
            }
            self.advance(socket, received, buffer.len(), RecvFlags::empty())?;
        }
    }

    /// Gives the session what has been received. If that gives no data, reads from the socket once.
    fn advance(
        &self,
        socket: &Socket,
        received: &mut Received,
        wanted: usize,
        flags: RecvFlags,
    ) -> io::Result<()> {
        if let Some(error) = &received.error {
            return Err(io::Error::new(ErrorKind::InvalidData, error.clone()));
        }
        if self.open_records(socket, received) {
            return Ok(());
        }
        if received.fill(socket, wanted, flags)? == 0 {
            received.has_ended = true;
            // The session takes this as the end of the stream.
            self.lock().read_tls(&mut io::empty())?;
        }
        Ok(())
    }

    /// Returns whether a read returns without looking at the socket.
    pub(crate) fn has_data(&self, socket: &Socket) -> bool {
        let Ok(mut received) = self.received.take("reads") else {
            return false;
        };
        let has_data = self.open_records(socket, &mut received);
        self.received.put(received);
        has_data
    }

    /// Reads what has arrived, without waiting. Returns whether a read returns without waiting: there is data, or the
    /// stream has ended or failed. Records without data, such as new session tickets, do not count.
    pub(crate) fn has_arrived(&self, socket: &Socket) -> bool {
        while !self.has_data(socket) {
            let Ok(mut received) = self.received.take("reads") else {
                return false;
            };
            let advanced = self.advance(socket, &mut received, MOST, RecvFlags::DONTWAIT);
            self.received.put(received);
            match advanced {
                Ok(()) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// Opens records until there is data, an end, or a failure. Returns whether there is. The alert of a failure is sent if
    /// that needs no wait.
    fn open_records(&self, socket: &Socket, received: &mut Received) -> bool {
        let had_failed = received.error.is_some();
        let has_data = received.open(&mut self.lock());
        if received.error.is_some() && !had_failed {
            let _ = self.write_own(socket, SendFlags::DONTWAIT);
        }
        has_data
    }

    /// Writes up to four records, and returns when the socket has accepted them.
    ///
    /// # Blocking
    /// Waits for the socket, within its time limit of writes.
    pub(crate) fn write(&self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        let mut sealed = self.sealed.take("writes")?;
        let written = self.seal(&mut sealed, bytes);
        let written =
            written.and_then(|count| sealed.send(socket, SendFlags::empty()).map(|()| count));
        self.sealed.put(sealed);
        written
    }

    fn seal(&self, sealed: &mut Sealed, bytes: &[u8]) -> io::Result<usize> {
        let part = &bytes[..bytes.len().min(SEALED)];
        let mut session = self.lock();
        let count = io::Write::write(&mut session.writer(), part)?;
        if count == 0 && !part.is_empty() {
            // The keys are used up, or the session has been closed.
            return Err(ErrorKind::WriteZero.into());
        }
        sealed.take_from(&mut session);
        Ok(count)
    }

    /// Writes the records that the session has made by itself.
    fn write_own(&self, socket: &Socket, flags: SendFlags) -> io::Result<()> {
        let mut sealed = self.sealed.take("writes")?;
        sealed.take_from(&mut self.lock());
        let sent = sealed.send(socket, flags);
        self.sealed.put(sealed);
        sent
    }

    /// Tells the server that nothing more will come, unless another thread writes just now, or the socket is full.
    pub(crate) fn send_close_notify(&self, socket: &Socket) {
        let Ok(mut sealed) = self.sealed.take("writes") else {
            return;
        };
        let mut session = self.lock();
        session.send_close_notify();
        sealed.take_from(&mut session);
        drop(session);
        let _ = sealed.send(socket, SendFlags::DONTWAIT);
        self.sealed.put(sealed);
    }

    fn lock(&self) -> MutexGuard<'_, ClientConnection> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Slot<T> {
    /// # Errors
    /// If another thread does the same, which would mix up the order of the bytes.
    fn take(&self, does: &str) -> io::Result<T> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take()
            .ok_or_else(|| io::Error::other(format!("another thread {does}")))
    }

    fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }
}

impl Received {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Reads from the socket once. Returns the number of bytes, 0 at the end of the stream.
    fn fill(&mut self, socket: &Socket, wanted: usize, flags: RecvFlags) -> io::Result<usize> {
        self.taken = 0;
        self.bytes.resize(wanted.clamp(LEAST, MOST), 0);
        let read = retry_on_intr(|| recv(socket, &mut self.bytes[..], flags));
        let count = read.as_ref().map_or(0, |(count, _)| *count);
        self.bytes.truncate(count);
        read?;
        Ok(count)
    }

    /// Gives the session what has been received, until it has data for a read. Returns whether it has.
    fn open(&mut self, session: &mut ClientConnection) -> bool {
        loop {
            match session.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() > 0 => return true,
                Ok(state) => self.has_ended |= state.peer_has_closed(),
                Err(error) => self.error = Some(error),
            }
            if self.has_ended || self.error.is_some() {
                self.taken = self.bytes.len();
                return true;
            }
            if self.unread().is_empty() {
                return false;
            }
            match session.read_tls(&mut &self.bytes[self.taken..]) {
                Ok(taken) => self.taken += taken,
                // The text says that a message is too long.
                Err(error) => self.error = Some(Error::General(error.to_string())),
            }
        }
    }
}

impl Sealed {
    fn take_from(&mut self, session: &mut ClientConnection) {
        while session.wants_write() {
            let taken = session.write_tls(&mut self.bytes);
            taken.expect("writing to a vector never fails");
        }
    }

    /// Sends all records. After a failure, nothing more can be sent.
    fn send(&mut self, socket: &Socket, flags: SendFlags) -> io::Result<()> {
        if self.has_failed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut sent = 0;
        while sent < self.bytes.len() {
            let flags = flags | SendFlags::NOSIGNAL;
            match retry_on_intr(|| send(socket, &self.bytes[sent..], flags)) {
                Ok(count) => sent += count,
                Err(error) => {
                    self.has_failed = true;
                    return Err(error.into());
                }
            }
        }
        self.bytes.clear();
        Ok(())
    }
}
