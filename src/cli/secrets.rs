//! Tokens and keys: read from files, compared in constant time, never printed.

use std::fmt;
use std::fs;
use std::hint::black_box;
use std::path::Path;

use standpipe::Request;

/// The secrets of one file, one per line. `Debug` hides them.
pub(crate) struct Secrets(Vec<String>);

/// The prefix of a token sent as a subprotocol. Web pages use it, because they cannot set headers for a WebSocket.
const SUBPROTOCOL: &str = "bearer.";

impl Secrets {
    pub(crate) fn read(path: &Path) -> Result<Secrets, String> {
        let text =
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets: Vec<String> = lines.map(str::to_owned).collect();
        if secrets.is_empty() {
            return Err(format!(
                "{}: the file has no secrets; write one per line",
                path.display()
            ));
        }
        Ok(Secrets(secrets))
    }

    /// Whether the request has a valid secret as `Authorization: Bearer …`.
    pub(crate) fn has_bearer(&self, request: &Request) -> bool {
        let scheme = |value: &str| {
            let (scheme, secret) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| secret.trim().to_owned())
        };
        let bearer = request.header("authorization").and_then(scheme);
        bearer.is_some_and(|bearer| self.contains(&bearer))
    }

    /// Whether the request has a valid secret as a bearer token, as the subprotocol `bearer.SECRET`, or as `?token=`.
    pub(crate) fn has_token(&self, request: &Request) -> bool {
        self.has_bearer_or_offers(request)
            || request
                .query("token")
                .is_some_and(|token| self.contains(token))
    }

    /// Whether the request has a valid secret as a bearer token or as a subprotocol. A query is not accepted here, because
    /// queries end up in logs.
    pub(crate) fn has_bearer_or_offers(&self, request: &Request) -> bool {
        let mut offered = request
            .subprotocols()
            .filter_map(|name| name.strip_prefix(SUBPROTOCOL));
        self.has_bearer(request) || offered.any(|token| self.contains(token))
    }

    /// Returns the first secret, for a client that this process starts itself.
    pub(crate) fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// Whether `secret` is one of these. The time that this takes depends only on lengths.
    fn contains(&self, secret: &str) -> bool {
        let mut found = false;
        for own in &self.0 {
            found |= black_box(equal(own.as_bytes(), secret.as_bytes()));
        }
        found
    }
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .fold(0, |different, (a, b)| black_box(different | (a ^ b)))
            == 0
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_secrets_match_and_debug_hides_them() {
        let secrets = Secrets(vec!["first".into(), "second".into()]);
        assert!(secrets.contains("second") && secrets.contains("first"));
        for wrong in ["", "firs", "firstx", "First", "firstsecond"] {
            assert!(!secrets.contains(wrong), "{wrong}");
        }
        assert!(!format!("{secrets:?}").contains("first"));
    }
}
