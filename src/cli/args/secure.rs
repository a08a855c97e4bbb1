//! The flags of the commands that connect to a server with TLS.

#[cfg(feature = "tls")]
use std::path::PathBuf;

use clap::Args;

use crate::cli::Failure;
use crate::cli::secure::Secure;
#[cfg(feature = "tls")]
use crate::cli::secure::Trust;

/// Whom a command trusts, and how it shows who it is.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SecureArgs {
    /// For wss:// and https://: a file with the certificates of the authorities to trust, in PEM format [default: those that
    /// the system trusts]
    #[cfg(feature = "tls")]
    #[arg(long, env = "STANDPIPE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Does not verify the certificate of the server, also with --ca. Anybody on the way to the server may then read and
    /// change everything, so a warning is printed each time
    #[cfg(feature = "tls")]
    #[arg(long)]
    insecure: bool,

    /// The certificate of this client, in PEM format, for a server that requires one
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,

    /// The private key of --client-cert, in PEM format
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
}

impl SecureArgs {
    /// Returns the TLS of the connections of a command, as [`Secure::new`].
    pub(crate) fn secure(&self, has_tls: bool) -> Result<Secure, Failure> {
        #[cfg(feature = "tls")]
        return Secure::new(
            has_tls,
            &Trust {
                authorities: self.ca.as_deref(),
                is_insecure: self.insecure,
                identity: self.client_cert.as_deref().zip(self.client_key.as_deref()),
            },
        );
        #[cfg(not(feature = "tls"))]
        Ok(Secure)
    }
}
