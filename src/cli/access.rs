//! [`Access`]: which requests are allowed, by token, by key, or because they come from this machine.

use http::HeaderName;
use standpipe::{Reply, Request};

use super::replies::unauthorized;
use super::secret_file::SecretFile;

/// The secrets that requests are checked against.
pub(crate) struct Access {
    /// If present, clients must send one of these.
    pub(crate) tokens: Option<SecretFile>,
    /// If present, requests that publish or that ask about the server must send one of these. Otherwise such requests
    /// must come from this machine.
    pub(crate) keys: Option<SecretFile>,
    /// Whether every listener is on loopback.
    pub(crate) is_loopback_only: bool,
}

impl Access {
    /// Reads the secret files again. Later requests are checked against the new secrets. Clients that are connected are not
    /// checked again.
    ///
    /// # Errors
    /// Names each file that cannot be read or has no secret. The old secrets of such a file remain valid.
    #[allow(dead_code, reason = "the signal that reloads is not there yet")]
    pub(crate) fn reload(&self) -> Result<(), String> {
        let files = self.tokens.iter().chain(&self.keys);
        let errors: Vec<String> = files.filter_map(|file| file.reload().err()).collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors.join("; "))
        }
    }

    /// Rejects a request without a valid token, if tokens are required.
    pub(crate) fn check_token(&self, request: &Request) -> Result<(), Reply> {
        match &self.tokens {
            Some(tokens) if !tokens.secrets().has_token(request) => {
                Err(unauthorized("a token is required\n"))
            }
            _ => Ok(()),
        }
    }

    /// Rejects a request without a valid key. If the server has no keys, rejects requests that do not come from this
    /// machine: every listener and the peer must be on loopback, and no proxy may be in between.
    pub(crate) fn check_key(&self, request: &Request) -> Result<(), Reply> {
        match &self.keys {
            Some(keys) if keys.secrets().has_bearer(request) => Ok(()),
            Some(_) => Err(unauthorized("a key is required\n")),
            None => self.check_local(request),
        }
    }

    /// Checks a request for the dashboard's page. If the server has keys, the page itself needs none, because a browser
    /// sends no `Authorization` header when a user opens a page. The page contains no data of the server, and asks the
    /// user for the key.
    pub(crate) fn check_dashboard_page(&self, request: &Request) -> Result<(), Reply> {
        match self.keys {
            Some(_) => Ok(()),
            None => self.check_local(request),
        }
    }

    /// Checks the dashboard's WebSocket like [`check_key`](Self::check_key), but also accepts the key as a subprotocol.
    pub(crate) fn check_dashboard_socket(&self, request: &Request) -> Result<(), Reply> {
        match &self.keys {
            Some(keys) if keys.secrets().has_bearer_or_offers(request) => Ok(()),
            _ => self.check_key(request),
        }
    }

    fn check_local(&self, request: &Request) -> Result<(), Reply> {
        if self.is_loopback_only && request.peer().is_loopback() && !is_forwarded(request) {
            Ok(())
        } else {
            Err(Reply::text(
                403,
                "without --publish-key-file, only this machine has access\n",
            ))
        }
    }
}

/// Whether the request has a header that a proxy adds. Such a request comes from another client, anywhere.
fn is_forwarded(request: &Request) -> bool {
    let mut names = request.headers().keys().map(HeaderName::as_str);
    names.any(|name| FORWARDED.contains(&name) || name.starts_with("x-forwarded-"))
}

/// RFC 7239, RFC 9110 §7.6.3, and headers in common use.
const FORWARDED: [&str; 6] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "cf-connecting-ip",
    "true-client-ip",
];
