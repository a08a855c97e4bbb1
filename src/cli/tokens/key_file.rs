//! [`KeyFile`]: a file of keys that verify signed tokens, which can be read again while the server runs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::jwk;
use super::key::Key;
use crate::cli::secrets::read_file;

/// The most keys in one file. A token without a `kid` may be tried with each of them.
const MAX_KEYS: usize = 64;

/// The kind of the keys in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The raw bytes of one secret.
    Hmac,
    /// Public keys as PEM.
    Public,
    /// A JWK or a set of JWKs.
    Jwks,
}

/// A file of keys, and the keys that were read from it last.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    kind: Kind,
    keys: RwLock<Arc<Vec<Key>>>,
}

impl KeyFile {
    /// Reads the file, and logs how many keys it has.
    ///
    /// # Errors
    /// When the file cannot be read, has no key, or has a key that cannot be used. The text names the file, and never
    /// has a part of its content.
    pub(crate) fn read(kind: Kind, path: &Path) -> Result<KeyFile, String> {
        Ok(KeyFile {
            path: path.to_owned(),
            kind,
            keys: RwLock::new(Arc::new(read(kind, path)?)),
        })
    }

    /// Reads the file again. Later tokens are checked against the new keys.
    ///
    /// # Errors
    /// As [`read`](Self::read). The old keys then remain valid.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let keys = Arc::new(read(self.kind, &self.path)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Returns the keys that are valid now.
    pub(super) fn keys(&self) -> Arc<Vec<Key>> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(kind: Kind, path: &Path) -> Result<Vec<Key>, String> {
    let shown = path.display();
    let named = |error: String| format!("{shown}: {error}");
    let file = read_file(path).map_err(named)?;
    let (keys, ignored) = parse(kind, &file).map_err(named)?;
    log::info!(
        "number of keys for signed tokens read from {shown}: {}{}",
        keys.len(),
        match ignored {
            0 => String::new(),
            ignored => format!(" (ignored, because they are of another kind or use: {ignored})"),
        }
    );
    Ok(keys)
}

/// Returns the keys and the number of keys that were ignored.
fn parse(kind: Kind, file: &[u8]) -> Result<(Vec<Key>, usize), String> {
    let (keys, ignored) = match kind {
        Kind::Hmac => {
            check_secret(file)?;
            (vec![Key::hmac(file)?], 0)
        }
        Kind::Public => (public_keys(file)?, 0),
        Kind::Jwks => {
            let read = jwk::read(file)?;
            (read.keys, read.ignored)
        }
    };
    match keys.len() {
        0 => Err("the file has no key that can be used".into()),
        1..=MAX_KEYS => Ok((keys, ignored)),
        many => Err(format!(
            "the file has {many} keys, and at most {MAX_KEYS} are allowed"
        )),
    }
}

/// Rejects a file of public keys. Others know its bytes, and could sign tokens with them (RFC 8725 §2.1).
fn check_secret(file: &[u8]) -> Result<(), String> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    if file.windows(BEGIN.len()).any(|bytes| bytes == BEGIN) {
        return Err("a PEM file is no secret; public keys belong in --jwt-public-key-file".into());
    }
    if jwk::is_jwk(file) {
        return Err("a file of JSON Web Keys is no secret; it belongs in --jwks-file".into());
    }
    Ok(())
}

/// Reads the PEM blocks of a file (RFC 7468). Text between the blocks is skipped.
fn public_keys(file: &[u8]) -> Result<Vec<Key>, String> {
    const BEGIN: &str = "-----BEGIN ";
    let text = std::str::from_utf8(file).map_err(|_| "the file is not PEM text")?;
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let block = &rest[at..];
        let label = block[BEGIN.len()..]
            .split_once("-----")
            .map(|(label, _)| label);
        let label = label.ok_or("a PEM block has no end")?;
        if !matches!(label, "PUBLIC KEY" | "RSA PUBLIC KEY") {
            return Err(if label.ends_with("PRIVATE KEY") {
                "the file has a private key; the server needs the public key only".into()
            } else {
                "a PEM block is not a PUBLIC KEY".into()
            });
        }
        let end = format!("-----END {label}-----");
        let length = block.find(&end).ok_or("a PEM block has no end")? + end.len();
        keys.push(Key::pem(&block.as_bytes()[..length])?);
        rest = &block[length..];
    }
    Ok(keys)
}
