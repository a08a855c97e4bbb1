//! [`Cors`]: lets pages of allowed origins read the answers (the CORS protocol of <https://fetch.spec.whatwg.org>).
//!
//! The answer to a page of another origin has no such header, so its browser does not let it read the answer.
//! `Access-Control-Allow-Credentials` is never sent: pages then cannot read answers that a cookie authorized. Tokens and
//! keys travel in `Authorization`, which a page sets itself. `Access-Control-Allow-Private-Network` is not sent either,
//! because browsers ask the user instead (Local Network Access).

use http::Method;
use http::header::{self, HeaderValue};

use super::{Reply, Request};

/// The methods that a preflight allows.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// The headers that a preflight allows. Without credentials, `*` means all headers but `Authorization`. The others are
/// named for browsers that do not know this meaning.
const HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, *";

/// How long a browser may remember the answer to a preflight, in seconds.
const MAX_AGE: u32 = 600;

/// What an answer tells a browser about the origins that may read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cors {
    /// The value of `Access-Control-Allow-Origin`.
    pub(super) allow: Option<HeaderValue>,
    /// Whether the answer depends on `Origin`, so that a cache must not give it to pages of another origin.
    pub(super) varies: bool,
}

impl Cors {
    /// Returns the answer to a preflight: the question of a browser whether a page may send a certain request. The
    /// handler is not asked, because a preflight has neither a token nor a key.
    pub(crate) fn preflight(&self, request: &Request) -> Option<Reply> {
        let is_preflight = self.allow.is_some()
            && request.method == Method::OPTIONS
            && request.headers.contains_key(header::ORIGIN)
            && request
                .headers
                .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let fixed = HeaderValue::from_static;
        is_preflight.then(|| {
            Reply::status(204)
                .header(header::ACCESS_CONTROL_ALLOW_METHODS, fixed(METHODS))
                .header(header::ACCESS_CONTROL_ALLOW_HEADERS, fixed(HEADERS))
                .header(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE)
        })
    }

    /// Adds the headers to an answer. Headers that the handler has set are kept.
    pub(crate) fn apply(&self, mut reply: Reply) -> Reply {
        if self.varies {
            reply = reply.vary("Origin");
        }
        match &self.allow {
            Some(allow) if !reply.has_header(&header::ACCESS_CONTROL_ALLOW_ORIGIN) => {
                reply.header(header::ACCESS_CONTROL_ALLOW_ORIGIN, allow.clone())
            }
            _ => reply,
        }
    }
}
