//! [`Head`]: the head of a response while it is being written.

use std::time::Duration;

use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};

use super::date;

/// What happens to the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The server ends it.
    Close,
    /// The client may send another request, and begins within this time.
    KeepAlive(Duration),
}

/// Returns whether a header determines where the response ends, or how the connection is used after it.
pub(super) fn is_framing(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TRAILER,
    ]
    .contains(name)
}

/// A response head that is being written. A [`HeaderValue`] cannot contain CR or LF, so a value cannot add a line.
pub(super) struct Head(Vec<u8>);

impl Head {
    /// Begins a head that will contain `headers`, with a `Date` if they have none.
    pub(super) fn new(code: StatusCode, headers: &[(HeaderName, HeaderValue)]) -> Head {
        let reason = code.canonical_reason().unwrap_or("");
        let mut head = Head(format!("HTTP/1.1 {} {reason}\r\n", code.as_str()).into_bytes());
        if !headers.iter().any(|(name, _)| *name == header::DATE) {
            head.line(&header::DATE, &date::now());
        }
        head
    }

    /// Adds `Connection`, and `Keep-Alive`. Beside a header `Upgrade`, `Connection` must name it (RFC 9110 §7.8).
    pub(super) fn connection(&mut self, after: After, has_upgrade: bool) {
        let value = match (after, has_upgrade) {
            (After::Close, false) => "close",
            (After::Close, true) => "close, Upgrade",
            (After::KeepAlive(_), false) => "keep-alive",
            (After::KeepAlive(_), true) => "keep-alive, Upgrade",
        };
        self.line(&header::CONNECTION, &HeaderValue::from_static(value));
        // With this line, a client can avoid to send a request at the moment when the server ends the idle connection.
        if let After::KeepAlive(idle) = after
            && let Ok(value) = HeaderValue::try_from(format!("timeout={}", idle.as_secs()))
        {
            self.line(&HeaderName::from_static("keep-alive"), &value);
        }
    }

    /// Adds a line with the name in its usual capitalization. The case of header names has no meaning in HTTP, but many
    /// scripts search for the usual spelling.
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
