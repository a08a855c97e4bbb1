//! [`TlsStream`]: a [`Stream`] with TLS (feature `tls`).
//!
//! One thread uses it, so it has no lock. The time limits are those of the plain stream: each wait is a wait for the
//! socket, and there is one limit for all reads of a call, so a record of which one byte arrives at a time does not
//! prolong the call.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore};
use rustls_native_certs::{CertificateResult, load_native_certs};

use super::error::ConnectError;
use super::stream::{Stream, patience};

/// The size of a read from the socket, in bytes.
const READ: usize = 16 << 10;

/// The most plaintext that is sealed before the socket is tried: four records.
const SEALED: usize = 64 << 10;

pub(super) struct TlsStream {
    stream: Stream,
    session: ClientConnection,
    /// The bytes that the session has not taken yet are `received[taken..]`.
    received: Vec<u8>,
    taken: usize,
    /// Why the session has failed. It stays failed.
    error: Option<Error>,
    /// The records that the socket has not accepted yet are `sealed[sent..]`. They cannot change any more.
    sealed: Vec<u8>,
    sent: usize,
}

/// Runs the handshake of TLS with the server named `host`, which has to show a certificate for this name.
///
/// # Blocking
/// Waits for the server, until `deadline` if there is one. The first call without a `config` reads the certificates that
/// the system trusts.
pub(super) fn open(
    mut stream: Stream,
    config: Option<Arc<ClientConfig>>,
    host: &str,
    deadline: Option<Instant>,
) -> Result<TlsStream, ConnectError> {
    let config = config.map_or_else(system, Ok)?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| ConnectError::ServerName(host.to_owned()))?;
    let session = ClientConnection::new(config, name).map_err(ConnectError::Tls)?;
    stream.limit_reads(deadline, 0);
    let mut tls = TlsStream {
        stream,
        session,
        received: Vec::new(),
        taken: 0,
        error: None,
        sealed: Vec::new(),
        sent: 0,
    };
    loop {
        tls.seal();
        while !tls.is_flushed() {
            tls.stream.limit_writes(Some(patience(deadline)));
            tls.send().map_err(ConnectError::of)?;
        }
        if !tls.session.is_handshaking() {
            return Ok(tls);
        }
        match tls.receive().map_err(ConnectError::of)? {
            0 => return Err(ConnectError::Io(ErrorKind::UnexpectedEof.into())),
            _ => tls.open(),
        }
        if let Some(error) = tls.error {
            return Err(match error {
                Error::InvalidCertificate(reason) => ConnectError::Certificate {
                    host: host.to_owned(),
                    reason,
                },
                error => ConnectError::Tls(error),
            });
        }
    }
}

/// Returns the configuration that trusts the authorities of the system. It is made once per process.
fn system() -> Result<Arc<ClientConfig>, ConnectError> {
    static SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = SYSTEM.get() {
        return Ok(Arc::clone(config));
    }
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::Tls)?
        .with_root_certificates(roots(load_native_certs())?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Two threads may come here at the same time, and both results are the same.
    Ok(Arc::clone(SYSTEM.get_or_init(|| Arc::new(config))))
}

/// Returns the certificates that can be used.
fn roots(found: CertificateResult) -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let error = found.errors.first();
    Err(ConnectError::NoRoots(error.map_or_else(
        || "none is installed".to_owned(),
        ToString::to_string,
    )))
}

impl TlsStream {
    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Tells the server that nothing more will come, if the socket accepts it without waiting.
    pub(super) fn send_close_notify(&mut self) {
        self.session.send_close_notify();
        self.send_now();
    }

    /// Takes the records that the session has made.
    fn seal(&mut self) {
        while self.session.wants_write() {
            let taken = self.session.write_tls(&mut self.sealed);
            taken.expect("writing to a vector never fails");
        }
    }

    fn is_flushed(&self) -> bool {
        self.sent == self.sealed.len()
    }

