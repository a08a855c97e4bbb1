//! [`Reply`]: the answer to a request, and how it is written as an HTTP response.

use std::borrow::Cow;

use http::StatusCode;
use http::header::{self, CONTENT_TYPE, HeaderName, HeaderValue};

use super::response::{After, Head, is_framing};
use crate::limits::Limits;

/// The answer for a client whose request is refused, and the reason for the log.
pub(crate) type Refusal = (Reply, String);

/// Returns a refusal with the same `reason` for the client and for the log. It contains no text from the client.
pub(super) fn refuse(code: u16, reason: &'static str) -> Refusal {
    (Reply::text(code, format!("{reason}\n")), reason.to_owned())
}

/// Returns a `503` that tells the client to try again after `retry_after_secs`.
pub(crate) fn unavailable(retry_after_secs: u32, text: impl Into<String>) -> Reply {
    Reply::text(503, text).header(header::RETRY_AFTER, retry_after_secs.into())
}

/// The answer to a request: an upgrade to WebSocket, or a small HTTP response.
///
/// ```
/// # use standpipe::Reply;
/// let accepted = Reply::upgrade().subprotocol("chat.v1");
/// let refused = Reply::text(401, "a token is required\n");
/// ```
#[derive(Debug)]
pub struct Reply {
    code: StatusCode,
    /// A list instead of a map, because there are only a few headers, and because it keeps a `Result` that contains a
    /// reply small.
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Cow<'static, [u8]>,
    subprotocol: Option<String>,
    /// Boxed, because it is rarely used and large.
    limits: Option<Box<Limits>>,
}

/// The policy for pages of [`Reply::html`]: they contain their script and style, load nothing else, and connect only to
/// the server from which they were loaded. `'self'` includes ws: and wss: of the same host (CSP Level 3), whereas `ws:`
/// would allow connections to any host.
const PAGE_POLICY: &str = "default-src 'none'; img-src data:; script-src 'unsafe-inline'; \
    style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

impl Reply {
    /// Accepts the WebSocket handshake. The server sends the 101.
    pub fn upgrade() -> Reply {
        Reply::new(StatusCode::SWITCHING_PROTOCOLS, None, Vec::new())
    }

    /// Selects the subprotocol `name` if the client offered exactly this name. Otherwise no subprotocol is selected, and
    /// the client decides whether to continue without one (RFC 6455 §4.1).
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Reply {
        self.subprotocol = Some(name.into());
        self
    }

    /// Sets limits for this one connection, in place of those of the server. Any other reply than an upgrade ignores them.
    ///
    /// ```
    /// use standpipe::{Limits, Reply};
    /// let accepted = Reply::upgrade().limits(Limits::new().max_message(1 << 20).queue(16));
    /// ```
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Reply {
        self.limits = Some(Box::new(limits));
        self
    }

    /// Takes out what [`limits`](Self::limits) has set.
    pub(crate) fn take_limits(&mut self) -> Option<Box<Limits>> {
        self.limits.take()
    }

    /// Returns a response whose text is the name of the status. A `code` outside 200 to 999 is replaced by 500.
    ///
    /// Some statuses need a header, which the caller adds: a 401 needs `WWW-Authenticate`, a 405 needs `Allow`, and a
    /// 426 needs `Upgrade` (RFC 9110 §15.5).
    pub fn status(code: u16) -> Reply {
        let code = final_code(code);
        let name = code.canonical_reason().unwrap_or("Unknown");
        Reply::new(code, Some(TEXT), format!("{name}\n").into_bytes())
    }

    /// Returns a response with plain text. For `code` see [`status`](Self::status).
    pub fn text(code: u16, body: impl Into<String>) -> Reply {
        Reply::bytes(code, HeaderValue::from_static(TEXT), body.into())
    }

    /// Returns an HTML page. The page must contain its own scripts and styles, and can connect only to this server.
    pub fn html(body: impl Into<Cow<'static, str>>) -> Reply {
        let body = match body.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        let fixed = HeaderValue::from_static;
        Reply::new(StatusCode::OK, Some("text/html; charset=utf-8"), body)
            .header(header::CONTENT_SECURITY_POLICY, fixed(PAGE_POLICY))
            .header(header::REFERRER_POLICY, fixed("no-referrer"))
            .header(header::CACHE_CONTROL, fixed("no-cache"))
    }

