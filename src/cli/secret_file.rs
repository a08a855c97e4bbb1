//! [`SecretFile`]: a file of tokens or keys, which can be read again while the server runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::secrets::Secrets;

/// A file of secrets, and the secrets that were read from it last.
#[derive(Debug)]
pub(crate) struct SecretFile {
    path: PathBuf,
    /// What the secrets are, for the log: `tokens` or `keys`.
    kind: &'static str,
    secrets: RwLock<Arc<Secrets>>,
}

impl SecretFile {
    /// Reads the file, and logs how many secrets it has.
    ///
    /// # Errors
    /// Like [`Secrets::read`].
    pub(crate) fn read(kind: &'static str, path: &Path) -> Result<SecretFile, String> {
        let file = SecretFile {
            path: path.to_owned(),
            kind,
            secrets: RwLock::new(Arc::new(Secrets::read(path)?)),
        };
        file.log_count();
        Ok(file)
    }

    /// Reads the file again. Later requests are checked against the new secrets.
    ///
    /// # Errors
    /// Like [`Secrets::read`]. The old secrets then remain valid.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let secrets = Arc::new(Secrets::read(&self.path)?);
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
        self.log_count();
        Ok(())
    }

    /// Returns the secrets that are valid now.
    pub(crate) fn secrets(&self) -> Arc<Secrets> {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&secrets)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn log_count(&self) {
        let (count, path) = (self.secrets().count(), self.path.display());
        log::info!("number of {} read from {path}: {count}", self.kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_reload_keeps_the_old_secrets() {
        let path = std::env::temp_dir().join(format!("standpipe-reload-{}", std::process::id()));
        std::fs::write(&path, "first\n").expect("a file");
        let file = SecretFile::read("tokens", &path).expect("the file has a secret");
        std::fs::write(&path, "second\nthird\n").expect("a file");
        file.reload().expect("the file has secrets");
        assert_eq!(file.secrets().first(), Some("second"));
        std::fs::write(&path, "# nothing\n").expect("a file");
        let error = file.reload().expect_err("the file has no secret");
        assert!(error.starts_with(&*path.to_string_lossy()), "{error}");
        assert_eq!(file.secrets().count(), 2);
        std::fs::remove_file(&path).expect("the file is there");
    }
}
