//! [`Reply`]: the answer to a request.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, CONTENT_TYPE, HeaderName, HeaderValue};

use super::content::{Content, Stream};
use super::cookie::Cookie;
use crate::limits::Limits;

/// The answer for a client whose request is refused, and the reason for the log.
pub(crate) type Refusal = (Reply, String);

/// Returns a refusal with the same `reason` for the client and for the log. It contains no text from the client.
pub(super) fn refuse(code: u16, reason: &'static str) -> Refusal {
    (Reply::text(code, format!("{reason}\n")), reason.to_owned())
}

/// Returns a `503` that tells the client to try again after `retry_after_secs`.
pub(crate) fn unavailable(retry_after_secs: u32, text: impl Into<Cow<'static, str>>) -> Reply {
    Reply::text(503, text).header(header::RETRY_AFTER, retry_after_secs)
}

/// The answer to a request: an upgrade to WebSocket, or an HTTP response.
///
/// A static body, as of `Reply::text(200, "ok\n")`, is never copied. A large body can be [streamed](Reply::stream).
/// Every error can become a reply by `?`; see [`from_try`](Reply::from_try).
///
/// ```
/// # use standpipe::Reply;
/// let accepted = Reply::upgrade().subprotocol("chat.v1");
/// let refused = Reply::text(404, "no such room\n");
/// ```
#[must_use = "a reply answers nothing until the handler returns it"]
#[derive(Debug)]
pub struct Reply {
    pub(super) code: StatusCode,
    /// A list instead of a map, because there are only a few headers, and because it keeps a `Result` that contains a
    /// reply small.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) content: Content,
    /// In a box, because few replies have any of it, and because a `Result` that contains a reply must stay small.
    pub(super) rare: Option<Box<Rare>>,
}

/// What few replies have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    pub(super) subprotocol: Option<String>,
    /// Why the handler could not answer, for the log.
    pub(super) failure: Option<String>,
    /// Why the handler has refused the request, for the log.
    pub(super) reason: Option<String>,
    /// The limits of the connection, after an upgrade.
    pub(super) limits: Option<Limits>,
    /// The user of the connection, after an upgrade.
    pub(super) user: Option<Arc<str>>,
}

/// The policy for pages of [`Reply::html`]: they contain their script and style, load nothing else, and connect and send
/// forms only to the server from which they were loaded. `'self'` includes ws: and wss: of the same host (CSP Level 3), whereas `ws:`
/// would allow connections to any host.
const PAGE_POLICY: &str = "default-src 'none'; img-src data:; script-src 'unsafe-inline'; \
    style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

impl Reply {
    /// Accepts the WebSocket handshake. The server sends the 101.
    ///
    /// ```
    /// use standpipe::{Reply, Request};
    ///
    /// fn answer(request: &Request) -> Reply {
    ///     if request.wants_upgrade() { Reply::upgrade() } else { Reply::text(200, "this is a WebSocket server\n") }
    /// }
    /// ```
    pub fn upgrade() -> Reply {
        Reply::new(StatusCode::SWITCHING_PROTOCOLS, None, Bytes::new())
    }

    /// Returns a response whose text is the name of the status. A `code` outside 200 to 999 is replaced by 500.
    ///
    /// Some statuses need a header, which the caller adds: a 401 needs `WWW-Authenticate`, a 405 needs `Allow`, and a
    /// 426 needs `Upgrade` (RFC 9110 §15.5).
    ///
    /// ```
    /// let answer = standpipe::Reply::status(404); // Its body is the text "Not Found".
    /// # drop(answer);
    /// ```
    pub fn status(code: u16) -> Reply {
        let code = final_code(code);
        let name = code.canonical_reason().unwrap_or("Unknown");
        Reply::new(code, Some(TEXT), format!("{name}\n").into())
    }

    /// Returns a response with plain text. For `code` see [`status`](Self::status).
    ///
    /// ```
    /// use standpipe::Reply;
    ///
    /// let fixed = Reply::text(404, "no such room\n");
    /// let made = Reply::text(200, format!("{} clients\n", 3));
    /// ```
    pub fn text(code: u16, body: impl Into<Cow<'static, str>>) -> Reply {
        Reply::bytes(code, TEXT, shared(body))
    }

