//! [`TlsConfigError`]: why no [`TlsConfig`](super::TlsConfig) could be made.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem;

use super::unusable;

/// Why PEM files give no [`TlsConfig`](crate::TlsConfig). The text names the file, and never contains a part of a key.
///
/// ```
/// use standpipe::{TlsConfig, TlsConfigError};
///
/// let error = TlsConfig::from_pem_files("missing.pem", "key.pem").expect_err("there is no such file");
/// assert!(matches!(&error, TlsConfigError::Read { file, .. } if file.ends_with("missing.pem")));
/// assert!(error.to_string().contains("missing.pem"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file is not in the PEM format.
    #[error("{} is not in the PEM format: {reason}", file.display())]
    NotPem {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file has no certificate.
    #[error("{} has no certificate in the PEM format", .0.display())]
    Empty(PathBuf),
    /// The file of the key has no private key.
    #[error("{} has no private key in the PEM format", .0.display())]
    NoKey(PathBuf),
    /// The private key is encrypted.
    #[error(
        "the private key in {} is encrypted; `openssl pkey -in {} -out FILE` writes it without the passphrase",
        .0.display(),
        .0.display()
    )]
    EncryptedKey(PathBuf),
    /// A certificate of an authority cannot be used.
    #[error("{} has a certificate that cannot be used: {source}", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificate and the key cannot be used together.
    #[error(
        "the certificate {} and the key {} cannot be used together: {}",
        certificate.display(),
        key.display(),
        unusable::pair(source)
    )]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// An error of `rustls`.
    #[error(transparent)]
    Rustls(rustls::Error),
}

impl TlsConfigError {
    pub(super) fn pem(file: &Path, error: pem::Error) -> TlsConfigError {
        let file = file.to_owned();
        match error {
            pem::Error::Io(source) => TlsConfigError::Read { file, source },
            pem::Error::NoItemsFound => TlsConfigError::NoKey(file),
            error => TlsConfigError::NotPem {
                file,
                reason: unusable::format(&error).into_owned(),
            },
        }
    }

    pub(super) fn certificate(
        file: &Path,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> TlsConfigError {
        TlsConfigError::Certificate {
            file: file.to_owned(),
            source: source.into(),
        }
    }

    pub(super) fn pair(certificate: &Path, key: &Path, source: rustls::Error) -> TlsConfigError {
        TlsConfigError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source,
        }
    }
}
