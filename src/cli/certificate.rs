//! [`Certificate`]: the files of `--tls-cert`, `--tls-key` and `--tls-client-ca`, which can be read again while the server
//! runs.

use std::path::Path;

use standpipe::{Listener, TlsConfig, TlsConfigError};

use super::Failure;
use super::args::ServeArgs;
use super::args::TlsFiles;

/// The files, and the TLS configuration that was read from them last. A clone is the same configuration.
#[derive(Clone)]
pub(crate) struct Certificate {
    files: TlsFiles,
    config: TlsConfig,
}

impl Certificate {
    /// Reads the files. Returns `None` without TLS.
    ///
    /// # Errors
    /// [`BadConfiguration`](super::exit::BadConfiguration) for a flag that needs another one. Also when a file cannot be
    /// used: the text begins with its flag.
    pub(crate) fn of(args: &ServeArgs) -> Result<Option<Certificate>, Failure> {
        let Some(files) = args.tls.files()? else {
            return Ok(None);
        };
        let config = read(&files)?;
        Ok(Some(Certificate { files, config }))
    }

    /// Returns the listener with TLS. A unix socket stays as it is, because it serves a proxy on the same machine.
    pub(crate) fn listener(&self, listener: Listener) -> Listener {
        match listener.local_addr() {
            Some(_) => listener.tls(self.config.clone()),
            None => listener,
        }
    }

    /// Reads the files again. Each connection that is accepted from now on uses them, and open ones go on as they are.
    ///
    /// # Errors
    /// As [`of`](Self::of). The old certificate then stays in force.
    pub(crate) fn reload(&self) -> Result<(), String> {
        self.config.reload(read(&self.files)?);
        Ok(())
    }
}

fn read(files: &TlsFiles) -> Result<TlsConfig, String> {
    let read = match &files.client_authorities {
        Some(authorities) => {
            TlsConfig::from_pem_files_with_client_ca(&files.certificate, &files.key, authorities)
        }
        None => TlsConfig::from_pem_files(&files.certificate, &files.key),
    };
    let config = read.map_err(|error| format!("{}: {error}", flag(files, &error)))?;
    log::info!("certificate read from {}", files.certificate.display());
    Ok(config)
}

/// Returns the flag of the file that an error is about.
fn flag(files: &TlsFiles, error: &TlsConfigError) -> &'static str {
    let of = |file: &Path| match files {
        files if file == files.certificate => "--tls-cert",
        files if file == files.key => "--tls-key",
        _ => "--tls-client-ca",
    };
    match error {
        TlsConfigError::NoKey(_) => "--tls-key",
        TlsConfigError::Read { file, .. }
        | TlsConfigError::NotPem { file, .. }
        | TlsConfigError::Certificate { file, .. }
        | TlsConfigError::Empty(file) => of(file),
        _ => "--tls-cert",
    }
}
