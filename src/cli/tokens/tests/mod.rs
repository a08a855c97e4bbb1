//! Signed tokens against the keys of files. The keys are in `tests/keys`.

mod key_files;
mod signatures;

use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

use super::claims::{Now, Required};
use super::invalid::{Invalid, MAX_TOKEN};
use super::key_file::{KeyFile, Kind};
use super::signed::SignedTokens;

const SECRET: &[u8] = b"a secret of more than thirty-two bytes\0\xff";
const OTHER: &[u8] = b"another secret of more than 32 bytes..";

const RSA: &[u8] = include_bytes!("../../../../tests/keys/rsa.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("../../../../tests/keys/rsa_public.pem");
const P256: &[u8] = include_bytes!("../../../../tests/keys/p256.pem");
const P256_PUBLIC: &[u8] = include_bytes!("../../../../tests/keys/p256_public.pem");
const ED25519: &[u8] = include_bytes!("../../../../tests/keys/ed25519.pem");
const ED25519_PUBLIC: &[u8] = include_bytes!("../../../../tests/keys/ed25519_public.pem");

/// A file that is removed when this is dropped.
struct File(PathBuf);

impl File {
    fn new(content: impl AsRef<[u8]>) -> File {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("standpipe-keys-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).expect("the temporary directory can be written");
        File(path)
    }

    fn read(&self, kind: Kind) -> Result<KeyFile, String> {
        KeyFile::read(kind, &self.0)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns what verifies tokens with the keys of these files.
fn with_keys(files: &[(Kind, &[u8])]) -> SignedTokens {
    let read = |(kind, content): &(Kind, &[u8])| {
        let file = File::new(content);
        file.read(*kind).expect("the file has a key")
    };
    SignedTokens {
        files: files.iter().map(read).collect(),
        required: Required {
            leeway: Duration::from_secs(30),
            ..Required::default()
        },
    }
}

fn with_hmac() -> SignedTokens {
    with_keys(&[(Kind::Hmac, SECRET)])
}

fn verify(keys: &SignedTokens, token: &str) -> Result<(), Invalid> {
    keys.verify(token, Now::get()).map(drop)
}

fn encoded(json: &Value) -> String {
    BASE64URL_NOPAD.encode(json.to_string().as_bytes())
}

fn message(header: &Value) -> String {
    let exp = Now::get().unix.as_secs() + 600;
    format!(
        "{}.{}",
        encoded(header),
        encoded(&json!({"sub": "ann", "exp": exp}))
    )
}

/// Returns a token with this header, signed with `key`.
fn signed(header: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = message(header);
    let signature = crypto::sign(message.as_bytes(), key, algorithm).expect("the key can sign");
    format!("{message}.{signature}")
}

/// As [`signed`], with the right `alg` in the header.
fn token(key: &EncodingKey, algorithm: Algorithm) -> String {
    signed(&json!({"alg": format!("{algorithm:?}")}), key, algorithm)
}

fn secret(bytes: &[u8]) -> EncodingKey {
    EncodingKey::from_secret(bytes).expect("it is not empty")
}

fn private_keys() -> [(EncodingKey, Vec<Algorithm>); 4] {
    use Algorithm::*;
    [
        (secret(SECRET), vec![HS256, HS384, HS512]),
        (
            EncodingKey::from_rsa_pem(RSA).expect("a key"),
            vec![RS256, RS384, RS512, PS256, PS384, PS512],
        ),
        (EncodingKey::from_ec_pem(P256).expect("a key"), vec![ES256]),
        (
            EncodingKey::from_ed_pem(ED25519).expect("a key"),
            vec![EdDSA],
        ),
    ]
}

/// Each kind of file, and the algorithms that it accepts.
fn key_files() -> [(Kind, &'static [u8], Vec<Algorithm>); 4] {
    use Algorithm::*;
    [
        (Kind::Hmac, SECRET, vec![HS256, HS384, HS512]),
        (Kind::Public, RSA_PUBLIC, vec![RS256]),
        (Kind::Public, P256_PUBLIC, vec![ES256]),
        (Kind::Public, ED25519_PUBLIC, vec![EdDSA]),
    ]
}