    /// Writes a part of the records, within the time limit of writes.
    fn send(&mut self) -> io::Result<()> {
        let accepted = self.stream.write(&self.sealed[self.sent..])?;
        self.accept(accepted);
        Ok(())
    }

    /// Writes as many of the records as the socket accepts without waiting, with those that the session makes by itself. An
    /// error shows itself at the next write.
    fn send_now(&mut self) {
        self.seal();
        while !self.is_flushed() {
            match self.stream.write_now(&self.sealed[self.sent..]) {
                Ok(accepted) => self.accept(accepted),
                Err(_) => return,
            }
        }
    }

    fn accept(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.is_flushed() {
            self.sealed.clear();
            self.sent = 0;
        }
    }

    /// Reads from the socket once, within the time limit of reads. Returns the number of bytes, 0 at the end of the stream.
    fn receive(&mut self) -> io::Result<usize> {
        self.received.resize(READ, 0);
        self.taken = 0;
        let read = self.stream.read(&mut self.received);
        self.received.truncate(*read.as_ref().unwrap_or(&0));
        read
    }

    /// Gives the session the bytes that have been received, until it has plaintext for the caller.
    fn open(&mut self) {
        while self.taken < self.received.len() && self.error.is_none() {
            let taken = self.session.read_tls(&mut &self.received[self.taken..]);
            let state = match taken {
                Ok(taken) => {
                    self.taken += taken;
                    self.session.process_new_packets()
                }
                // The text says that a message is too long.
                Err(error) => Err(Error::General(error.to_string())),
            };
            match state {
                Ok(state) if state.plaintext_bytes_to_read() > 0 => return,
                Ok(state) if state.peer_has_closed() => self.taken = self.received.len(),
                Ok(_) => {}
                Err(error) => {
                    self.error = Some(error);
                    // The alert.
                    self.send_now();
                }
            }
        }
    }
}

impl Read for TlsStream {
    /// Fails as the plain stream. `Ok(0)` is the end that the server has announced. A stream that ends without this is an
    /// error, `UnexpectedEof`.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The text of rustls is for programmers.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                read => return read,
            }
            if let Some(error) = &self.error {
                return Err(io::Error::new(ErrorKind::InvalidData, error.clone()));
            }
            if self.taken < self.received.len() {
                self.open();
                continue;
            }
            // Records that an earlier call could not write, and an answer to a key update.
            self.send_now();
            if self.receive()? == 0 {
                // The session takes this as the end of the stream.
                self.session.read_tls(&mut io::empty())?;
            }
        }
    }
}

impl Write for TlsStream {
    /// Seals a part of `bytes`, after everything that was sealed before has been written. So at most four records wait for
    /// the socket. [`flush`](Self::flush) writes them.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let part = &bytes[..bytes.len().min(SEALED)];
        let sealed = self.session.writer().write(part)?;
        if sealed == 0 && !part.is_empty() {
            // The keys are used up.
            return Err(ErrorKind::WriteZero.into());
        }
        self.seal();
        Ok(sealed)
    }

    /// Waits until the socket has accepted all records, within the time limit of writes.
    fn flush(&mut self) -> io::Result<()> {
        self.seal();
        while !self.is_flushed() {
            self.send()?;
        }
        Ok(())
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("stream", &self.stream)
            .field("version", &self.session.protocol_version())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_without_authorities_is_an_error() {
        let error = roots(CertificateResult::default()).expect_err("there are none");
        assert_eq!(
            error.to_string(),
            "the system has no trusted certificates: none is installed"
        );
    }

    #[test]
    fn default_configuration_is_made_once() {
        // A machine without authorities has none.
        if let (Ok(first), Ok(second)) = (system(), system()) {
            assert!(Arc::ptr_eq(&first, &second));
            assert_eq!(first.alpn_protocols, [b"http/1.1"]);
        }
    }
}
