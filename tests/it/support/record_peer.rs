//! A client that seals records of any kind after its TLS handshake, also those that no session would send.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundPlainMessage,
};
use rustls::crypto::ring;
use rustls::crypto::ring::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use standpipe::rustls;

use super::Connect;
use super::tls_peer::{TlsEnd, TlsPeer, tls_client_of};

/// The level of an alert, and its description (RFC 8446 §6).
type Alert = (u8, AlertDescription);

pub(crate) struct RecordPeer {
    socket: std::net::TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    decrypter: Box<dyn MessageDecrypter>,
    sent: u64,
    received: u64,
}

impl RecordPeer {
    /// Completes the TLS handshake, with one of these versions, and the opening handshake.
    #[track_caller]
    pub(crate) fn connect(
        address: SocketAddr,
        versions: &[&'static SupportedProtocolVersion],
    ) -> RecordPeer {
        // With this cipher, a nonce follows from the keys and the number of the record, in both versions.
        let provider = rustls::crypto::CryptoProvider {
            cipher_suites: vec![
                TLS13_CHACHA20_POLY1305_SHA256,
                TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            ],
            ..ring::default_provider()
        };
        let mut config = tls_client_of(provider, versions, None);
        config.enable_secret_extraction = true;
        let mut peer = TlsPeer::open(address, config);
        assert_eq!(peer.handshake(), Ok(()));
        let answer = peer.request(Connect::to(address).head());
        assert_eq!(answer.status, 101, "{answer:?}");
        let suite = peer.session.negotiated_cipher_suite().expect("a session");
        let secrets = peer
            .session
            .dangerous_extract_secrets()
            .expect("an idle session");
        let ((sent, write), (received, read)) = (secrets.tx, secrets.rx);
        let ((write_key, write_iv), (read_key, read_iv)) = (key_and_iv(write), key_and_iv(read));
        let (encrypter, decrypter) = match suite {
            SupportedCipherSuite::Tls13(suite) => (
                suite.aead_alg.encrypter(write_key, write_iv),
                suite.aead_alg.decrypter(read_key, read_iv),
            ),
            SupportedCipherSuite::Tls12(suite) => (
                suite.aead_alg.encrypter(write_key, write_iv.as_ref(), &[]),
                suite.aead_alg.decrypter(read_key, read_iv.as_ref()),
            ),
        };
        RecordPeer {
            socket: peer.socket,
            encrypter,
            decrypter,
            sent,
            received,
        }
    }

    /// Returns a record of this kind.
    pub(crate) fn record(&mut self, kind: ContentType, content: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: kind,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(content),
        };
        let sealed = self
            .encrypter
            .encrypt(message, self.sent)
            .expect("keys that are not used up");
        self.sent += 1;
        sealed.encode()
    }

    /// Sends a record of this kind. Returns whether the connection accepted it.
    pub(crate) fn send(&mut self, kind: ContentType, content: &[u8]) -> bool {
        let record = self.record(kind, content);
        self.try_bytes(&record)
    }

    pub(crate) fn try_bytes(&self, bytes: &[u8]) -> bool {
        (&self.socket).write_all(bytes).is_ok()
    }

    /// Reads the next record, or the end of the connection.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Result<(ContentType, Vec<u8>), TlsEnd> {
        let mut header = [0; 5];
        self.read(&mut header)?;
        let mut content = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        self.read(&mut content)?;
        let (kind, version) = (ContentType::from(header[0]), ProtocolVersion::TLSv1_2);
        let sealed = InboundOpaqueMessage::new(kind, version, &mut content);
        let opened = self
            .decrypter
            .decrypt(sealed, self.received)
            .expect("a valid record");
        self.received += 1;
        Ok((opened.typ, opened.payload.to_vec()))
    }

    /// Reads up to the next alert, or the end of the connection.
    #[track_caller]
    pub(crate) fn next_alert(&mut self) -> Result<Alert, TlsEnd> {
        loop {
            if let (ContentType::Alert, alert) = self.next()? {
                return Ok((alert[0], AlertDescription::from(alert[1])));
            }
        }
    }

    #[track_caller]
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), TlsEnd> {
        self.socket
            .read_exact(buffer)
            .map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => TlsEnd::Fin,
                ErrorKind::ConnectionReset => TlsEnd::Reset,
                _ => panic!("waited for a record of the server: {error}"),
            })
    }
}

fn key_and_iv(secrets: ConnectionTrafficSecrets) -> (AeadKey, Iv) {
    match secrets {
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("the client offers one cipher only"),
    }
}
