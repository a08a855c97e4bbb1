//! The error answers of the HTTP paths.

use std::time::Duration;

use http::{HeaderValue, Method, header};
use standpipe::{Reply, Request};

pub(crate) fn bad_request(text: impl Into<String>) -> Reply {
    Reply::text(400, text.into() + "\n")
}

pub(crate) fn unauthorized(text: &'static str) -> Reply {
    Reply::text(401, text).header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

pub(crate) fn foreign_origin() -> Reply {
    Reply::text(403, "this Origin is not allowed\n")
}

pub(crate) fn not_found() -> Reply {
    Reply::text(404, "there is nothing at this path\n")
}

pub(crate) fn no_topic() -> Reply {
    Reply::text(404, "there is no such topic\n")
}

pub(crate) fn busy(text: impl Into<String>) -> Reply {
    Reply::text(503, text.into() + "\n").header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

/// Like [`busy`], for a reason that lasts.
pub(crate) fn busy_for(time: Duration, text: &str) -> Reply {
    let seconds = time.as_secs().max(1);
    Reply::text(503, format!("{text}\n")).header(header::RETRY_AFTER, seconds)
}

/// Rejects every method but GET and HEAD.
pub(crate) fn check_get(request: &Request) -> Result<(), Reply> {
    check_method(request, &[Method::GET, Method::HEAD])
}

/// Rejects every method but POST.
pub(crate) fn check_post(request: &Request) -> Result<(), Reply> {
    check_method(request, &[Method::POST])
}

/// Rejects every method but these.
pub(crate) fn check_method(request: &Request, allowed: &[Method]) -> Result<(), Reply> {
    if allowed.contains(request.method()) {
        return Ok(());
    }
    let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    Err(Reply::status(405).header(header::ALLOW, allowed.join(", ")))
}
