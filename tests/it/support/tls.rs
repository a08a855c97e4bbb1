//! [`Session`]: the client's side of TLS, on a socket that two threads use at the same time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock};

use socket2::Socket;
use standpipe::TlsConfig;
use standpipe::rustls::client::Resumption;
use standpipe::rustls::pki_types::ServerName;
use standpipe::rustls::{ALL_VERSIONS, ClientConfig, ClientConnection};

use super::deadline::DEADLINE;
use super::tls_peer;

/// The most plaintext in a record (RFC 8446 §5.1). No more is sealed before the socket has accepted it.
const RECORD: usize = 16 << 10;

/// The most bytes of one read from the socket, as on a plain connection.
const READ: usize = 16 << 10;

/// After this many records, the client changes its key, and asks the server to change its own.
const KEY_UPDATE: usize = 64;

/// Returns the configuration of all servers with TLS.
pub(crate) fn server_config() -> TlsConfig {
    static CONFIG: LazyLock<TlsConfig> = LazyLock::new(tls_peer::tls_config);
    CONFIG.clone()
}

/// Returns the configuration of all clients, which trust the authority of the servers and resume sessions.
pub(crate) fn client_config() -> Arc<ClientConfig> {
    static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
        let mut config = tls_peer::tls_client(ALL_VERSIONS);
        config.resumption = Resumption::default();
        Arc::new(config)
    });
    Arc::clone(&CONFIG)
}

/// The TLS session of a client. No lock is held while a thread waits for bytes of the server, so one thread can send while
/// another one receives.
pub(super) struct Session {
    connection: Mutex<ClientConnection>,
    /// How the handshake ended.
    handshake: OnceLock<Result<(), ErrorKind>>,
    /// What has been read from the socket and is not decrypted yet: less than two reads.
    incoming: Mutex<Vec<u8>>,
    /// What is encrypted and has not been accepted by the socket: one record, and what the session itself has to say.
    outgoing: Mutex<Vec<u8>>,
    records: AtomicUsize,
    /// Whether a write does not wait for the handshake.
    is_late: bool,
    was_cut: AtomicBool,
}

impl Session {
    /// Begins the handshake with a server. It is complete on return, or has failed; if `is_late`, it goes on in the first
    /// read.
    pub(super) fn new(socket: &Socket, address: SocketAddr, is_late: bool) -> Session {
        let by_address = [
            Ipv4Addr::LOCALHOST.into(),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ];
        let name = match by_address.contains(&address.ip()) {
            true => ServerName::from(address.ip()),
            // The other addresses of this machine are not in the certificate.
            false => ServerName::try_from("localhost").expect("a name"),
        };
        let connection = ClientConnection::new(client_config(), name).expect("a valid setup");
        let session = Session {
            connection: Mutex::new(connection),
            handshake: OnceLock::new(),
            incoming: Mutex::default(),
            outgoing: Mutex::default(),
            records: AtomicUsize::new(0),
            is_late,
            was_cut: AtomicBool::new(false),
        };
        // The first use tells what has failed.
        let _ = match is_late {
            true => session.write_early(socket, b"").map(drop),
            false => session.handshake(socket),
        };
        session
    }

    /// Completes the handshake, if no call has done so before. The error is kept, as a plain connection keeps its end.
    fn handshake(&self, socket: &Socket) -> io::Result<()> {
        let result = self.handshake.get_or_init(|| {
            let limit = socket.read_timeout().map_err(|error| error.kind())?;
            let result = self.shake_hands(socket);
            let _ = socket.set_read_timeout(limit);
            result.map_err(|error| error.kind())
        });
        result.map_err(io::Error::from)
    }

    fn shake_hands(&self, socket: &Socket) -> io::Result<()> {
        socket.set_read_timeout(Some(DEADLINE))?;
        let mut connection = lock(&self.connection);
        let (mut incoming, mut outgoing) = (lock(&self.incoming), lock(&self.outgoing));
        while connection.is_handshaking() {
            take_records(&mut connection, &mut outgoing);
            write_all(socket, &mut outgoing)?;
            if fill(socket, &mut incoming)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            while connection.is_handshaking() && !incoming.is_empty() {
                if let Err(error) = decrypt(&mut connection, &mut incoming) {
                    // An alert, if there is one to send.
                    take_records(&mut connection, &mut outgoing);
                    let _ = write_all(socket, &mut outgoing);
                    return Err(error);
                }
            }
        }
        take_records(&mut connection, &mut outgoing);
        write_all(socket, &mut outgoing)
    }

