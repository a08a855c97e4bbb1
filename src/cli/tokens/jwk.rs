//! Reads a JWK file: one key, or a set of keys (RFC 7517).

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::key::Key;

#[derive(Deserialize)]
struct Set {
    keys: Vec<Map<String, Value>>,
}

/// The keys of a file, and how many keys were ignored because they are of another kind or for another use.
pub(super) struct Read {
    pub(super) keys: Vec<Key>,
    pub(super) ignored: usize,
}

/// Reads the keys of a file. A key of an unknown kind is ignored (RFC 7517 §5).
///
/// # Errors
/// Names the position of a key of a known kind that cannot be used. The text never has a part of the file.
pub(super) fn read(file: &[u8]) -> Result<Read, String> {
    let file = file.strip_prefix("\u{feff}".as_bytes()).unwrap_or(file);
    let not_read = |_| "the file is not a JWK or a set of JWKs as JSON";
    let value: Map<String, Value> = serde_json::from_slice(file).map_err(not_read)?;
    let keys = if value.contains_key("keys") {
        serde_json::from_value::<Set>(Value::Object(value))
            .map_err(not_read)?
            .keys
    } else {
        vec![value]
    };
    let (count, mut read) = (keys.len(), Vec::new());
    for (number, jwk) in (1..).zip(&keys) {
        let key = one(jwk).map_err(|error| format!("key {number} of {count}: {error}"))?;
        read.extend(key);
    }
    Ok(Read {
        ignored: count - read.len(),
        keys: read,
    })
}

/// Returns whether a file has the form of a JWK or of a set of JWKs.
pub(super) fn is_jwk(file: &[u8]) -> bool {
    let read = serde_json::from_slice::<Map<String, Value>>(file);
    read.is_ok_and(|value| value.contains_key("keys") || value.contains_key("kty"))
}

/// Returns the key, or `None` if it is of another kind or for another use.
fn one(jwk: &Map<String, Value>) -> Result<Option<Key>, String> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let is_for_signatures = match (jwk.get("use"), jwk.get("key_ops")) {
        (Some(purpose), _) if purpose != "sig" => false,
        (_, Some(Value::Array(operations))) => operations.iter().any(|each| each == "verify"),
        _ => true,
    };
    if !is_for_signatures {
        return Ok(None);
    }
    // The algorithm of the key narrows what its kind allows.
    let algorithm = match jwk.get("alg") {
        None => None,
        Some(name) => Some(name.as_str().ok_or("alg must be a string")?),
    };
    let is_for = |name: &str| algorithm.is_none_or(|algorithm| algorithm == name);
    let id = match jwk.get("kid") {
        None => None,
        Some(id) => Some(id.as_str().ok_or("kid must be a string")?.to_owned()),
    };
    let bytes = |name: &str| {
        let decoded = text(name).and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok());
        decoded.ok_or_else(|| format!("{name} must be base64url without padding"))
    };
    match (text("kty"), text("crv")) {
        (Some("oct"), _) => {
            let algorithms: &'static [Algorithm] = match algorithm {
                None => &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512],
                Some("HS256") => &[Algorithm::HS256],
                Some("HS384") => &[Algorithm::HS384],
                Some("HS512") => &[Algorithm::HS512],
                Some(_) => return Ok(None),
            };
            Key::secret(&bytes("k")?, algorithms, id).map(Some)
        }
        (Some("RSA"), _) if is_for("RS256") => Key::rsa(&bytes("n")?, &bytes("e")?, id).map(Some),
        (Some("EC"), Some("P-256")) if is_for("ES256") => {
            Key::p256(&bytes("x")?, &bytes("y")?, id).map(Some)
        }
        (Some("OKP"), Some("Ed25519")) if is_for("EdDSA") || is_for("Ed25519") => {
            Key::ed25519(&bytes("x")?, id).map(Some)
        }
        (None, _) => Err("kty must be a string".into()),
        _ => Ok(None),
    }
}
