//! [`Stream`]: a socket of a client, with a TLS session or without.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};

use standpipe::rustls::crypto::ring;
use standpipe::rustls::pki_types::pem::PemObject;
use standpipe::rustls::pki_types::{CertificateDer, ServerName};
use standpipe::rustls::{ClientConfig, ClientConnection, RootCertStore};
use standpipe::rustls::{SupportedProtocolVersion, version};

use crate::Failure;

/// The certificate of the server, and its private key.
pub(crate) const TLS_FLAGS: [&str; 4] = [
    "--tls-cert",
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/tls/server.pem"),
    "--tls-key",
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/tls/server.key"),
];

/// The authority that has signed the certificate.
const AUTHORITY: &[u8] = include_bytes!("../../tests/keys/tls/ca.pem");

pub(crate) const TLS12: &SupportedProtocolVersion = &version::TLS12;
pub(crate) const TLS13: &SupportedProtocolVersion = &version::TLS13;

/// A client may use the socket while it is non-blocking. Then a write accepts bytes into the session, and the next read
/// or write sends the records that the socket has refused.
pub(crate) struct Stream {
    pub(crate) tcp: TcpStream,
    session: Option<Box<ClientConnection>>,
}

impl Stream {
    pub(crate) fn plain(tcp: TcpStream) -> Stream {
        Stream { tcp, session: None }
    }

    /// Performs the TLS handshake with the newest version that both sides have.
    pub(crate) fn secure(tcp: TcpStream) -> Result<Stream, Failure> {
        Stream::with(tcp, shared_config()?)
    }

    /// Performs the TLS handshake with this version.
    pub(crate) fn secure_version(
        tcp: TcpStream,
        version: &'static SupportedProtocolVersion,
    ) -> Result<Stream, Failure> {
        Stream::with(tcp, &config(&[version])?)
    }

    fn with(mut tcp: TcpStream, config: &Arc<ClientConfig>) -> Result<Stream, Failure> {
        let name = ServerName::from(tcp.peer_addr()?.ip());
        let mut session = ClientConnection::new(Arc::clone(config), name)?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        Ok(Stream {
            tcp,
            session: Some(Box::new(session)),
        })
    }

    /// Asks both sides to change the keys, with the next record (RFC 8446 §4.6.3).
    pub(crate) fn update_keys(&mut self) -> Result<(), Failure> {
        let session = self.session.as_mut().ok_or("there is no TLS session")?;
        Ok(session.refresh_traffic_keys()?)
    }
}

/// Returns the configuration that all clients share, so that some of them resume the session of another one.
fn shared_config() -> Result<&'static Arc<ClientConfig>, Failure> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config);
    }
    let config = config(&[TLS12, TLS13])?;
    Ok(CONFIG.get_or_init(|| config))
}

/// Returns the first record of a client.
pub(crate) fn client_hello() -> Result<Vec<u8>, Failure> {
    let name = ServerName::try_from("localhost")?;
    let mut session = ClientConnection::new(Arc::clone(shared_config()?), name)?;
    let mut bytes = Vec::new();
    session.write_tls(&mut bytes)?;
    Ok(bytes)
}

fn config(versions: &[&'static SupportedProtocolVersion]) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(AUTHORITY)?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = builder
        .with_protocol_versions(versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Sends the records of the session, as far as the socket accepts them.
fn send_records(session: &mut ClientConnection, tcp: &mut TcpStream) -> io::Result<()> {
    while session.wants_write() {
        session.write_tls(tcp)?;
    }
    Ok(())
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Stream { tcp, session } = self;
        let Some(session) = session else {
            return tcp.read(buffer);
        };
        loop {
            match session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The end of the socket without close_notify.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                read => return read,
            }
            match send_records(session, tcp) {
                // A reset shows below, after the bytes that arrived before it.
                Ok(()) | Err(_) => {}
            }
            session.read_tls(tcp)?;
            session
                .process_new_packets()
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Stream { tcp, session } = self;
        let Some(session) = session else {
            return tcp.write(bytes);
        };
        send_records(session, tcp)?;
        let accepted = session.writer().write(bytes)?;
        match send_records(session, tcp) {
            // The rest is sent by the next read or write.
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(accepted),
            sent => sent.map(|()| accepted),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.session {
            Some(session) => send_records(session, &mut self.tcp),
            None => Ok(()),
        }
    }
}
