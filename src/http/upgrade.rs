//! [`accept`] checks an upgrade request and writes the 101 (RFC 6455 §4.2).

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Version};
use tungstenite::handshake::derive_accept_key;

use super::reply::{Refusal, refuse};
use super::response::{Head, is_framing};
use super::{Reply, Request};

/// An opening handshake that the server accepts.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The complete 101, ready to be written.
    pub(crate) head: Vec<u8>,
    /// The selected subprotocol, if there is one.
    pub(crate) subprotocol: Option<String>,
}

/// Returns the 101 for a request and the handler's [`Reply::upgrade`], or refuses the request.
///
/// The server declines all extensions: an offer that the response does not mention is declined (RFC 6455 §9.1).
pub(crate) fn accept(request: &Request, reply: Reply) -> Result<Accepted, Refusal> {
    let key = check(request)?;
    let (wanted, extra) = reply.into_upgrade();
    let subprotocol =
        wanted.filter(|wanted| request.subprotocols().any(|offered| offered == wanted));

    let fixed = HeaderValue::from_static;
    let mut head = Head::new(StatusCode::SWITCHING_PROTOCOLS, &extra);
    head.line(&header::UPGRADE, &fixed("websocket"));
    head.line(&header::CONNECTION, &fixed("Upgrade"));
    // The value is the base64 of a hash, so it contains no text from the client.
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
    head.line(
        &header::SEC_WEBSOCKET_ACCEPT,
        &accept.expect("base64 is a header value"),
    );
    if let Some(name) = &subprotocol {
        let name = HeaderValue::from_str(name).expect("the name equals an offer, which is a token");
        head.line(&header::SEC_WEBSOCKET_PROTOCOL, &name);
    }
    for (name, value) in &extra {
        if !is_framing(name) && !is_handshake(name) {
            head.line(name, value);
        }
    }
    Ok(Accepted {
        head: head.end(),
        subprotocol,
    })
}

/// Returns whether a header is part of the WebSocket handshake.
fn is_handshake(name: &HeaderName) -> bool {
    *name == header::UPGRADE || name.as_str().starts_with("sec-websocket-")
}

/// Checks the requirements of RFC 6455 §4.2.1 in their order, and returns the key.
fn check(request: &Request) -> Result<&str, Refusal> {
    if request.method != Method::GET {
        let (reply, reason) = refuse(405, "a WebSocket handshake must be a GET request");
        return Err((
            reply.header(header::ALLOW, HeaderValue::from_static("GET")),
            reason,
        ));
    }
    if request.version != Version::HTTP_11 {
        return Err(refuse(400, "a WebSocket handshake must use HTTP/1.1"));
    }
    if !request.wants_upgrade() {
        return Err(upgrade_required(
            "this is a WebSocket endpoint: the request must have Upgrade: websocket",
        ));
    }
    if !request.has_token(header::CONNECTION, "upgrade") {
        return Err(refuse(
            400,
            "the Connection header does not contain upgrade",
        ));
    }
    // Checked before the key, because clients of older versions send no key. The answer tells them the version that this
    // server supports (RFC 6455 §4.4).
    if request.header("sec-websocket-version") != Some("13") {
        return Err(upgrade_required("Sec-WebSocket-Version must be 13"));
    }
    let key = request
        .header("sec-websocket-key")
        .filter(|key| is_key(key));
    let key = key.ok_or_else(|| refuse(400, "Sec-WebSocket-Key is not 16 bytes in base64"))?;
    if !offers_are_tokens(&request.headers, request.subprotocols()) {
        return Err(refuse(
            400,
            "Sec-WebSocket-Protocol is not a list of tokens",
        ));
    }
    Ok(key)
}

/// Returns a 426 that names the protocol to upgrade to (RFC 9110 §15.5.22) and its version (RFC 6455 §4.2.2).
fn upgrade_required(reason: &'static str) -> Refusal {
    let (reply, reason) = refuse(426, reason);
    let reply = reply
        .header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .header(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static("13"),
        );
    (reply, reason)
}

/// Returns whether `key` is the base64 of 16 bytes: 22 characters and two of padding.
fn is_key(key: &str) -> bool {
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    key.strip_suffix("==")
        .is_some_and(|data| data.len() == 22 && data.bytes().all(alphabet))
}

/// Returns whether the subprotocol offers are valid: there is no `Sec-WebSocket-Protocol`, or it lists one or more tokens
/// and nothing else (RFC 6455 §4.1, item 10).
fn offers_are_tokens<'a>(headers: &HeaderMap, mut offers: impl Iterator<Item = &'a str>) -> bool {
    let mut lines = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .peekable();
    if lines.peek().is_none() {
        return true;
    }
    // `subprotocols` skips a line that is not ASCII, so such a line is checked here.
    let ascii = lines.all(|line| line.to_str().is_ok());
    let first = offers.next();
    ascii && first.is_some_and(is_token) && offers.all(is_token)
}

/// Returns whether `text` is a token (RFC 9110 §5.6.2).
fn is_token(text: &str) -> bool {
    let sign = |b: u8| b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || sign(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Peer, read_head};

    fn request(extra: &str) -> Request {
        let head = format!(
            "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
        );
        read_head(&mut head.as_bytes(), Vec::new(), Peer::Unix)
            .expect("a request")
            .0
    }

    fn answer(extra: &str, reply: Reply) -> (String, Option<String>) {
        let accepted = accept(&request(extra), reply).expect("an upgrade");
        (
            String::from_utf8(accepted.head).expect("text"),
            accepted.subprotocol,
        )
    }

    #[test]
    fn example_request_of_the_rfc_is_accepted() {
        // RFC 6455 §1.2.
        let offer = "Sec-WebSocket-Protocol: chat, superchat\r\n";
        let (head, subprotocol) = answer(offer, Reply::upgrade().subprotocol("chat"));
        let lines = head.split_inclusive("\r\n");
        let head: String = lines.filter(|line| !line.starts_with("Date: ")).collect();
        assert_eq!(
            head,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        );
        assert_eq!(subprotocol.as_deref(), Some("chat"));
    }

    #[test]
    fn only_offered_subprotocols_are_selected() {
        for offer in ["", "Sec-WebSocket-Protocol: Chat, chat2\r\n"] {
            let (head, subprotocol) = answer(offer, Reply::upgrade().subprotocol("chat"));
            assert!(!head.contains("Protocol:"), "{head}");
            assert_eq!(subprotocol, None);
        }
    }

    #[test]
    fn extensions_are_declined() {
        let (head, _) = answer(
            "Sec-WebSocket-Extensions: permessage-deflate\r\n",
            Reply::upgrade(),
        );
        assert!(!head.contains("Extensions"), "{head}");
    }

    #[test]
    fn handler_can_set_cookies_but_not_framing() {
        let value = HeaderValue::from_static;
        let reply = Reply::upgrade()
            .header(header::SET_COOKIE, value("a=1"))
            .header(header::CONNECTION, value("close"))
            .header(
                header::SEC_WEBSOCKET_EXTENSIONS,
                value("permessage-deflate"),
            )
            .header(header::CONTENT_LENGTH, value("5"));
        let (head, _) = answer("", reply);
        assert!(head.contains("\r\nSet-Cookie: a=1\r\n"), "{head}");
        assert!(
            !head.contains("close") && !head.contains("deflate") && !head.contains("Length"),
            "{head}"
        );
    }
}
