//! [`Access`]: which requests are allowed, by token, by key, by listener, or because they come from this machine.

use http::{HeaderName, HeaderValue, header};
use standpipe::{Reply, Request};

use super::endpoint::ADMIN;
use super::page::DASHBOARD;
use super::replies::{foreign_origin, not_found, unauthorized};
use super::rules::{CurrentRules, Rights};
use super::secret_file::SecretFile;
use super::secrets::Secrets;
use super::tokens::{Expiries, Identity, Refused, Tokens};

/// The tokens, keys and rules that each request is checked against.
pub(crate) struct Access {
    pub(crate) tokens: Tokens,
    /// When the connections of clients with a signed token end.
    pub(crate) expiries: Expiries,
    pub(crate) keys: Keys,
    /// Whether the admin paths are served on the listeners with the tag [`ADMIN`] only.
    pub(crate) has_admin_listener: bool,
    /// Whether direct requests from this machine need no key. Every listener is then on loopback.
    pub(crate) is_admin_open: bool,
    /// The rules that say who may publish and subscribe to which topics. A reload may replace them.
    pub(crate) rules: CurrentRules,
}

/// The keys for admin requests.
pub(crate) enum Keys {
    /// The keys of `--publish-key-file`.
    File(SecretFile),
    /// The key that was made at the start.
    Made(Secrets),
    /// No key is needed on an admin listener, or because of `--admin-open`.
    None,
}

impl Access {
    /// Reads the files of tokens and keys again. Later requests are checked against the new ones. Clients that are
    /// connected are not checked again.
    ///
    /// # Errors
    /// Names each file that cannot be read or has no secret. The old secrets of such a file remain valid.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let keys = match &self.keys {
            Keys::File(keys) => Some(keys),
            Keys::Made(_) | Keys::None => None,
        };
        let mut errors = self.tokens.reload();
        errors.extend(keys.and_then(|keys| keys.reload().err()));
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors.join("; "))
        }
    }

    /// Finds out who sent the request, from its token.
    ///
    /// # Errors
    /// A 401 if a token is required and the request has no valid one. The log has the reason.
    pub(crate) fn identify(&self, request: &Request) -> Result<Identity, Reply> {
        self.tokens
            .identify(request)
            .map_err(|refused| match refused {
                Refused::NoToken => {
                    unauthorized("a token is required\n").reason("a token is required")
                }
                Refused::Invalid(invalid) => {
                    unauthorized("the token is not valid\n").reason(invalid.to_string())
                }
            })
    }

    /// As [`identify`](Self::identify), for the request of a client that will be connected. [`Identity::of`] returns the
    /// result later.
    pub(crate) fn admit(&self, request: &mut Request) -> Result<Identity, Reply> {
        let identity = self.identify(request)?;
        check_user(request, &identity)?;
        // An idle client without a token must not need memory for this.
        if identity.has_token() {
            request.extensions_mut().insert(identity.clone());
        }
        Ok(identity)
    }

    /// Returns what a client may do with topics.
    pub(crate) fn rights(&self, identity: Identity) -> Rights<'_> {
        Rights::new(&self.rules, identity)
    }

    /// Checks a request for the history or the names of a topic: clients that may subscribe to it have access, and admin
    /// requests. A page of another origin may not subscribe.
    pub(crate) fn check_topic_data(&self, request: &Request, topic: &str) -> Result<(), Reply> {
        check_origin(request)?;
        let as_client = self
            .identify(request)
            .and_then(|identity| self.check_subscribe(identity, topic));
        as_client.or_else(|refusal| self.check_admin(request).map_err(|_| refusal))
    }

    /// Rejects a client that may not subscribe to `topic`.
    pub(crate) fn check_subscribe(&self, identity: Identity, topic: &str) -> Result<(), Reply> {
        let checked = self.rights(identity).check_subscribe(topic);
        checked.map_err(|reason| Reply::text(403, format!("{reason}\n")).reason(reason))
    }

    /// Checks a request for an admin path. The address of the client is no proof, because the clients of a proxy on this
    /// machine have it too. A page of another origin has no access, not even to send a GET whose answer it cannot read.
    pub(crate) fn check_admin(&self, request: &Request) -> Result<(), Reply> {
        self.check_admin_by(request, Secrets::has_bearer)
    }

    /// Checks a request for the metrics. On an admin listener it needs no key, because many collectors cannot send one.
    pub(crate) fn check_metrics(&self, request: &Request) -> Result<(), Reply> {
        if is_on_admin_listener(request) {
            Ok(())
        } else {
            self.check_admin(request)
        }
    }

    /// Checks the dashboard's WebSocket. A browser sends the key as a subprotocol.
    pub(crate) fn check_dashboard_socket(&self, request: &Request) -> Result<(), Reply> {
        self.check_admin_by(request, Secrets::has_bearer_or_offers)
    }

    /// Checks a request for the dashboard's page. A browser sends no key when a user opens a page, so the 401 contains the
    /// page too. The page has no data of the server. It takes the key from its own URL or asks for it.
    pub(crate) fn check_dashboard_page(&self, request: &Request) -> Result<(), Reply> {
        self.check_admin(request)
            .map_err(|refusal| match self.keys {
                Keys::None => refusal,
                _ if self.is_hidden(request) || !request.has_allowed_origin() => refusal,
                _ => Reply::html(DASHBOARD)
                    .with_status(401)
                    .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            })
    }

    /// Whether the admin paths do not exist on the listener of this request.
    fn is_hidden(&self, request: &Request) -> bool {
        self.has_admin_listener && !is_on_admin_listener(request)
    }

    fn check_admin_by(
        &self,
        request: &Request,
        has_key: impl Fn(&Secrets, &Request) -> bool,
    ) -> Result<(), Reply> {
        if self.is_hidden(request) {
            return Err(not_found());
        }
        check_origin(request)?;
        if self.is_admin_open && is_direct_from_this_machine(request) {
            return Ok(());
        }
        let is_allowed = match &self.keys {
            Keys::File(keys) => has_key(&keys.secrets(), request),
            Keys::Made(key) => has_key(key, request),
            Keys::None if self.has_admin_listener => true,
            Keys::None => {
                return Err(Reply::text(
                    403,
                    "only direct requests from this machine are allowed\n",
                ));
            }
        };
        if is_allowed {
            Ok(())
        } else {
            Err(unauthorized("a key is required\n"))
        }
    }
}

/// Rejects a name in the URL that is not the user of the token.
fn check_user(request: &Request, identity: &Identity) -> Result<(), Reply> {
    match (identity.user(), request.query("name")) {
        (Some(user), Some(name)) if **user != *name => {
            let reason = "the name in the URL is not the user of the token";
            Err(Reply::text(403, format!("{reason}\n")).reason(reason))
        }
        _ => Ok(()),
    }
}

/// Rejects a request of a page of another origin. The server itself rejects only upgrades and unsafe methods of such a
/// page, except on an admin listener.
fn check_origin(request: &Request) -> Result<(), Reply> {
    if request.has_allowed_origin() {
        Ok(())
    } else {
        Err(foreign_origin())
    }
}

fn is_on_admin_listener(request: &Request) -> bool {
    request.listener() == Some(ADMIN)
}

/// Whether the request comes from this machine, as far as the request shows. A proxy that adds no header and sends a
/// loopback name as `Host` is not noticed.
fn is_direct_from_this_machine(request: &Request) -> bool {
    request.peer().is_loopback()
        && request.proxy().is_none()
        && request.has_loopback_host()
        && !is_forwarded(request)
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
