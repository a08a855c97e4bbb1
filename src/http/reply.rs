//! [`Reply`]: every answer but the 101, complete, and the last on its connection.

use std::borrow::Cow;

use http::StatusCode;
use http::header::{self, CONTENT_TYPE, HeaderName, HeaderValue};

/// An answer to the client and the reason for the log.
pub(crate) type Refusal = (Reply, String);

/// The one sentence tells the client what was wrong and stands in the log. It never holds what the client sent.
pub(super) fn refuse(code: u16, why: &'static str) -> Refusal {
    (Reply::text(code, format!("{why}\n")), why.to_owned())
}

/// `503`, and when to come again.
pub(crate) fn unavailable(retry_after_secs: u32, text: impl Into<String>) -> Reply {
    Reply::text(503, text).header(header::RETRY_AFTER, retry_after_secs.into())
}

/// What is answered to a request: go on to WebSocket, or a small HTTP answer that ends the connection.
///
/// ```
/// # use standpipe::Reply;
/// let yes = Reply::upgrade().subprotocol("chat.v1");
/// let no = Reply::text(401, "a token, please\n");
/// ```
#[derive(Debug)]
pub struct Reply {
    code: StatusCode,
    /// A few, and an `Err` that carries a reply stays small.
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Cow<'static, [u8]>,
    subprotocol: Option<String>,
}

/// A page of ours holds its script and style, and talks to the server it came from: nothing else loads or leaks.
/// `'self'` covers ws: and wss: of the same host (CSP Level 3), where `ws:` would let a page talk to any host.
const PAGE_POLICY: &str = "default-src 'none'; img-src data:; script-src 'unsafe-inline'; \
    style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

impl Reply {
    /// Go on to the 101.
    pub fn upgrade() -> Reply {
        Reply::new(StatusCode::SWITCHING_PROTOCOLS, None, Vec::new())
    }

    /// Speaks `name` if the client offered exactly that; otherwise none is agreed on, and the client decides whether it
    /// stays (RFC 6455 §4.1).
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Reply {
        self.subprotocol = Some(name.into());
        self
    }

    /// A status with its name as text. A `code` outside 200 to 999 is answered as 500.
    pub fn status(code: u16) -> Reply {
        let code = final_code(code);
        let name = code.canonical_reason().unwrap_or("Unknown");
        Reply::new(code, Some(TEXT), format!("{name}\n").into_bytes())
    }

    /// Plain text. Codes as in [`status`](Self::status).
    pub fn text(code: u16, body: impl Into<String>) -> Reply {
        Reply::bytes(code, HeaderValue::from_static(TEXT), body.into())
    }

    /// A page whose script and style stand in it, and which talks to this server only.
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

    /// JSON, written by the caller. Codes as in [`status`](Self::status).
    pub fn json(code: u16, body: impl Into<String>) -> Reply {
        Reply::bytes(
            code,
            HeaderValue::from_static("application/json"),
            body.into(),
        )
    }

    /// Bytes of any type. Codes as in [`status`](Self::status).
    pub fn bytes(code: u16, content_type: HeaderValue, body: impl Into<Vec<u8>>) -> Reply {
        Reply::new(final_code(code), None, body.into()).header(CONTENT_TYPE, content_type)
    }

    /// Sets a header in place of its namesake; `Set-Cookie` is added, as each cookie has a line of its own.
    ///
    /// What frames the answer is the server's: `Connection`, `Content-Length`, `Transfer-Encoding`, `Upgrade` and
    /// `Sec-WebSocket-*` of an upgrade are not taken from here.
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
            // So that no browser takes a text for a script.
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
        }
    }

    pub(crate) fn is_upgrade(&self) -> bool {
        self.code == StatusCode::SWITCHING_PROTOCOLS
    }

    pub(crate) fn code(&self) -> u16 {
        self.code.as_u16()
    }

    /// The subprotocol that was asked for, and the headers, for the 101.
    pub(super) fn into_upgrade(self) -> (Option<String>, Vec<(HeaderName, HeaderValue)>) {
        (self.subprotocol, self.headers)
    }

    /// The whole answer. `head_only` is for HEAD: the headers of a GET, and no body (RFC 9110 §9.3.2).
    pub(crate) fn to_bytes(&self, head_only: bool) -> Vec<u8> {
        debug_assert!(!self.is_upgrade(), "a 101 is made by accept");
        let mut head = Head::new(self.code);
        for (name, value) in &self.headers {
            if !is_framing(name) {
                head.line(name, value);
            }
        }
        // Neither a 204 nor a 304 has a body, and a 204 no length either (RFC 9110 §8.6, §15.4.5).
        let bare = matches!(self.code, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if !bare {
            head.line(&header::CONTENT_LENGTH, &HeaderValue::from(self.body.len()));
        }
        head.line(&header::CONNECTION, &HeaderValue::from_static("close"));
        let mut bytes = head.end();
        if !bare && !head_only {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

/// A code that ends an exchange. A 1xx would leave the client waiting for the answer proper (RFC 9110 §15.2).
fn final_code(code: u16) -> StatusCode {
    match StatusCode::from_u16(code) {
        Ok(code) if code.as_u16() >= 200 => code,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Headers that say where an answer ends or what the connection becomes.
pub(super) fn is_framing(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TRAILER,
    ]
    .contains(name)
}

/// A response head being written. Lines are made of [`HeaderValue`]s, which can hold no CR and no LF.
pub(super) struct Head(Vec<u8>);

impl Head {
    pub(super) fn new(code: StatusCode) -> Head {
        let reason = code.canonical_reason().unwrap_or("");
        Head(format!("HTTP/1.1 {} {reason}\r\n", code.as_str()).into_bytes())
    }

    /// Adds a line, the name in capitals as people write it: the RFC does not mind, but many a script greps.
    pub(super) fn line(&mut self, name: &HeaderName, value: &HeaderValue) {
        let start = self.0.len();
        self.0.extend_from_slice(name.as_str().as_bytes());
        let written = &mut self.0[start..];
        for at in 0..written.len() {
            if at == 0 || written[at - 1] == b'-' {
                written[at].make_ascii_uppercase();
            }
        }
        if written.starts_with(b"Sec-Websocket-") {
            written[7] = b'S';
        }
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value.as_bytes());
        self.0.extend_from_slice(b"\r\n");
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: &Reply, head_only: bool) -> String {
        String::from_utf8(reply.to_bytes(head_only)).expect("text")
    }

    #[test]
    fn every_answer_is_complete_and_ends_the_connection() {
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
    fn a_204_has_neither_body_nor_length() {
        let answer = text(&Reply::status(204), false);
        assert!(
            answer.ends_with("\r\n\r\n") && !answer.contains("Content-Length"),
            "{answer}"
        );
    }

    #[test]
    fn a_code_that_ends_nothing_is_500() {
        for code in [0, 99, 100, 101, 199, 1000] {
            assert_eq!(Reply::status(code).code(), 500);
            assert!(!Reply::text(code, "").is_upgrade());
        }
    }

    #[test]
    fn a_handler_cannot_unframe_an_answer() {
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
    fn a_header_replaces_its_namesake_but_cookies_add_up() {
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
    fn a_page_may_load_nothing_and_talk_to_its_own_server_only() {
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
    fn unavailable_says_when_to_come_again() {
        let answer = text(&unavailable(2, "full\n"), false);
        assert!(
            answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{answer}"
        );
        assert!(answer.contains("\r\nRetry-After: 2\r\n"), "{answer}");
    }
}
