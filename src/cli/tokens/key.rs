//! [`Key`]: one key that verifies signatures, and the algorithms that are bound to it.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};

/// One key. A token cannot choose another algorithm than those of the key, so the bytes of a public key are never the
/// secret of an HMAC. `Debug` hides the key.
pub(crate) struct Key {
    /// The `kid` of a JWK. Keys from other files have none.
    id: Option<String>,
    algorithms: &'static [Algorithm],
    key: DecodingKey,
}

const HMAC: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// The sizes of an RSA modulus that are accepted, in bytes. RFC 7518 §3.3 requires 2048 bits. A larger key costs the
/// server more for each token.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// RFC 7518 §3.2 requires a secret as long as the output of SHA-256.
const SHORT_SECRET: usize = 32;

impl Key {
    /// Returns the key of an HMAC file: its raw bytes, without one newline at the end.
    pub(super) fn hmac(file: &[u8]) -> Result<Key, String> {
        let secret = file.strip_suffix(b"\n").unwrap_or(file);
        Key::secret(secret, &HMAC, None)
    }

    pub(super) fn secret(
        secret: &[u8],
        algorithms: &'static [Algorithm],
        id: Option<String>,
    ) -> Result<Key, String> {
        if secret.is_empty() {
            return Err("the secret is empty".into());
        }
        if secret.len() < SHORT_SECRET {
            log::warn!(
                "a secret for signed tokens has only {} bytes, and can be guessed from a token: use {SHORT_SECRET} random bytes",
                secret.len()
            );
        }
        let key = DecodingKey::from_secret(secret).map_err(|_| "the secret is not valid")?;
        Ok(Key {
            id,
            algorithms,
            key,
        })
    }

    /// Returns a public RSA key, for RS256. Both numbers are unsigned and big-endian.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8], id: Option<String>) -> Result<Key, String> {
        let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
        let bytes = modulus.len() - zeros;
        if !RSA_BYTES.contains(&bytes) {
            return Err(format!(
                "an RSA key has {} to {} bits, and this one has about {}",
                RSA_BYTES.start() * 8,
                RSA_BYTES.end() * 8,
                bytes * 8
            ));
        }
        Key::checked(
            DecodingKey::from_rsa_raw_components(modulus, exponent),
            &[Algorithm::RS256],
            id,
        )
    }

    /// Returns a public key on the curve P-256, for ES256. Both coordinates have 32 bytes.
    pub(super) fn p256(x: &[u8], y: &[u8], id: Option<String>) -> Result<Key, String> {
        // SEC 1 §2.3.3: an uncompressed point begins with 4.
        let point = [&[4], x, y].concat();
        Key::checked(DecodingKey::from_ec_der(&point), &[Algorithm::ES256], id)
    }

    /// Returns a public Ed25519 key, for EdDSA.
    pub(super) fn ed25519(public: &[u8], id: Option<String>) -> Result<Key, String> {
        if public.len() != 32 {
            return Err("an Ed25519 key has 32 bytes".into());
        }
        Key::checked(DecodingKey::from_ed_der(public), &[Algorithm::EdDSA], id)
    }

    /// Returns the key of one PEM block with the label `PUBLIC KEY` or `RSA PUBLIC KEY`.
    pub(super) fn pem(block: &[u8]) -> Result<Key, String> {
        const KINDS: &str =
            "the key is none of these: RSA, elliptic curve P-256 (prime256v1), Ed25519";
        if let Ok(key) = DecodingKey::from_ed_pem(block) {
            return Key::ed25519(key.try_get_as_bytes().map_err(|_| KINDS)?, None);
        }
        if let Ok(key) = DecodingKey::from_ec_pem(block) {
            let checked = Key::checked(key, &[Algorithm::ES256], None);
            return checked.map_err(|_| KINDS.into());
        }
        let key = DecodingKey::from_rsa_pem(block).map_err(|_| KINDS)?;
        // A key of another kind may look like an RSA key until its numbers are read.
        match Jwk::from_decoding_key(&key, None).map(|jwk| jwk.algorithm) {
            Ok(AlgorithmParameters::RSA(rsa)) => {
                let decode = |text: String| BASE64URL_NOPAD.decode(text.as_bytes());
                let numbers = decode(rsa.n).ok().zip(decode(rsa.e).ok());
                let (modulus, exponent) = numbers.ok_or(KINDS)?;
                Key::rsa(&modulus, &exponent, None)
            }
            _ => Err(KINDS.into()),
        }
    }

    /// Returns the key, if its bytes are those of a key.
    fn checked(
        key: DecodingKey,
        algorithms: &'static [Algorithm],
        id: Option<String>,
    ) -> Result<Key, String> {
        // The library reads the key when it verifies. The signature is not valid, which is no error.
        crypto::verify("", b"", &key, algorithms[0]).map_err(|_| "the key is not valid")?;
        Ok(Key {
            id,
            algorithms,
            key,
        })
    }

    /// Whether a token with this `kid` may be signed by this key. A key without an id may have signed any token.
    pub(super) fn has_id(&self, id: Option<&str>) -> bool {
        match (&self.id, id) {
            (Some(own), Some(id)) => own == id,
            _ => true,
        }
    }

    pub(super) fn accepts(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether `signature` is this key's signature of `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &str, algorithm: Algorithm) -> bool {
        self.accepts(algorithm)
            && crypto::verify(signature, message, &self.key, algorithm).unwrap_or(false)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, ***)", self.algorithms)
    }
}
