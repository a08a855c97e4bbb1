//! [`TlsPeer`]: a client with TLS in memory, and its [`TlsTransport`] over a [`ScriptedSocket`].

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, Connection as Session, Error, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
};

use super::scripted_socket::ScriptedSocket;
use crate::connection::socket::Transport;
use crate::connection::tls::transport::TlsTransport;

const CERTIFICATE: &[u8] = include_bytes!("../../../tests/keys/tls/server.pem");
const KEY: &[u8] = include_bytes!("../../../tests/keys/tls/server.key");
const AUTHORITY: &[u8] = include_bytes!("../../../tests/keys/tls/ca.pem");

/// How a session is made.
#[derive(Clone, Debug)]
pub(crate) struct TlsSetup {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl TlsSetup {
    pub(crate) fn new(version: &'static SupportedProtocolVersion) -> TlsSetup {
        TlsSetup::with_provider(version, ring::default_provider())
    }

    /// Returns the same setup each time, with TLS 1.3.
    pub(crate) fn usual() -> &'static TlsSetup {
        static USUAL: OnceLock<TlsSetup> = OnceLock::new();
        USUAL.get_or_init(|| TlsSetup::new(&rustls::version::TLS13))
    }

    /// The server uses `provider`.
    pub(crate) fn with_provider(
        version: &'static SupportedProtocolVersion,
        provider: CryptoProvider,
    ) -> TlsSetup {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(CERTIFICATE).collect();
        let mut server = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .expect("the provider has this version")
            .with_no_client_auth()
            .with_single_cert(
                chain.expect("the certificate of the tests is valid"),
                PrivateKeyDer::from_pem_slice(KEY).expect("the key of the tests is valid"),
            )
            .expect("the certificate and the key belong together");
        // A ticket would be one more record after the handshake.
        server.send_tls13_tickets = 0;
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(AUTHORITY).expect("the file is valid");
        roots.add(authority).expect("the authority is valid");
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .expect("the provider has this version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsSetup {
            server: Arc::new(server),
            client: Arc::new(client),
        }
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// Records have up to `size` bytes, with a header of 5 bytes.
    pub(crate) fn limit_records(mut self, size: usize) -> TlsSetup {
        Arc::make_mut(&mut self.server).max_fragment_size = Some(size);
        self
    }
}

/// The client's side of a TLS session.
#[derive(Debug)]
pub(crate) struct TlsPeer {
    pub(crate) session: ClientConnection,
    /// How many of the bytes that the server has written are opened.
    opened: usize,
    /// The plaintext.
    pub(crate) received: Vec<u8>,
}

impl TlsPeer {
    /// Returns a client that has not sent anything.
    pub(crate) fn unconnected(setup: &TlsSetup) -> TlsPeer {
        let name = "localhost".try_into().expect("the name is valid");
        let session = ClientConnection::new(Arc::clone(&setup.client), name);
        TlsPeer {
            session: session.expect("the configuration is valid"),
            opened: 0,
            received: Vec::new(),
        }
    }

    /// Runs a handshake in memory. Returns the client, and the server's side over `socket`.
    pub(crate) fn connect(
        setup: &TlsSetup,
        socket: &Arc<ScriptedSocket>,
    ) -> (TlsPeer, Arc<TlsTransport>) {
        let mut peer = TlsPeer::unconnected(setup);
        let client = &mut peer.session;
        let server = ServerConnection::new(Arc::clone(&setup.server));
        let mut server = server.expect("the configuration is valid");
        while client.is_handshaking() || server.is_handshaking() {
            let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
            while client.wants_write() {
                client.write_tls(&mut to_server).expect("a vector grows");
            }
            let mut unread = &to_server[..];
            while !unread.is_empty() {
                server.read_tls(&mut unread).expect("the server has room");
                server.process_new_packets().expect("the client is honest");
            }
            while server.wants_write() {
                server.write_tls(&mut to_client).expect("a vector grows");
            }
            let mut unread = &to_client[..];
            while !unread.is_empty() {
                client.read_tls(&mut unread).expect("the client has room");
                client.process_new_packets().expect("the server is honest");
            }
        }
        let socket: Arc<dyn Transport> = Arc::clone(socket) as _;
        let transport = TlsTransport::for_tests(socket, Session::Server(server), &setup.server);
        (peer, Arc::new(transport))
    }

    /// Returns the records for `plaintext`, after those that the session has made by itself.
    pub(crate) fn seal(&mut self, mut plaintext: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        loop {
            while self.session.wants_write() {
                (self.session.write_tls(&mut records)).expect("a vector grows");
            }
            if plaintext.is_empty() {
                return records;
            }
            let taken = self.session.writer().write(plaintext);
            plaintext = &plaintext[taken.expect("the session is open")..];
        }
    }

    /// Asks the server to update its keys, after an update of the client's.
    pub(crate) fn update_keys(&mut self) -> Vec<u8> {
        let updated = self.session.refresh_traffic_keys();
        updated.expect("TLS 1.3 has key updates");
        self.seal(&[])
    }

    /// Opens what the server has written so far. Returns all plaintext since the handshake.
    ///
    /// # Errors
    /// The first violation: a record that was torn apart, left out or out of order. Or the alert of the server.
    pub(crate) fn open(&mut self, written: &[u8]) -> Result<&[u8], Error> {
        let mut unread = &written[self.opened..];
        while !unread.is_empty() {
            let taken = self.session.read_tls(&mut unread);
            if taken.expect("the plaintext has been taken") == 0 {
                // After a close_notify.
                break;
            }
            let state = self.session.process_new_packets()?;
            let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
            let mut reader = self.session.reader();
            reader.read_exact(&mut plaintext).expect("it is there");
            self.received.extend(plaintext);
            self.opened = written.len() - unread.len();
        }
        Ok(&self.received)
    }

    /// Returns whether the server has sent a close_notify. No byte may follow it.
    pub(crate) fn is_closed(&mut self, written: &[u8]) -> bool {
        self.open(written).expect("the records are valid");
        let state = self.session.process_new_packets();
        let is_closed = state.expect("the session is valid").peer_has_closed();
        assert!(
            !is_closed || self.opened == written.len(),
            "bytes follow the close_notify"
        );
        is_closed
    }
}