    /// Returns an HTML page with the status 200. For another status, add [`with_status`](Self::with_status).
    ///
    /// The page must contain its own scripts and styles. It can connect and send forms only to this server, because of
    /// the header `Content-Security-Policy`. A page that loads other files sets that header itself, with
    /// [`header`](Self::header). Text of a client must be escaped before it becomes a part of a page.
    ///
    /// ```
    /// use standpipe::Reply;
    ///
    /// let page = Reply::html("<!doctype html><p>hello");
    /// let missing = Reply::html("<!doctype html><p>there is no such page").with_status(404);
    /// ```
    pub fn html(body: impl Into<Cow<'static, str>>) -> Reply {
        Reply::new(
            StatusCode::OK,
            Some("text/html; charset=utf-8"),
            shared(body),
        )
        .header(header::CONTENT_SECURITY_POLICY, PAGE_POLICY)
        .header(header::REFERRER_POLICY, "no-referrer")
        .header(header::CACHE_CONTROL, "no-cache")
    }

    /// Replaces the status of a response, and nothing else of it. For `code` see [`status`](Self::status). An upgrade
    /// stays an upgrade, and a reply that was made from an error stays a 5xx.
    ///
    /// ```
    /// let page = standpipe::Reply::html("<!doctype html><p>please log in").with_status(401);
    /// ```
    pub fn with_status(mut self, code: u16) -> Reply {
        let code = final_code(code);
        let has_failed = self
            .rare
            .as_ref()
            .is_some_and(|rare| rare.failure.is_some());
        let is_allowed = !has_failed || code.is_server_error();
        if !self.is_upgrade() && is_allowed {
            self.code = code;
        }
        self
    }

    /// Returns a response with JSON. `body` must be valid JSON. For `code` see [`status`](Self::status).
    ///
    /// ```
    /// let reply = standpipe::Reply::json(200, r#"{"clients":3}"#);
    /// ```
    pub fn json(code: u16, body: impl Into<Cow<'static, str>>) -> Reply {
        Reply::bytes(code, "application/json", shared(body))
    }

    /// Returns a response with bytes and any content type. For `code` see [`status`](Self::status).
    ///
    /// The body may be a `&'static [u8]`, a `Vec<u8>`, a `String`, or a [`Bytes`], of which many replies share one copy.
    /// None of them is copied.
    ///
    /// ```
    /// static SCRIPT: &[u8] = b"console.log('hello')";
    /// let reply = standpipe::Reply::bytes(200, "text/javascript", SCRIPT);
    /// ```
    pub fn bytes<T>(code: u16, content_type: T, body: impl Into<Bytes>) -> Reply
    where
        HeaderValue: TryFrom<T>,
    {
        Reply::new(final_code(code), None, body.into()).header(CONTENT_TYPE, content_type)
    }

    /// Returns a response whose body is the next `length` bytes of `reader`. For `code` see [`status`](Self::status).
    ///
    /// The server reads and writes up to 64 KiB at a time, so memory does not grow with `length`. A HEAD request gets
    /// the same headers, and nothing is read. If the reader fails, panics or ends early, the connection ends before the
    /// announced length, and the log has a line at the level *warn*, or *error* for a panic. Bytes beyond `length` are
    /// not read.
    ///
    /// ```
    /// let zeros = std::io::repeat(0);
    /// let reply = standpipe::Reply::stream(200, "application/octet-stream", zeros, 1 << 30);
    /// ```
    ///
    /// # Blocking
    /// The client's handshake thread waits for the reader without a time limit, and for the client to take each 64 KiB,
    /// limited by [`write_timeout`](crate::Config::write_timeout). Meanwhile the client has one of the 256 handshake
    /// slots. While the server waits for the client, it may lose its slot to a newcomer from another address.
    pub fn stream<T>(
        code: u16,
        content_type: T,
        reader: impl Read + Send + 'static,
        length: u64,
    ) -> Reply
    where
        HeaderValue: TryFrom<T>,
    {
        let mut reply = Reply::bytes(code, content_type, Bytes::new());
        if reply.rare.is_none() {
            reply.content = Content::Stream(Box::new(Stream::new(reader, length)));
        }
        reply
    }

    /// Returns a response with the rest of `file`, from its position to its end, and the status 200. The body is written
    /// as by [`stream`](Self::stream).
    ///
    /// The length is that of the file at the time of this call. Bytes that are appended later are not sent. A path that
    /// contains text of a client must be checked before the file is opened:
    /// [`Request::segments`](crate::Request::segments) never returns `..`, but a segment may contain a slash.
    ///
    /// ```no_run
    /// use std::fs::File;
    /// use standpipe::Reply;
    ///
    /// fn report() -> Result<Reply, Reply> {
    ///     let file = File::open("report.pdf").map_err(|_| Reply::status(404))?;
    ///     Ok(Reply::file("application/pdf", file)?)
    /// }
    /// ```
    ///
    /// # Errors
    /// If the length of the file cannot be determined, or if it is not a regular file, such as a directory.
    pub fn file<T>(content_type: T, mut file: File) -> io::Result<Reply>
    where
        HeaderValue: TryFrom<T>,
    {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            let text = "only a regular file has a length";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let length = metadata.len().saturating_sub(file.stream_position()?);
        Ok(Reply::stream(200, content_type, file, length))
    }

