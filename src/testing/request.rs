//! [`RequestBuilder`]: a request that no client has sent.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::Method;

use crate::http1::{Arrival, HeadError, Peer, Request, Wire, read_head};

/// Returns the builder of a GET request for this path and query.
///
/// The request has `Host: localhost`, and comes from a TCP client on loopback. It is read by the parser of the server, so
/// it is what a handler would get for the same bytes. The checks of `Host` and `Origin`, which the server makes before it
/// asks the handler, are not made.
///
/// ```
/// use standpipe::testing;
///
/// let request = testing::request("/rooms/a%2Fb?limit=5").build();
/// assert_eq!(request.segments(), ["rooms", "a/b"]);
/// assert_eq!(request.query("limit"), Some("5"));
/// ```
pub fn request(target: &str) -> RequestBuilder {
    RequestBuilder {
        method: Method::GET,
        target: target.to_owned(),
        host: true,
        lines: String::new(),
        body: None,
        peer: Peer::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000))),
        proxy: None,
        local_addr: None,
        tag: None,
    }
}

/// Builds a [`Request`](crate::Request) without a client: see [`request`].
///
/// ```
/// use standpipe::testing::{self, RequestBuilder};
///
/// /// A request of somebody who is logged in.
/// fn logged_in(path: &str) -> RequestBuilder {
///     testing::request(path).header("Cookie", "session=8c1f")
/// }
/// assert_eq!(logged_in("/me").build().cookie("session"), Some("8c1f"));
/// ```
#[derive(Debug)]
#[must_use = "a builder makes no request before `build`"]
pub struct RequestBuilder {
    method: Method,
    target: String,
    /// Whether the request gets a `Host` of its own.
    host: bool,
    /// The header lines.
    lines: String,
    body: Option<Vec<u8>>,
    peer: Peer,
    proxy: Option<Peer>,
    local_addr: Option<SocketAddr>,
    tag: Option<String>,
}

impl RequestBuilder {
    /// Sets the method.
    ///
    /// ```
    /// use standpipe::http::Method;
    /// use standpipe::testing;
    ///
    /// let request = testing::request("/rooms/a").method(Method::DELETE).build();
    /// assert_eq!(request.method(), Method::DELETE);
    /// ```
    pub fn method(mut self, method: Method) -> RequestBuilder {
        self.method = method;
        self
    }

    /// Adds a header. `Host` replaces the default.
    ///
    /// ```
    /// let request = standpipe::testing::request("/").header("Cookie", "a=1").build();
    /// assert_eq!(request.header("cookie"), Some("a=1"));
    /// ```
    pub fn header(mut self, name: &str, value: &str) -> RequestBuilder {
        self.host &= !name.eq_ignore_ascii_case("host");
        // Writing to a string never fails.
        let _ = write!(self.lines, "{name}: {value}\r\n");
        self
    }

    /// Adds the headers of a WebSocket handshake.
    ///
    /// ```
    /// assert!(standpipe::testing::request("/ws").upgrade().build().wants_upgrade());
    /// ```
    pub fn upgrade(self) -> RequestBuilder {
        self.header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Version", "13")
    }

    /// Gives the request a body, and its `Content-Length`. The method becomes POST if it is GET.
    ///
    /// ```
    /// let mut request = standpipe::testing::request("/publish/news").body("hello").build();
    /// assert_eq!(request.read_body(100).expect("it is short"), b"hello");
    /// ```
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> RequestBuilder {
        if self.method == Method::GET {
            self.method = Method::POST;
        }
        self.body = Some(body.into());
        self
    }

    /// Sets the address of the client.
    ///
    /// ```
    /// use standpipe::{Peer, testing};
    ///
    /// let peer = Peer::Tcp("192.0.2.7:50000".parse()?);
    /// let request = testing::request("/").peer(peer).build();
    /// assert!(!request.peer().is_loopback());
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn peer(mut self, peer: Peer) -> RequestBuilder {
        self.peer = peer;
        self
    }

    /// Lets the request come through a [trusted proxy](crate::Config::trusted_proxies) with this address. The builder reads
    /// no forwarding header: [`peer`](Self::peer) sets the client.
    ///
    /// ```
    /// use standpipe::{Peer, testing};
    ///
    /// let request = testing::request("/").proxy(Peer::Unix).build();
    /// assert_eq!(request.proxy(), Some(&Peer::Unix));
    /// ```
    pub fn proxy(mut self, proxy: Peer) -> RequestBuilder {
        self.proxy = Some(proxy);
        self
    }

    /// Sets the server's own address of the connection. The default is none.
    ///
    /// ```
    /// let address = "192.0.2.1:80".parse()?;
    /// let request = standpipe::testing::request("/").local_addr(address).build();
    /// assert_eq!(request.local_addr(), Some(address));
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn local_addr(mut self, address: SocketAddr) -> RequestBuilder {
        self.local_addr = Some(address);
        self
    }

    /// Lets the request arrive on a listener with this [tag](crate::Listener::tag).
    ///
    /// ```
    /// let request = standpipe::testing::request("/figures").listener("admin").build();
    /// assert_eq!(request.listener(), Some("admin"));
    /// ```
    pub fn listener(mut self, tag: &str) -> RequestBuilder {
        self.tag = Some(tag.to_owned());
        self
    }

    /// Returns the request.
    ///
    /// ```
    /// use standpipe::testing;
    ///
    /// let mut request = testing::request("/").build();
    /// request.extensions_mut().insert("what an earlier step has found out");
    /// ```
    ///
    /// # Panics
    /// Panics if the server would refuse these bytes without asking the handler, for example because a header is not
    /// valid.
    #[track_caller]
    pub fn build(self) -> Request {
        let host = if self.host { "Host: localhost\r\n" } else { "" };
        let length = self.body.as_ref().map_or(String::new(), |body| {
            format!("Content-Length: {}\r\n", body.len())
        });
        let RequestBuilder {
            method,
            target,
            lines,
            ..
        } = &self;
        let head = format!("{method} {target} HTTP/1.1\r\n{host}{length}{lines}\r\n");
        let read = read_head(&mut io::empty(), head.clone().into_bytes(), self.peer);
        let mut request = match read {
            Ok((request, rest)) if rest.is_empty() => request,
            Ok(_) => panic!("the head ends too early: {head:?}"),
            Err(HeadError::Refused(_, reason)) => {
                panic!("the server would refuse {head:?}: {reason}")
            }
            Err(HeadError::Gone | HeadError::Io(_)) => panic!("the head is incomplete: {head:?}"),
        };
        let arrival = Arrival {
            tag: self.tag,
            ..Arrival::default()
        };
        request.set_arrival(Arc::new(arrival), self.local_addr);
        if let Some(proxy) = self.proxy {
            request.set_proxied(request.peer().clone(), proxy);
        }
        request.set_body(self.body.unwrap_or_default(), Box::new(Nothing));
        request
    }
}

/// The connection of a request whose bytes have all been read.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }
}

impl Wire for Nothing {
    fn begin(&mut self) {}

    fn finish(&mut self) {}

    fn send_continue(&mut self) -> io::Result<()> {
        Ok(())
    }
}
