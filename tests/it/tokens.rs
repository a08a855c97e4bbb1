//! Signed tokens (JWT) against the running program: who is refused, what a token allows, when its connection ends, and
//! how keys are rotated. `src/cli/tokens/tests` tests each algorithm and each file of keys.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

use crate::secrets::File;
use crate::support::{Connect, JsonClient, TestClient, until};
use crate::threats::spawned::{Spawned, standpipe};

mod command;
mod expiry;
mod refusals;
mod rights;
mod rotation;

pub(crate) const SECRET: &str = "a secret of more than thirty-two bytes";
pub(crate) const KEY: &str = "Authorization: Bearer k3y\r\n";

/// Returns the seconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("the clock is after 1970").as_secs()
}

/// Returns a token with these claims, signed with HS256.
pub(crate) fn token_by(secret: &str, claims: &Value) -> String {
    let encode = |part: &Value| BASE64URL_NOPAD.encode(part.to_string().as_bytes());
    let message = format!("{}.{}", encode(&json!({"alg": "HS256"})), encode(claims));
    let key = EncodingKey::from_secret(secret.as_bytes()).expect("the secret is not empty");
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.expect("the key can sign"))
}

pub(crate) fn token(claims: &Value) -> String {
    token_by(SECRET, claims)
}

/// Returns a token for an hour, with these further claims.
pub(crate) fn valid(mut claims: Value) -> String {
    claims["exp"] = (now() + 3600).into();
    token(&claims)
}

/// A server with the secret in a file, and with the key `k3y`.
pub(crate) struct Server {
    pub(crate) spawned: Spawned,
    pub(crate) secret: File,
    _keys: File,
}

impl Server {
    #[track_caller]
    pub(crate) fn start(name: &str, flags: &[&str]) -> Server {
        let secret = File::new(&format!("{name}-secret"), SECRET);
        let keys = File::new(&format!("{name}-keys"), "k3y");
        let files = [
            "--jwt-hmac-file",
            secret.path(),
            "--publish-key-file",
            keys.path(),
        ];
        Server {
            spawned: Spawned::of(standpipe(&[&files, flags].concat())),
            secret,
            _keys: keys,
        }
    }

    pub(crate) fn client(&self, path: &str, token: &str) -> Connect {
        let client = self.spawned.client(path);
        client.header(&format!("Authorization: Bearer {token}"))
    }

    /// Returns the status of an opening handshake.
    #[track_caller]
    pub(crate) fn status(&self, path: &str, token: &str) -> u16 {
        self.client(path, token).request().1.status
    }

    #[track_caller]
    pub(crate) fn raw(&self, path: &str, token: &str) -> TestClient {
        self.client(path, token).connect()
    }

    #[track_caller]
    pub(crate) fn json(&self, token: &str) -> JsonClient {
        JsonClient::at(self.spawned.addr(), &format!("/ws?token={token}"))
    }

    /// Waits for a line in the log that contains `text`.
    #[track_caller]
    pub(crate) fn until_logged(&self, text: &str) {
        until(&format!("the log has {text}"), || {
            self.spawned.log().contains(text)
        });
    }
}

/// Sends a newer token.
#[track_caller]
pub(crate) fn renew(client: &mut JsonClient, token: &str) -> Value {
    client.request(json!({"token": token, "ref": "renew"}).to_string())
}