    pub(super) fn read(&self, socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
        match self.handshake(socket) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
            result => result?,
        }
        let mut incoming = lock(&self.incoming);
        loop {
            let mut filled = 0;
            let mut connection = lock(&self.connection);
            // All messages that have arrived together are returned together, as on a plain connection.
            while filled < buffer.len() {
                match connection.reader().read(&mut buffer[filled..]) {
                    Ok(0) => return Ok(filled),
                    Ok(count) => filled += count,
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                    Err(_) if incoming.is_empty() => break,
                    Err(_) => {
                        let decrypted = decrypt(&mut connection, &mut incoming);
                        // The session returns the error again.
                        if filled == 0 {
                            decrypted?;
                        } else if decrypted.is_err() {
                            break;
                        }
                    }
                }
            }
            drop(connection);
            if filled > 0 {
                return Ok(filled);
            }
            if fill(socket, &mut incoming)? == 0 {
                self.was_cut.store(true, SeqCst);
                return Ok(0);
            }
        }
    }

    /// Returns whether the stream of the server ended without the close_notify of its session.
    pub(super) fn was_cut(&self) -> bool {
        self.was_cut.load(SeqCst)
    }

    /// Encrypts at most one record, and returns when the socket has accepted it. After an error, a part of the record waits
    /// for the next call.
    pub(super) fn write(&self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        if self.is_late && self.handshake.get().is_none() {
            return self.write_early(socket, bytes);
        }
        match self.handshake(socket) {
            // As on a plain connection: the first bytes that are sent after the peer's end are accepted.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(bytes.len()),
            result => result?,
        }
        let mut outgoing = lock(&self.outgoing);
        write_all(socket, &mut outgoing)?;
        let sealed = self.seal(bytes, &mut outgoing)?;
        write_all(socket, &mut outgoing)?;
        Ok(sealed)
    }

    /// Sends what can be sent before the server has answered. The session keeps the bytes until then.
    fn write_early(&self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        let mut outgoing = lock(&self.outgoing);
        let mut connection = lock(&self.connection);
        let kept = connection.writer().write(bytes)?;
        take_records(&mut connection, &mut outgoing);
        write_all(socket, &mut outgoing)?;
        Ok(kept)
    }

    /// Sends as many of these bytes as the kernel accepts without blocking, and up to one record more, which waits for the
    /// next call.
    pub(super) fn send_available(&self, socket: &Socket, bytes: &[u8]) -> usize {
        if self.handshake(socket).is_err() {
            return 0;
        }
        let mut outgoing = lock(&self.outgoing);
        let mut sealed = 0;
        loop {
            send_available(socket, &mut outgoing);
            if !outgoing.is_empty() || sealed == bytes.len() {
                return sealed;
            }
            match self.seal(&bytes[sealed..], &mut outgoing) {
                Ok(count) => sealed += count,
                Err(_) => return sealed,
            }
        }
    }

    fn seal(&self, bytes: &[u8], outgoing: &mut Vec<u8>) -> io::Result<usize> {
        let mut connection = lock(&self.connection);
        if self.records.fetch_add(1, SeqCst) % KEY_UPDATE == KEY_UPDATE - 1 {
            // TLS 1.2 has no such update.
            let _ = connection.refresh_traffic_keys();
        }
        let sealed = connection
            .writer()
            .write(&bytes[..bytes.len().min(RECORD)])?;
        take_records(&mut connection, outgoing);
        Ok(sealed)
    }

    /// Sends the close_notify that comes before the end of the client's stream, if the socket accepts it without blocking.
    pub(super) fn end(&self, socket: &Socket) {
        if self.handshake(socket).is_ok() {
            let mut outgoing = lock(&self.outgoing);
            let mut connection = lock(&self.connection);
            connection.send_close_notify();
            take_records(&mut connection, &mut outgoing);
            send_available(socket, &mut outgoing);
        }
    }
}

/// A test that fails with one of these locks has failed already.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Reads once.
fn fill(mut socket: &Socket, incoming: &mut Vec<u8>) -> io::Result<usize> {
    let mut bytes = [0; READ];
    let count = socket.read(&mut bytes)?;
    incoming.extend_from_slice(&bytes[..count]);
    Ok(count)
}

/// Gives the session some of the bytes.
fn decrypt(connection: &mut ClientConnection, incoming: &mut Vec<u8>) -> io::Result<()> {
    let taken = connection.read_tls(&mut &incoming[..])?;
    incoming.drain(..taken);
    let state = connection.process_new_packets();
    state.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    Ok(())
}

fn take_records(connection: &mut ClientConnection, outgoing: &mut Vec<u8>) {
    while connection.wants_write() {
        let taken = connection.write_tls(outgoing);
        taken.expect("writing to a vector never fails");
    }
}

/// Writes until the socket has accepted everything. After an error, `outgoing` has the rest.
fn write_all(mut socket: &Socket, outgoing: &mut Vec<u8>) -> io::Result<()> {
    while !outgoing.is_empty() {
        match socket.write(outgoing) {
            Ok(written) => drop(outgoing.drain(..written)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes as much as the kernel accepts without blocking.
fn send_available(socket: &Socket, outgoing: &mut Vec<u8>) {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    while !outgoing.is_empty() {
        match socket.send_with_flags(outgoing, flags) {
            Ok(written) => drop(outgoing.drain(..written)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
