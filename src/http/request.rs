//! [`Request`]: a complete and valid request head.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use http::{Extensions, HeaderMap, Method, Version, header};

use super::arrival::Arrival;
use super::authority::Authority;
use super::target::Target;
use super::{Peer, Reply};

/// An HTTP request.
///
/// `{:?}` shows neither the query nor the headers, because they may contain tokens, which must not get into a log.
pub struct Request {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) target: Target,
    pub(super) headers: HeaderMap,
    pub(super) authority: Option<Authority>,
    pub(super) content_length: Option<u64>,
    pub(super) peer: Peer,
    pub(super) arrival: Arc<Arrival>,
    pub(super) extensions: Extensions,
    /// The unread body, until the handler has answered the request. The body is in a mutex because a request is later
    /// shared between threads, but a [`Body`] cannot be shared.
    pub(super) body: Mutex<Option<Box<dyn Body>>>,
}

/// The source of a request's body.
pub(crate) trait Body: Read + Send {
    /// Sends `100 Continue` to a client that waits for this response before it sends the body (RFC 9110 §10.1.1).
    fn send_continue(&mut self) -> io::Result<()>;
    /// Tells the source that the whole body has been read. From now on, `handshake_timeout` does not apply, because the
    /// client has done its part.
    fn finish(&mut self);
}

impl Request {
    /// Returns the method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the path without the query, percent-decoded once.
    ///
    /// In this form an encoded slash looks like any other slash. For routing, use [`segments`](Self::segments).
    pub fn path(&self) -> &str {
        &self.target.path
    }

    /// Returns the path split at its slashes, each segment percent-decoded once: `/ws/a%2Fb` is `["ws", "a/b"]`, and `/`
    /// has no segments.
    ///
    /// A slash at the end adds an empty last segment. No segment is `.` or `..`, or contains a control character.
    pub fn segments(&self) -> &[String] {
        &self.target.segments
    }

    /// Returns the first value of `name` in the query, decoded. For `?a` the value of `a` is the empty string. A value may
    /// contain any character.
    pub fn query(&self, name: &str) -> Option<&str> {
        let pair = self.target.query.iter().find(|(key, _)| key == name)?;
        Some(&pair.1)
    }

    /// Returns all headers as the client sent them.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the first value of the header `name`, if it is visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the `Host` header as the client wrote it. Only an HTTP/1.0 request may have none.
    pub fn host(&self) -> Option<&str> {
        self.header("host")
    }

    /// Returns the `Origin` header: the site whose page sent the request. Clients other than browsers rarely send it.
    pub fn origin(&self) -> Option<&str> {
        self.header("origin")
    }

    /// Returns the subprotocols that the client offers, in the client's order, from all `Sec-WebSocket-Protocol` lines.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        let lines = self
            .headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .into_iter();
        lines.filter_map(|line| line.to_str().ok()).flat_map(list)
    }

    /// Returns the address of the client.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Returns the tag of the listener on which the request arrived, if it has one; see
    /// [`Listener::tag`](crate::Listener::tag).
    pub fn listener(&self) -> Option<&str> {
        self.arrival.tag.as_deref()
    }

    /// Returns whether `Host` is a name or an address that always means the client's own machine, such as `localhost` or
    /// `127.0.0.1`.
    ///
    /// This alone proves nothing about the client, because a proxy on this machine often sends the same `Host`.
    pub fn has_loopback_host(&self) -> bool {
        self.authority.as_ref().is_some_and(Authority::is_loopback)
    }

    /// Returns whether the `Upgrade` header contains `websocket`.
    pub fn wants_upgrade(&self) -> bool {
        self.has_token(header::UPGRADE, "websocket")
    }

    /// Returns the length of the body in bytes. It is `None` if the request has no `Content-Length`.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Reads the body, of at most `limit` bytes. This works only once, and only in
    /// [`Handler::request`](crate::Handler::request).
    ///
    /// # Blocking
    /// Waits for the client's bytes, up to the end of [`handshake_timeout`](crate::Config::handshake_timeout).
    ///
    /// # Errors
    /// Returns the answer for the client: 411 if the request has no length, 413 if the body is larger than `limit`, and
    /// 400 if the connection ends before the whole body has arrived, or if the body cannot be read any more.
    pub fn read_body(&mut self, limit: usize) -> Result<Vec<u8>, Reply> {
        let length = self.content_length.ok_or_else(|| Reply::status(411))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > limit {
            let text = format!("the body is larger than the limit of {limit} bytes\n");
            return Err(Reply::text(413, text));
        }
        let expects_continue = self.has_token(header::EXPECT, "100-continue");
        let slot = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut body = slot
            .take()
            .ok_or_else(|| Reply::text(400, "the body is not available\n"))?;
        let mut bytes = Vec::new();
        let incomplete = || Reply::text(400, "the body is incomplete\n");
        if expects_continue {
            body.send_continue().map_err(|_| incomplete())?;
        }
        let read = body
            .by_ref()
            .take(length as u64)
            .read_to_end(&mut bytes)
            .map_err(|_| incomplete())?;
        if read < length {
            return Err(incomplete());
        }
        body.finish();
        Ok(bytes)
    }

    /// Sets the source of the body, or removes it with whatever has not been read.
    pub(crate) fn set_body(&mut self, body: Option<Box<dyn Body>>) {
        *self.body.get_mut().unwrap_or_else(PoisonError::into_inner) = body;
    }

    /// Sets the listener on which the request arrived.
    pub(crate) fn set_arrival(&mut self, arrival: Arc<Arrival>) {
        self.arrival = arrival;
    }

    /// Returns the values that [`Handler::request`](crate::Handler::request) stored for the lifetime of the client.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Returns the map in which [`Handler::request`](crate::Handler::request) can store values for
    /// [`Handler::run`](crate::Handler::run), for example the client's identity and permissions.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Returns whether one of the lines of the header `name` lists `token`, ignoring case.
    pub(super) fn has_token(&self, name: header::HeaderName, token: &str) -> bool {
        let lines = self.headers.get_all(name).into_iter();
        let mut tokens = lines.filter_map(|line| line.to_str().ok()).flat_map(list);
        tokens.any(|item| item.eq_ignore_ascii_case(token))
    }
}

/// Returns the items of a comma-separated list, without empty items (RFC 9110 §5.6.1.2).
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
    fn lists_are_combined_from_all_lines() {
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
        // Handlers may print the map alone.
        let shown = format!("{:?}", request.headers());
        assert!(
            !["hidden2", "hidden3", "hidden4"]
                .iter()
                .any(|s| shown.contains(s)),
            "{shown}"
        );
    }
}
