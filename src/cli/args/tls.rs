//! The flags of `serve` for TLS, and the files that they name.

#[cfg(feature = "tls")]
use std::path::Path;
use std::path::PathBuf;

use clap::Args;

#[cfg(feature = "tls")]
use crate::cli::exit::BadConfiguration;

/// The flags whose names begin with `--tls`. A program without the feature `tls` has them too, because their variables would
/// otherwise be unknown: the server would start, and speak no TLS.
#[derive(Args, Clone, Debug)]
pub(crate) struct TlsArgs {
    /// A file with the server's certificate and those that lead from it to a root, as PEM. Every TCP listener then speaks
    /// TLS, for wss:// and https://; a unix socket never does. SIGHUP reads it again [default: no TLS]
    #[arg(long, env = "STANDPIPE_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// A file with the private key of --tls-cert, as PEM
    #[arg(long, env = "STANDPIPE_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// A file with the certificates of authorities, as PEM. Each client must then show a certificate that one of them has
    /// signed [default: clients need no certificate]
    #[arg(long, env = "STANDPIPE_TLS_CLIENT_CA", value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
}

/// The files of a server with TLS.
#[cfg(feature = "tls")]
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_authorities: Option<PathBuf>,
}

impl TlsArgs {
    /// Returns the name of a flag that is set, or `None`.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn first(&self) -> Option<&'static str> {
        let flags = [
            ("--tls-cert", &self.tls_cert),
            ("--tls-key", &self.tls_key),
            ("--tls-client-ca", &self.tls_client_ca),
        ];
        let set = flags.into_iter().find(|(_, file)| file.is_some());
        set.map(|(flag, _)| flag)
    }

    /// Returns the files, or `None` without TLS.
    ///
    /// # Errors
    /// [`BadConfiguration`] for a flag that needs another one.
    #[cfg(feature = "tls")]
    pub(crate) fn files(&self) -> Result<Option<TlsFiles>, BadConfiguration> {
        let refuse = |text: &str| Err(BadConfiguration(text.into()));
        let owned = |path: &PathBuf| Path::to_owned(path);
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
                certificate: owned(certificate),
                key: owned(key),
                client_authorities: self.tls_client_ca.clone(),
            })),
            (Some(_), None) => refuse("--tls-cert: needs --tls-key, the file of its private key"),
            (None, Some(_)) => refuse("--tls-key: needs --tls-cert, the file of its certificate"),
            (None, None) if self.tls_client_ca.is_some() => refuse(
                "--tls-client-ca: needs --tls-cert and --tls-key, because clients show certificates over TLS only",
            ),
            (None, None) => Ok(None),
        }
    }
}
