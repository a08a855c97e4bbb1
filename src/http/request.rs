//! [`Request`]: a head that was read whole and found in order.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

use http::{Extensions, HeaderMap, Method, Version, header};

use super::authority::Authority;
use super::target::Target;
use super::{Peer, Reply};

/// What a client asked for.
///
/// `{:?}` shows neither query nor headers: there are tokens in them, and what can be printed ends in a log.
pub struct Request {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) target: Target,
    pub(super) headers: HeaderMap,
    pub(super) authority: Option<Authority>,
    pub(super) content_length: Option<u64>,
    pub(super) peer: Peer,
    pub(super) extensions: Extensions,
    /// What is left to read of it, until the handler is done with the request. In a mutex because a request is shared
    /// between threads later, and this is not.
    pub(super) body: Mutex<Option<Box<dyn Body>>>,
}

/// Where a request's body comes from.
pub(crate) trait Body: Read + Send {
    /// The client waits to hear that its body is wanted (RFC 9110 §10.1.1).
    fn go_on(&mut self) -> io::Result<()>;
    /// All of it is here: what follows is our time, not the client's.
    fn is_read(&mut self);
}

impl Request {
    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path without the query, percent-decoded once.
    ///
    /// An encoded slash looks like any other here: to decide on a path, compare [`segments`](Self::segments).
    pub fn path(&self) -> &str {
        &self.target.path
    }

    /// The path split at its slashes, each part percent-decoded once: `/ws/a%2Fb` is `["ws", "a/b"]`, `/` is empty.
    ///
    /// A slash at the end gives an empty last segment. No segment is `.` or `..` or holds a control character.
    pub fn segments(&self) -> &[String] {
        &self.target.segments
    }

    /// The first value of `name` in the query, decoded; `?a` gives `Some("")`. It may hold any character.
    pub fn query(&self, name: &str) -> Option<&str> {
        let pair = self.target.query.iter().find(|(key, _)| key == name)?;
        Some(&pair.1)
    }

    /// All headers, as they came.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The first value of the header `name`, if it is visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Host` as the client wrote it. Only an HTTP/1.0 request can be without.
    pub fn host(&self) -> Option<&str> {
        self.header("host")
    }

    /// `Origin`: the site whose page asks. Clients that are no browsers rarely send one.
    pub fn origin(&self) -> Option<&str> {
        self.header("origin")
    }

    /// The subprotocols the client offers, in its order, from all `Sec-WebSocket-Protocol` lines.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        let lines = self
            .headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .into_iter();
        lines.filter_map(|line| line.to_str().ok()).flat_map(list)
    }

    /// Who asked.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether `Upgrade` names `websocket`.
    pub fn wants_upgrade(&self) -> bool {
        self.has_token(header::UPGRADE, "websocket")
    }

    /// Bytes of body that follow the head. `None` when the client did not say.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Reads the body, of at most `limit` bytes. Once; and only in [`Handler::request`](crate::Handler::request).
    ///
    /// # Blocking
    /// For the client's bytes, under [`handshake_timeout`](crate::Config::handshake_timeout).
    ///
    /// # Errors
    /// The answer to give: 411 without a length, 413 beyond the limit, 400 when it ends too soon.
    pub fn read_body(&mut self, limit: usize) -> Result<Vec<u8>, Reply> {
        let length = self.content_length.ok_or_else(|| Reply::status(411))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > limit {
            let text = format!("a body has at most {limit} bytes here\n");
            return Err(Reply::text(413, text));
        }
        let waits = self.has_token(header::EXPECT, "100-continue");
        let slot = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut body = slot.take().ok_or_else(|| Reply::text(400, "no body\n"))?;
        let mut bytes = Vec::new();
        let gone = |_| Reply::text(400, "the body ended too soon\n");
        if waits {
            body.go_on().map_err(gone)?;
        }
        let read = body
            .by_ref()
            .take(length as u64)
            .read_to_end(&mut bytes)
            .map_err(gone)?;
        if read < length {
            return Err(Reply::text(400, "the body ended too soon\n"));
        }
        body.is_read();
        Ok(bytes)
    }

    /// Gives it its body, or takes away what was not read of it.
    pub(crate) fn set_body(&mut self, body: Option<Box<dyn Body>>) {
        *self.body.get_mut().unwrap_or_else(PoisonError::into_inner) = body;
    }

    /// What [`Handler::request`](crate::Handler::request) left here for the rest of the client's life.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// A place to leave something for [`Handler::run`](crate::Handler::run): who the client is, what it may do.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Whether one of the lines of `name` lists `token`, in any case.
    pub(super) fn has_token(&self, name: header::HeaderName, token: &str) -> bool {
        let lines = self.headers.get_all(name).into_iter();
        let mut tokens = lines.filter_map(|line| line.to_str().ok()).flat_map(list);
        tokens.any(|item| item.eq_ignore_ascii_case(token))
    }
}

/// The items of a comma list. Empty ones do not count (RFC 9110 §5.6.1.2).
fn list(line: &str) -> impl Iterator<Item = &str> {
    line.split(',')
        .map(|item| item.trim_matches([' ', '\t']))
        .filter(|item| !item.is_empty())
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.target.path)
            .field("host", &self.host())
            .field("origin", &self.origin())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::http::{Peer, Request, read_head};

    fn request(mut head: &[u8]) -> Request {
        read_head(&mut head, Peer::Unix).expect("a request").0
    }

    #[test]
    fn lists_are_combined_from_all_their_lines() {
        let request = request(
            b"GET /ws?a&b=1&b=2 HTTP/1.1\r\nHost: A:1\r\nSec-WebSocket-Protocol: x, y\r\nUpgrade: h2c\r\n\
              sec-websocket-protocol:,z ,\r\nUpgrade: foo , WebSocket\r\n\r\n",
        );
        assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["x", "y", "z"]);
        assert!(request.wants_upgrade());
        assert_eq!(
            (request.host(), request.header("HOST")),
            (Some("A:1"), Some("A:1"))
        );
        assert_eq!(
            (request.query("a"), request.query("b"), request.query("c")),
            (Some(""), Some("1"), None)
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut request = request(
            b"GET /ws?token=hidden1 HTTP/1.1\r\nHost: a\r\nAuthorization: hidden2\r\nCookie: hidden3\r\n\
              Sec-WebSocket-Protocol: hidden4\r\nX-Api-Key: hidden5\r\n\r\n",
        );
        request.extensions_mut().insert("hidden6");
        assert_eq!(request.extensions().get::<&str>(), Some(&"hidden6"));
        let shown = format!("{request:?}");
        assert!(
            shown.contains("/ws") && !shown.contains("hidden"),
            "{shown}"
        );
        // The map itself is what people print next.
        let shown = format!("{:?}", request.headers());
        assert!(
            !["hidden2", "hidden3", "hidden4"]
                .iter()
                .any(|s| shown.contains(s)),
            "{shown}"
        );
    }
}
