//! [`Secure`]: the TLS of the commands that are clients: whom they trust, and the handshake. `--ca`, `--insecure`,
//! `--client-cert` and `--client-key` decide.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, InvalidMessage,
    RootCertStore, SignatureScheme,
};
use socket2::Socket;
use standpipe::rustls;

use super::Failure;
use untrusted::reason;

pub(crate) use session::TlsSession;

mod session;
#[path = "../tls/untrusted.rs"]
mod untrusted;
#[path = "../tls/unusable.rs"]
mod unusable;

/// The authorities that a command trusts, and the certificate that it shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trust<'a> {
    /// The file of the authorities, instead of those of the system.
    pub(crate) authorities: Option<&'a Path>,
    /// Whether every certificate is accepted.
    pub(crate) is_insecure: bool,
    /// The files of the command's own certificate and of its key.
    pub(crate) identity: Option<(&'a Path, &'a Path)>,
}

/// The configuration of all TLS connections of a command. There is none if its URL needs none.
#[derive(Clone, Debug)]
pub(crate) struct Secure(Option<Arc<ClientConfig>>);

impl Secure {
    /// Reads the certificates that the command needs, if its connections have TLS.
    ///
    /// # Errors
    /// The text names the file, or says that the system has no trusted certificates.
    pub(crate) fn new(has_tls: bool, trust: &Trust<'_>) -> Result<Secure, Failure> {
        if !has_tls {
            return Ok(Secure(None));
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = if trust.is_insecure {
            let verifier = Arc::new(Unverified(provider));
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        } else {
            builder.with_root_certificates(roots(trust.authorities)?)
        };
        let mut config = match trust.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let private = private_key(key)?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|error| {
                        format!("--client-cert and --client-key: {}", unusable::pair(&error))
                    })?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Secure(Some(Arc::new(config))))
    }

    /// Runs the handshake with a server whose certificate has to name `host`. Nothing else is sent before.
    ///
    /// # Blocking
    /// Waits for the server, for at most `limit`.
    ///
    /// # Errors
    /// The text says why, and what may help.
    pub(crate) fn handshake(
        &self,
        socket: &Socket,
        host: &str,
        limit: Duration,
    ) -> Result<TlsSession, String> {
        let config = self.0.as_ref().ok_or("it has no configuration for TLS")?;
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(plain.to_owned())
            .map_err(|_| format!("{host} is not a name that a certificate can have"))?;
        TlsSession::open(socket, Arc::clone(config), name, limit)
            .map_err(|error| explain(&error).unwrap_or_else(|| without_session(&error)))
    }
}

fn without_session(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock => "the server does not answer the TLS handshake".into(),
        io::ErrorKind::UnexpectedEof => {
            "the server ended the connection during the TLS handshake".into()
        }
        _ => format!("the TLS handshake failed: {error}"),
    }
}

/// Returns what an error of a [`TlsSession`] means, for people, if the session has failed and not the socket.
pub(crate) fn explain(error: &io::Error) -> Option<String> {
    let error: &Error = error.get_ref()?.downcast_ref()?;
    Some(match error {
        Error::InvalidCertificate(error) => {
            let hint = match error {
                CertificateError::UnknownIssuer => " (--ca FILE names the authorities to trust)",
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    " (the host of the URL must be one of them)"
                }
                _ => "",
            };
            let reason = reason(error);
            format!("the certificate of the server is not trusted: {reason}{hint}")
        }
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server does not speak TLS here; use ws:// or http://".into()
        }
        // A server that requires a certificate says so after its part of the handshake.
        Error::AlertReceived(alert) => {
            let hint = match alert {
                AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure => {
                    "; --client-cert and --client-key show it a certificate"
                }
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA => {
                    "; it does not accept the certificate of --client-cert"
                }
                _ => "",
            };
            format!("the server refused the TLS session: {alert:?}{hint}")
        }
        error => format!("TLS failed: {}", error.to_string().escape_debug()),
    })
}

/// Returns the authorities of a file, or of the system.
fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        let error = found.errors.first().map(|error| format!(": {error}"));
        return match roots.is_empty() {
            false => Ok(roots),
            true => Err(format!(
                "the system has no trusted certificates{}; --ca FILE names some",
                error.unwrap_or_default()
            )),
        };
    };
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{} cannot be used: {error}", file.display()))?;
    }
    Ok(roots)
}

/// Reads all certificates of a PEM file.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| pem(file, "certificate", error))?;
    match certificates.is_empty() {
        true => Err(pem(file, "certificate", PemError::NoItemsFound)),
        false => Ok(certificates),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| {
        // A file that was read before, so it has an end.
        let is_encrypted = !matches!(error, PemError::Io(_))
            && fs::read(file).is_ok_and(|bytes| unusable::is_encrypted(&bytes));
        match is_encrypted {
            true => {
                let file = file.display();
                format!(
                    "the private key in {file} is encrypted; `openssl pkey -in {file} -out FILE` writes it without the \
                     passphrase"
                )
            }
            false => pem(file, "private key", error),
        }
    })
}

fn pem(file: &Path, kind: &str, error: PemError) -> String {
    let file = file.display();
    match error {
        PemError::Io(error) => format!("cannot read {file}: {error}"),
        PemError::NoItemsFound => format!("{file} has no {kind} in the PEM format"),
        error => format!(
            "{file} is not in the PEM format: {}",
            unusable::format(&error)
        ),
    }
}

/// Accepts every certificate. The signatures of the handshake are verified, so the server has the key of the certificate
/// that it shows.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
