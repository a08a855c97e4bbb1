//! [`Socket`]: a connection to the server, with TLS or without.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Whether the connections use TLS, and with what configuration.
pub struct Security(Option<Arc<ClientConfig>>);

impl Security {
    /// `authority` is the path of a PEM file. Without it, the connections are plain.
    pub fn new(authority: Option<&String>) -> Security {
        Security(authority.map(|path| {
            let certificate = CertificateDer::from_pem_file(path).expect("the file of --tls");
            let mut roots = RootCertStore::empty();
            roots.add(certificate).expect("the certificate of --tls");
            // All servers use the same version and cipher.
            let provider = CryptoProvider {
                cipher_suites: vec![ring::cipher_suite::TLS13_AES_256_GCM_SHA384],
                ..ring::default_provider()
            };
            let config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .expect("ring has this cipher for TLS 1.3");
            let mut config = config.with_root_certificates(roots).with_no_client_auth();
            // Every connection of every server has a full handshake.
            config.resumption = rustls::client::Resumption::disabled();
            Arc::new(config)
        }))
    }
}

/// The socket blocks until [`Socket::set_nonblocking`]. Until then it is used through `Read` and `Write`, and afterwards
/// through [`Socket::send`] and [`Socket::receive`].
pub struct Socket {
    tcp: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Socket {
    pub fn new(tcp: TcpStream, security: &Security) -> Socket {
        let tls = security.0.clone().map(|config| {
            let name = ServerName::try_from("localhost").expect("a valid name");
            Box::new(ClientConnection::new(config, name).expect("a TLS session"))
        });
        Socket { tcp, tls }
    }

    pub fn set_nonblocking(&mut self) {
        self.tcp.set_nonblocking(true).expect("a TCP socket");
    }

    /// Sends `bytes[*at..]` as far as the socket accepts it, and moves `at`. Returns whether nothing waits any more.
    pub fn send(&mut self, bytes: &[u8], at: &mut usize) -> io::Result<bool> {
        loop {
            let written = match &mut self.tls {
                None if *at == bytes.len() => return Ok(true),
                None => self.tcp.write(&bytes[*at..]).map(|count| *at += count),
                Some(tls) => {
                    // The session takes 64 KiB before its records must leave.
                    if *at < bytes.len() {
                        *at += tls.writer().write(&bytes[*at..])?;
                    }
                    if !tls.wants_write() {
                        return Ok(true);
                    }
                    tls.write_tls(&mut self.tcp).map(drop)
                }
            };
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads once into `buffer`, and adds the plaintext to `inbuf`. Returns how many bytes came from the socket.
    pub fn receive(&mut self, buffer: &mut [u8], inbuf: &mut Vec<u8>) -> io::Result<usize> {
        let count = self.tcp.read(buffer)?;
        let mut bytes = &buffer[..count];
        let Some(tls) = &mut self.tls else {
            inbuf.extend_from_slice(bytes);
            return Ok(count);
        };
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes)?;
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            let (start, plaintext) = (inbuf.len(), state.plaintext_bytes_to_read());
            inbuf.resize(start + plaintext, 0);
            tls.reader().read_exact(&mut inbuf[start..])?;
        }
        Ok(count)
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.tcp.read(buffer),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.tcp).read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.tcp.write(bytes),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.tcp).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => self.tcp.flush(),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.tcp).flush(),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.tcp.as_raw_fd()
    }
}
