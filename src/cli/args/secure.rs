//! The flags of the commands that connect to a server with TLS.

#[cfg(feature = "tls")]
use std::io::{self, Write};
#[cfg(feature = "tls")]
use std::path::PathBuf;

use clap::Args;

use crate::cli::Failure;
use crate::cli::secure::Secure;
#[cfg(feature = "tls")]
use crate::cli::secure::Trust;

#[cfg(feature = "tls")]
const WARNING: &str = "warning: --insecure: the certificate of the server is not verified, so anybody on the way to it may \
                       read and change everything";

/// The authorities that a command trusts, and its own certificate.
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
    /// Returns the TLS of the connections of a command, as [`Secure::new`]. Without verification, prints a warning.
    #[cfg(feature = "tls")]
    pub(crate) fn secure(&self, has_tls: bool) -> Result<Secure, Failure> {
        if has_tls && self.insecure {
            writeln!(io::stderr(), "{WARNING}")?;
        }
        let trust = Trust {
            authorities: self.ca.as_deref(),
            is_insecure: self.insecure,
            identity: self.client_cert.as_deref().zip(self.client_key.as_deref()),
        };
        Secure::new(has_tls, &trust)
    }

    /// Returns what stands for the TLS of a program that was built without it.
    #[cfg(not(feature = "tls"))]
    pub(crate) fn secure(&self, _has_tls: bool) -> Result<Secure, Failure> {
        Ok(Secure)
    }
}