    /// Sets a header, and replaces an earlier one of the same name. `Set-Cookie` is added instead, because each cookie
    /// has its own line.
    ///
    /// The server writes the headers that frame the response: `Connection`, `Keep-Alive`, `Content-Length`,
    /// `Transfer-Encoding`, and in an upgrade also `Upgrade` and `Sec-WebSocket-*`. Values that are set for them here are
    /// ignored. The server adds `Date` if it is not set here, and the CORS headers for pages of an allowed origin.
    ///
    /// The name and the value may be texts, or what the crate [`http`](crate::http) has for them. If one of them has a
    /// character that is not allowed, the client gets a 500 instead of this reply, and the log says so. So no text can
    /// add a header.
    ///
    /// ```
    /// use standpipe::{Reply, http::header};
    ///
    /// let wrong = Reply::status(405).header("Allow", "GET, HEAD");
    /// let busy = Reply::status(503).header(header::RETRY_AFTER, 5);
    /// assert_eq!(Reply::status(200).header("X-Name", "two\nlines").code(), 500);
    /// # drop((wrong, busy));
    /// ```
    pub fn header<N, V>(mut self, name: N, value: V) -> Reply
    where
        HeaderName: TryFrom<N>,
        HeaderValue: TryFrom<V>,
    {
        let Ok(name) = HeaderName::try_from(name) else {
            return Reply::failed("the name of a header has a character that is not allowed");
        };
        let Ok(value) = HeaderValue::try_from(value) else {
            return Reply::failed(format!(
                "the header {name} has a character that is not allowed"
            ));
        };
        if name != header::SET_COOKIE {
            self.headers.retain(|(other, _)| *other != name);
        }
        self.headers.push((name, value));
        self
    }

    /// Adds a cookie. Also possible with an upgrade.
    ///
    /// If the cookie is not valid, the client gets a 500 instead of this reply, and the log says what is wrong. So no
    /// text can add a header or an attribute. See [`Cookie`] for what is valid.
    ///
    /// ```
    /// use standpipe::{Cookie, Reply};
    ///
    /// let reply = Reply::text(200, "welcome\n").set_cookie(Cookie::new("session", "8c1f"));
    /// ```
    pub fn set_cookie(self, cookie: Cookie) -> Reply {
        match cookie.to_header() {
            Ok(value) => self.header(header::SET_COOKIE, value),
            Err(reason) => Reply::failed(reason),
        }
    }

    /// Returns a 500 for the client, and `reason` for the log.
    pub(super) fn failed(reason: impl Into<String>) -> Reply {
        let mut reply = Reply::status(500);
        reply.rare().failure = Some(reason.into());
        reply
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn new(code: StatusCode, content_type: Option<&'static str>, body: Bytes) -> Reply {
        let mut headers = Vec::new();
        if code != StatusCode::SWITCHING_PROTOCOLS {
            // Otherwise, a browser could treat a text as a script.
            headers.push((
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ));
        }
        if let Some(content_type) = content_type {
            headers.push((CONTENT_TYPE, HeaderValue::from_static(content_type)));
        }
        Reply {
            code,
            headers,
            content: Content::Bytes(body),
            rare: None,
        }
    }

    /// Adds `name` to the header `Vary`, and keeps what the handler has set there.
    pub(super) fn vary(mut self, name: &'static str) -> Reply {
        self.headers
            .push((header::VARY, HeaderValue::from_static(name)));
        self
    }

    pub(super) fn has_header(&self, name: &HeaderName) -> bool {
        self.headers.iter().any(|(other, _)| other == name)
    }

    /// Takes the reason why the handler could not answer, if it could not.
    pub(crate) fn take_failure(&mut self) -> Option<String> {
        self.rare.as_mut()?.failure.take()
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Returns the bytes of a text, which are not copied.
fn shared(text: impl Into<Cow<'static, str>>) -> Bytes {
    match text.into() {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    }
}

/// Returns `code` if it is the code of a final response, and 500 otherwise. After a 1xx the client would wait for the
/// final response (RFC 9110 §15.2).
fn final_code(code: u16) -> StatusCode {
    match StatusCode::from_u16(code) {
        Ok(code) if code.as_u16() >= 200 => code,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
#[path = "tests/reply.rs"]
mod tests;
