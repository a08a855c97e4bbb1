//! [`TlsConfig`]: the certificate of a listener, and what else its TLS sessions are made from.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use super::error::TlsConfigError;
use super::unusable;
use crate::sync::lock;

/// The only protocol that the server speaks over TLS (RFC 7301).
const PROTOCOL: &[u8] = b"http/1.1";

/// The certificate and the settings of a listener with TLS: see [`Listener::tls`](crate::Listener::tls). A clone is the
/// same configuration.
///
/// From PEM files, it has TLS 1.2 and 1.3 with the safe defaults of `rustls`, its provider `ring`, ALPN `http/1.1`, and
/// stateless session tickets, whose key changes every 6 hours. Early data (0-RTT) is refused, because it can be replayed. For
/// anything else, for example several certificates by server name, make a [`rustls::ServerConfig`] and convert it.
///
/// ```no_run
/// use standpipe::{Config, Listener, Server, TlsConfig};
///
/// let tls = TlsConfig::from_pem_files("fullchain.pem", "privkey.pem")?;
/// let listener = Listener::bind("0.0.0.0:443")?.tls(tls.clone());
/// let server = Server::from_listeners(vec![listener], Config::default())?;
/// // Later, when the certificate has been renewed:
/// tls.reload(TlsConfig::from_pem_files("fullchain.pem", "privkey.pem")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TlsConfig {
    current: Arc<Mutex<Arc<ServerConfig>>>,
}

impl TlsConfig {
    /// Uses a configuration of `rustls` as it is. Its ALPN protocols should be `http/1.1`, or empty. If it requires client
    /// certificates, it should let no client resume a session, because `rustls` does not verify the certificate again.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    ///
    /// use standpipe::{TlsConfig, rustls};
    ///
    /// # fn example(mut config: rustls::ServerConfig) {
    /// config.alpn_protocols = vec![b"http/1.1".to_vec()];
    /// let tls = TlsConfig::new(Arc::new(config));
    /// # }
    /// ```
    pub fn new(config: Arc<ServerConfig>) -> TlsConfig {
        TlsConfig {
            current: Arc::new(Mutex::new(config)),
        }
    }

    /// Reads a certificate and its private key from PEM files. `certificate` has the server's certificate first, and then
    /// those that lead from it to a root, as certificate authorities provide it ("full chain").
    ///
    /// ```no_run
    /// let tls = standpipe::TlsConfig::from_pem_files("fullchain.pem", "privkey.pem")?;
    /// # Ok::<(), standpipe::TlsConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`TlsConfigError`] names the file, and says what is wrong with it. A file may have at most 1 MiB.
    pub fn from_pem_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<TlsConfig, TlsConfigError> {
        TlsConfig::read(certificate.as_ref(), key.as_ref(), None)
    }

    /// As [`from_pem_files`](Self::from_pem_files), and requires a certificate of each client (mTLS). `authorities` has the
    /// certificates of the authorities that may have signed it. [`TlsInfo`](crate::TlsInfo) shows a handler the client's
    /// certificate. A client cannot resume a session, so its certificate is verified for each connection.
    ///
    /// ```no_run
    /// use standpipe::TlsConfig;
    /// let tls = TlsConfig::from_pem_files_with_client_ca("fullchain.pem", "privkey.pem", "clients.pem")?;
    /// # Ok::<(), standpipe::TlsConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_pem_files`](Self::from_pem_files), also for the file of the authorities.
    pub fn from_pem_files_with_client_ca(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
        authorities: impl AsRef<Path>,
    ) -> Result<TlsConfig, TlsConfigError> {
        let authorities = Some(authorities.as_ref());
        TlsConfig::read(certificate.as_ref(), key.as_ref(), authorities)
    }

    fn read(
        certificate: &Path,
        key: &Path,
        authorities: Option<&Path>,
    ) -> Result<TlsConfig, TlsConfigError> {
        let chain = read_certificates(certificate)?;
        let private = read_key(key)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsConfigError::Rustls)?;
        let builder = match authorities {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for authority in read_certificates(file)? {
                    roots
                        .add(authority)
                        .map_err(|error| TlsConfigError::certificate(file, error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| TlsConfigError::certificate(file, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, private)
            .map_err(|error| TlsConfigError::pair(certificate, key, error))?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        if authorities.is_some() {
            // A client that resumes a session does not show its certificate again, and gets a new ticket each time. It could
            // go on without end after its certificate has expired.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else {
            // Each configuration has its own, so that a reload changes everything.
            config.ticketer = ring::Ticketer::new().map_err(TlsConfigError::Rustls)?;
        }
        Ok(TlsConfig::new(Arc::new(config)))
    }

    /// Replaces the configuration by another one. Each connection that is accepted from now on uses it. Open connections
    /// keep their session, and no message is lost.
    ///
    /// ```no_run
    /// use standpipe::{TlsConfig, TlsConfigError};
    ///
    /// /// Called when the certificate has been renewed. A broken file changes nothing.
    /// fn renew(tls: &TlsConfig) -> Result<(), TlsConfigError> {
    ///     tls.reload(TlsConfig::from_pem_files("fullchain.pem", "privkey.pem")?);
    ///     Ok(())
    /// }
    /// ```
    pub fn reload(&self, config: impl Into<TlsConfig>) {
        let config = config.into().current();
        *lock(&self.current) = config;
    }

    /// Returns the configuration for a new connection.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&lock(&self.current))
    }
}

/// The largest file that is read, in bytes. Otherwise the wrong path, such as a device, could exhaust the memory.
const MAX_FILE: u64 = 1 << 20;

fn read_file(file: &Path) -> Result<Vec<u8>, TlsConfigError> {
    let read = |path| {
        let mut bytes = Vec::new();
        let file = File::open(path)?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            let reason = format!("the file is larger than {MAX_FILE} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        Ok(bytes)
    };
    read(file).map_err(|source| TlsConfigError::Read {
        file: file.to_owned(),
        source,
    })
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let bytes = read_file(file)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = read.map_err(|error| TlsConfigError::pem(file, error))?;
    match certificates.is_empty() {
        true => Err(TlsConfigError::Empty(file.to_owned())),
        false => Ok(certificates),
    }
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    let bytes = read_file(file)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match unusable::is_encrypted(&bytes) {
        true => TlsConfigError::EncryptedKey(file.to_owned()),
        false => TlsConfigError::pem(file, error),
    })
}

impl From<Arc<ServerConfig>> for TlsConfig {
    fn from(config: Arc<ServerConfig>) -> TlsConfig {
        TlsConfig::new(config)
    }
}

impl From<ServerConfig> for TlsConfig {
    fn from(config: ServerConfig) -> TlsConfig {
        TlsConfig::new(Arc::new(config))
    }
}

/// Shows nothing of the configuration, which has the private key.
impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").finish_non_exhaustive()
    }
}