    /// Replaces the status of a response. An upgrade stays an upgrade. For `code` see [`status`](Self::status).
    #[must_use]
    pub fn with_status(mut self, code: u16) -> Reply {
        if !self.is_upgrade() {
            self.code = final_code(code);
        }
        self
    }

    /// Returns a response with JSON. `body` must be valid JSON. For `code` see [`status`](Self::status).
    pub fn json(code: u16, body: impl Into<String>) -> Reply {
        Reply::bytes(
            code,
            HeaderValue::from_static("application/json"),
            body.into(),
        )
    }

    /// Returns a response with bytes and any content type. For `code` see [`status`](Self::status).
    pub fn bytes(code: u16, content_type: HeaderValue, body: impl Into<Vec<u8>>) -> Reply {
        Reply::new(final_code(code), None, body.into()).header(CONTENT_TYPE, content_type)
    }

    /// Sets a header, and replaces an earlier one of the same name. `Set-Cookie` is added instead, because each cookie
    /// has its own line.
    ///
    /// The server writes the headers that frame the response: `Connection`, `Keep-Alive`, `Content-Length`,
    /// `Transfer-Encoding`, and in an upgrade also `Upgrade` and `Sec-WebSocket-*`. Values that are set for them here are
    /// ignored. The server adds `Date` if it is not set here, and the CORS headers for pages of an allowed origin.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Reply {
        if name != header::SET_COOKIE {
            self.headers.retain(|(other, _)| *other != name);
        }
        self.headers.push((name, value));
        self
    }

    fn new(
        code: StatusCode,
        content_type: Option<&'static str>,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Reply {
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
            body: body.into(),
            subprotocol: None,
            limits: None,
        }
    }

    /// Adds `name` to the header `Vary`, and keeps what the handler has set there.
    #[must_use]
    pub(super) fn vary(mut self, name: &'static str) -> Reply {
        self.headers
            .push((header::VARY, HeaderValue::from_static(name)));
        self
    }

    pub(super) fn has_header(&self, name: &HeaderName) -> bool {
        self.headers.iter().any(|(other, _)| other == name)
    }

    pub(crate) fn is_upgrade(&self) -> bool {
        self.code == StatusCode::SWITCHING_PROTOCOLS
    }

    pub(crate) fn code(&self) -> u16 {
        self.code.as_u16()
    }

    /// Returns the subprotocol that the handler selected, and the headers for the 101.
    pub(super) fn into_upgrade(self) -> (Option<String>, Vec<(HeaderName, HeaderValue)>) {
        (self.subprotocol, self.headers)
    }

    /// Returns the whole response. With `head_only`, it has the same headers but no body, as for a HEAD request (RFC
    /// 9110 §9.3.2).
    pub(crate) fn to_bytes(&self, head_only: bool, after: After) -> Vec<u8> {
        let mut bytes = self.head(after);
        bytes.extend_from_slice(self.body(head_only));
        bytes
    }

    /// Returns the response without its body.
    pub(crate) fn head(&self, after: After) -> Vec<u8> {
        debug_assert!(!self.is_upgrade(), "`accept` writes the 101");
        let mut head = Head::new(self.code, &self.headers);
        let has_content = !matches!(self.code, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        for (name, value) in &self.headers {
            if !is_framing(name) && (has_content || *name != CONTENT_TYPE) {
                head.line(name, value);
            }
        }
        // A 204 has no Content-Length, and a 304 needs none (RFC 9110 §8.6, §15.4.5).
        if has_content {
            let length = HeaderValue::from(self.body(false).len());
            head.line(&header::CONTENT_LENGTH, &length);
        }
        head.connection(after, self.has_header(&header::UPGRADE));
        head.end()
    }

    /// Returns the body that is sent.
    pub(crate) fn body(&self, head_only: bool) -> &[u8] {
        // These statuses have no body (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
        let empty = [
            StatusCode::NO_CONTENT,
            StatusCode::RESET_CONTENT,
            StatusCode::NOT_MODIFIED,
        ];
        if head_only || empty.contains(&self.code) {
            &[]
        } else {
            &self.body
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

/// Returns `code` if it is the code of a final response, and 500 otherwise. After a 1xx the client would wait for the
/// final response (RFC 9110 §15.2).
fn final_code(code: u16) -> StatusCode {
    match StatusCode::from_u16(code) {
        Ok(code) if code.as_u16() >= 200 => code,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(reply: &Reply, head_only: bool) -> String {
        String::from_utf8(reply.to_bytes(head_only, After::Close)).expect("text")
    }

    #[test]
    fn every_response_is_complete_and_ends_the_connection() {
        let answer = text(&Reply::status(404), false);
        assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
        assert!(answer.contains("\r\nContent-Length: 10\r\n"), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nNot Found\n"), "{answer}");
        assert!(
            text(&Reply::status(421), false).starts_with("HTTP/1.1 421 Misdirected Request\r\n")
        );
    }

    #[test]
    fn head_has_the_headers_of_get_and_no_body() {
        let reply = Reply::html("<p>hi");
        let (head, get) = (text(&reply, true), text(&reply, false));
        assert_eq!(format!("{head}<p>hi"), get);
        assert!(head.contains("Content-Length: 5\r\n"), "{head}");
    }

    #[test]
    fn status_204_has_no_body_and_no_length() {
        let answer = text(&Reply::status(204), false);
        assert!(
            answer.ends_with("\r\n\r\n") && !answer.contains("\r\nContent-"),
            "{answer}"
        );
    }

    #[test]
    fn unknown_code_has_no_reason() {
        let answer = text(&Reply::status(299), false);
        // RFC 9112 §4: the space is required.
        assert!(answer.starts_with("HTTP/1.1 299 \r\n"), "{answer}");
    }

    #[test]
    fn kept_connection_is_announced_with_its_idle_time() {
        let after = After::KeepAlive(Duration::from_secs(10));
        let answer = Reply::status(200).to_bytes(false, after);
        let answer = String::from_utf8(answer).expect("text");
        let lines = "\r\nConnection: keep-alive\r\nKeep-Alive: timeout=10\r\n";
        assert!(answer.contains(lines), "{answer}");
        let upgrade = HeaderValue::from_static("websocket");
        let reply = Reply::status(426).header(header::UPGRADE, upgrade);
        let answer = text(&reply, false);
        assert!(
            answer.contains("\r\nConnection: close, Upgrade\r\n"),
            "{answer}"
        );
    }

    #[test]
    fn code_that_is_not_final_becomes_500() {
        for code in [0, 99, 100, 101, 199, 1000] {
            assert_eq!(Reply::status(code).code(), 500);
            assert!(!Reply::text(code, "").is_upgrade());
        }
    }

    #[test]
    fn handler_cannot_change_the_framing() {
        let keep = HeaderValue::from_static("keep-alive");
        let reply = Reply::text(200, "ab")
            .header(header::CONNECTION, keep)
            .header(header::CONTENT_LENGTH, 99.into())
            .header(
                header::TRANSFER_ENCODING,
                HeaderValue::from_static("chunked"),
            );
        let answer = text(&reply, false);
        assert_eq!(answer.matches("Connection: ").count(), 1, "{answer}");
        assert!(answer.contains("Content-Length: 2\r\n"), "{answer}");
        assert!(!answer.contains("chunked"), "{answer}");
    }

    #[test]
    fn header_replaces_others_of_its_name_except_cookies() {
        let value = HeaderValue::from_static;
        let reply = Reply::text(200, "")
            .header(CONTENT_TYPE, value("text/css"))
            .header(header::SET_COOKIE, value("a=1"))
            .header(header::SET_COOKIE, value("b=2"));
        let answer = text(&reply, false);
        assert_eq!(answer.matches("Content-Type: ").count(), 1, "{answer}");
        assert_eq!(answer.matches("Set-Cookie: ").count(), 2, "{answer}");
    }

    #[test]
    fn page_connects_only_to_its_own_server() {
        let answer = text(&Reply::html("x"), false);
        for part in [
            "default-src 'none'",
            "connect-src 'self';",
            "nosniff",
            "no-referrer",
            "no-cache",
        ] {
            assert!(answer.contains(part), "{part} in {answer}");
        }
    }

    #[test]
    fn unavailable_says_when_to_retry() {
        let answer = text(&unavailable(2, "full\n"), false);
        assert!(
            answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{answer}"
        );
        assert!(answer.contains("\r\nRetry-After: 2\r\n"), "{answer}");
    }
}
