//! Tokens and keys: read from files, compared in constant time, never shown.

use std::fmt;
use std::fs;
use std::hint::black_box;
use std::path::Path;

use standpipe::Request;

/// The secrets of one file, one a line. `{:?}` shows none of them.
pub(crate) struct Secrets(Vec<String>);

/// What a token is called where a header cannot be set: browsers can choose a subprotocol, and little else.
const SUBPROTOCOL: &str = "bearer.";

impl Secrets {
    pub(crate) fn read(path: &Path) -> Result<Secrets, String> {
        let text =
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets: Vec<String> = lines.map(str::to_owned).collect();
        if secrets.is_empty() {
            return Err(format!(
                "{}: no secret in it; write one a line",
                path.display()
            ));
        }
        Ok(Secrets(secrets))
    }

    /// Whether the request brings one as `Authorization: Bearer …`.
    pub(crate) fn has_bearer(&self, request: &Request) -> bool {
        let scheme = |value: &str| {
            let (scheme, secret) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| secret.trim().to_owned())
        };
        let bearer = request.header("authorization").and_then(scheme);
        bearer.is_some_and(|bearer| self.knows(&bearer))
    }

    /// Whether the request brings one as a bearer, as the subprotocol `bearer.SECRET`, or as `?token=`.
    pub(crate) fn has_token(&self, request: &Request) -> bool {
        self.has_bearer_or_offers(request)
            || request
                .query("token")
                .is_some_and(|token| self.knows(token))
    }

    /// Whether the request brings one as a bearer, or as the subprotocol: in neither place is it logged, as a query is.
    pub(crate) fn has_bearer_or_offers(&self, request: &Request) -> bool {
        let mut offered = request
            .subprotocols()
            .filter_map(|name| name.strip_prefix(SUBPROTOCOL));
        self.has_bearer(request) || offered.any(|token| self.knows(token))
    }

    /// One of them, for a client of our own.
    pub(crate) fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// In a time that depends on lengths alone.
    fn knows(&self, secret: &str) -> bool {
        let mut known = false;
        for own in &self.0 {
            known |= black_box(equal(own.as_bytes(), secret.as_bytes()));
        }
        known
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
    fn secrets_are_known_whole_and_never_shown() {
        let secrets = Secrets(vec!["first".into(), "second".into()]);
        assert!(secrets.knows("second") && secrets.knows("first"));
        for wrong in ["", "firs", "firstx", "First", "firstsecond"] {
            assert!(!secrets.knows(wrong), "{wrong}");
        }
        assert!(!format!("{secrets:?}").contains("first"));
    }
}
