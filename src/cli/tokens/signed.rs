//! [`SignedTokens`]: verifies signed tokens (JWS compact serialization, RFC 7515 §7.1) with the keys of files.
//!
//! `jsonwebtoken` computes the signatures. The header and the claims are checked here, because that crate skips wrong
//! types of some claims, and because each refusal needs its reason.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use super::claims::{Claims, Now, Required, object};
use super::invalid::{Invalid, MAX_TOKEN};
use super::key::Key;
use super::key_file::KeyFile;

/// The keys for signed tokens, and what their claims must have.
#[derive(Debug)]
pub(crate) struct SignedTokens {
    pub(crate) files: Vec<KeyFile>,
    pub(crate) required: Required,
}

/// The header of a token. `jwk`, `jku`, `x5c` and `x5u` are not read: the keys come from the files only, and no URL is
/// fetched. A repeated field is an error.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// Present also if it is null or empty.
    #[serde(default, deserialize_with = "present")]
    crit: Option<Value>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl SignedTokens {
    /// Whether there is a key, so that a client needs a token.
    pub(crate) fn is_configured(&self) -> bool {
        !self.files.is_empty()
    }

    /// Returns the claims of a valid token.
    pub(crate) fn verify(&self, token: &str, now: Now) -> Result<Arc<Claims>, Invalid> {
        if token.len() > MAX_TOKEN {
            return Err(Invalid::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Invalid::NotSigned)?;
        let (header, payload) = message.split_once('.').ok_or(Invalid::NotSigned)?;
        if payload.contains('.') {
            return Err(Invalid::NotSigned);
        }
        self.verify_signature(header, message, signature)?;
        let payload = decode(payload).ok_or(Invalid::ClaimsNotRead)?;
        Claims::read(&payload, &self.required, now).map(Arc::new)
    }

    fn verify_signature(
        &self,
        header: &str,
        message: &str,
        signature: &str,
    ) -> Result<(), Invalid> {
        let header = decode(header).ok_or(Invalid::HeaderNotRead)?;
        let header: Header = object(&header).ok_or(Invalid::HeaderNotRead)?;
        if header.crit.is_some() {
            return Err(Invalid::Critical);
        }
        if header.alg.eq_ignore_ascii_case("none") {
            return Err(Invalid::NoAlgorithm);
        }
        let algorithm: Algorithm = header.alg.parse().map_err(|_| Invalid::Algorithm)?;
        let files: Vec<Arc<Vec<Key>>> = self.files.iter().map(KeyFile::keys).collect();
        let keys = || files.iter().flat_map(|keys| keys.iter());
        let mut named = keys().filter(|key| key.has_id(header.kid.as_deref()));
        if named.clone().next().is_none() {
            return Err(Invalid::UnknownKey);
        }
        if !named.clone().any(|key| key.accepts(algorithm)) {
            return Err(Invalid::Algorithm);
        }
        if named.any(|key| key.verifies(message.as_bytes(), signature, algorithm)) {
            Ok(())
        } else {
            Err(Invalid::Signature)
        }
    }
}

/// Returns the header and the claims of a token, which are not verified.
pub(crate) fn parts(token: &str) -> Option<(Value, Value)> {
    let mut parts = token.split('.');
    let mut next = || serde_json::from_slice(&decode(parts.next()?)?).ok();
    Some((next()?, next()?))
}

fn decode(part: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(part.as_bytes()).ok()
}
