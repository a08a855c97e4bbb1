//! [`Certificate`]: the files of `--tls-cert`, `--tls-key` and `--tls-client-ca`, which can be read again while the server
//! runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use standpipe::{Listener, TlsConfig, TlsConfigError};

use super::Failure;
use super::args::ServeArgs;
use super::args::TlsFiles;
use validity::Validity;

mod validity;

/// The files, and the TLS configuration that was read from them last. A clone is the same configuration.
#[derive(Clone)]
pub(crate) struct Certificate {
    files: TlsFiles,
    config: TlsConfig,
    /// When the certificate expires, in seconds since 1970. 0 if this is not known.
    not_after: Arc<AtomicU64>,
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
        let certificate = Certificate {
            files,
            config,
            not_after: Arc::default(),
        };
        certificate.look_at_validity();
        Ok(Some(certificate))
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
        self.look_at_validity();
        for warning in self.warnings() {
            log::warn!("{warning}");
        }
        Ok(())
    }

    /// Returns when the certificate expires, in seconds since 1970. 0 if this is not known.
    pub(crate) fn not_after(&self) -> u64 {
        self.not_after.load(Ordering::Relaxed)
    }

    fn look_at_validity(&self) {
        let validity = Validity::of_file(&self.files.certificate);
        let not_after = validity.map_or(0, |validity| validity.not_after);
        self.not_after.store(not_after, Ordering::Relaxed);
    }

    /// Returns warnings of a certificate that clients refuse, and of a key that others can read.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let certificate = &self.files.certificate;
        let problem =
            Validity::of_file(certificate).and_then(|validity| validity.problem(SystemTime::now()));
        if let Some(problem) = problem {
            warnings.push(format!(
                "--tls-cert: the certificate in {} {problem}, so clients refuse it; renew it, and send SIGHUP",
                certificate.display()
            ));
        }
        let key = &self.files.key;
        if fs::metadata(key).is_ok_and(|key| key.mode() & 0o004 != 0) {
            warnings.push(format!(
                "--tls-key: every user of this machine can read {}; use chmod o-rwx",
                key.display()
            ));
        }
        warnings
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
        TlsConfigError::NoKey(_) | TlsConfigError::EncryptedKey(_) => "--tls-key",
        TlsConfigError::Read { file, .. }
        | TlsConfigError::NotPem { file, .. }
        | TlsConfigError::Certificate { file, .. }
        | TlsConfigError::Empty(file) => of(file),
        _ => "--tls-cert",
    }
}
