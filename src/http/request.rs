//! [`Request`]: a complete and valid request head.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{Extensions, HeaderMap, Method, Version, header};

use super::Peer;
use super::arrival::Arrival;
use super::authority::Authority;
use super::body::{Body, Framing};
use super::target::Target;
#[cfg(feature = "tls")]
use crate::tls::TlsInfo;

/// An HTTP request.
///
/// `{:?}` shows neither the query nor the headers, because they may contain tokens, which must not get into a log.
///
/// ```
/// use standpipe::{Reply, Request};
///
/// fn answer(request: &Request) -> Reply {
///     println!("{} {} from {}", request.method(), request.path(), request.peer());
///     match request.segments() {
///         [room] if request.wants_upgrade() => Reply::upgrade().subprotocol(room.as_str()),
///         _ => Reply::status(404),
///     }
/// }
/// ```
pub struct Request {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) target: Target,
    pub(super) headers: HeaderMap,
    pub(super) authority: Option<Authority>,
    pub(super) framing: Framing,
    pub(super) peer: Peer,
    /// The trusted proxy that has sent the request. In a box, because most requests have none.
    pub(super) proxy: Option<Box<Peer>>,
    pub(super) arrival: Arc<Arrival>,
    pub(super) has_allowed_origin: bool,
    pub(super) local_addr: Option<SocketAddr>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Arc<TlsInfo>>,
    pub(super) extensions: Extensions,
    pub(super) route: Option<&'static str>,
    /// The unread body, until the handler has answered the request. The body is in a mutex because a request is later
    /// shared between threads, but a [`Body`] cannot be shared.
    pub(super) body: Mutex<Option<Box<Body>>>,
}

impl Request {
    /// Returns the method.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) -> standpipe::Reply {
    /// use standpipe::Reply;
    /// use standpipe::http::Method;
    ///
    /// match *request.method() {
    ///     Method::GET => Reply::text(200, "hello\n"),
    ///     _ => Reply::status(405),
    /// }
    /// # }
    /// ```
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the path without the query, percent-decoded once.
    ///
    /// In this form an encoded slash looks like any other slash. For routing, use [`segments`](Self::segments).
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) -> standpipe::Reply {
    /// use standpipe::Reply;
    ///
    /// if request.path() == "/ws" { Reply::upgrade() } else { Reply::status(404) }
    /// # }
    /// ```
    pub fn path(&self) -> &str {
        &self.target.path
    }

    /// Returns the path split at its slashes, each segment percent-decoded once: `/ws/a%2Fb` is `["ws", "a/b"]`, and `/`
    /// has no segments.
    ///
    /// A slash at the end adds an empty last segment. No segment is `.` or `..`, or contains a control character.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) -> standpipe::Reply {
    /// use standpipe::Reply;
    ///
    /// match request.segments() {
    ///     [first, room] if first == "rooms" => Reply::text(200, format!("this is {room}\n")),
    ///     _ => Reply::status(404),
    /// }
    /// # }
    /// ```
    pub fn segments(&self) -> &[String] {
        &self.target.segments
    }

    /// Names the route of this request, under which the server counts its answer in
    /// [`ServerStatistics::requests`](crate::ServerStatistics::requests). The name must be one of a few fixed ones, because
    /// monitoring systems store a series for each. So it must not be the path, which clients choose.
    ///
    /// ```
    /// use standpipe::{Reply, Request};
    ///
    /// fn answer(request: &mut Request) -> Reply {
    ///     match request.segments() {
    ///         [rooms, _] if rooms == "rooms" => {
    ///             request.set_route("/rooms/ROOM");
    ///             Reply::upgrade()
    ///         }
    ///         _ => Reply::status(404),
    ///     }
    /// }
    /// # let _: fn(&mut Request) -> Reply = answer;
    /// ```
    pub fn set_route(&mut self, route: &'static str) {
        self.route = Some(route);
    }

    pub(crate) fn route(&self) -> Option<&'static str> {
        self.route
    }

    /// Returns all headers as the client, or its proxy, sent them.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) {
    /// for accepted in request.headers().get_all("accept-language") {
    ///     println!("{accepted:?}");
    /// }
    /// # }
    /// ```
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the first value of the header `name`, if it is visible ASCII.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) {
    /// let agent = request.header("user-agent").unwrap_or("unknown");
    /// println!("a client of the kind {agent}");
    /// # }
    /// ```
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the `Host` header as the client wrote it. Only an HTTP/1.0 request may have none.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) -> standpipe::Reply {
    /// use standpipe::Reply;
    ///
    /// match request.host() {
    ///     Some("chat.example.com") => Reply::upgrade(),
    ///     _ => Reply::status(421),
    /// }
    /// # }
    /// ```
    pub fn host(&self) -> Option<&str> {
        self.header("host")
    }

    /// Returns the `Origin` header: the site whose page sent the request. Clients other than browsers rarely send it.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) {
    /// match request.origin() {
    ///     Some(origin) => println!("a page of {origin}"),
    ///     None => println!("a program, not a page"),
    /// }
    /// # }
    /// ```
    pub fn origin(&self) -> Option<&str> {
        self.header("origin")
    }

    /// Returns whether the `Origin` of the request is allowed. It is allowed if it is missing, if it is that of the
    /// server's own pages, and if [`Config::origin`](crate::Config::origin) or
    /// [`Config::allow_any_origin`](crate::Config::allow_any_origin) allow it.
    ///
    /// This is false only for GET, HEAD, OPTIONS and TRACE requests that are not upgrades, because the server refuses all
    /// others with 403. The browser does not let the page that sent such a request read the answer. A handler checks
    /// this method if its answer is not public, or costs much.
    ///
    /// ```
    /// # use standpipe::{Reply, Request};
    /// fn state(request: &Request) -> Result<Reply, Reply> {
    ///     if !request.has_allowed_origin() {
    ///         return Err(Reply::text(403, "not for pages of other sites\n"));
    ///     }
    ///     Ok(Reply::json(200, "{}"))
    /// }
    /// ```
    pub fn has_allowed_origin(&self) -> bool {
        self.has_allowed_origin
    }

    /// Returns the subprotocols that the client offers, in the client's order, from all `Sec-WebSocket-Protocol` lines.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) {
    /// let newest = request.subprotocols().filter(|name| name.starts_with("chat.v")).max();
    /// # let _ = newest;
    /// # }
    /// ```
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        let lines = self
            .headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .into_iter();
        lines.filter_map(|line| line.to_str().ok()).flat_map(list)
    }

    /// Returns whether `Host` is a name or an address that always means the client's own machine, such as `localhost` or
    /// `127.0.0.1`.
    ///
    /// This alone proves nothing about the client, because a proxy on this machine often sends the same `Host`.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) {
    /// if !request.has_loopback_host() {
    ///     println!("the client used the name {:?}", request.host());
    /// }
    /// # }
    /// ```
    pub fn has_loopback_host(&self) -> bool {
        self.authority.as_ref().is_some_and(Authority::is_loopback)
    }

    /// Returns whether the `Upgrade` header contains `websocket`. In HTTP/1.0 the header is ignored (RFC 9110 §7.8).
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) -> standpipe::Reply {
    /// use standpipe::Reply;
    ///
    /// if request.wants_upgrade() { Reply::upgrade() } else { Reply::html("<p>Connect with a WebSocket.") }
    /// # }
    /// ```
    pub fn wants_upgrade(&self) -> bool {
        self.version == Version::HTTP_11 && self.has_token(header::UPGRADE, "websocket")
    }

    /// Returns whether the client allows another request on the same connection (RFC 9112 §9.3).
    pub(crate) fn allows_keep_alive(&self) -> bool {
        if self.has_token(header::CONNECTION, "close") {
            return false;
        }
        self.version == Version::HTTP_11 || self.has_token(header::CONNECTION, "keep-alive")
    }

    /// Returns whether the request is `OPTIONS *`, which asks about the server and not about a path.
    pub(crate) fn is_about_server(&self) -> bool {
        self.target.is_asterisk
    }

    /// Returns the values that [`Handler::request`](crate::Handler::request) stored for the lifetime of the client.
    ///
    /// ```
    /// use standpipe::{Connection, Handler, Reply, Request};
    ///
    /// #[derive(Clone)]
    /// struct User(String);
    ///
    /// struct Service;
    ///
    /// impl Handler for Service {
    ///     fn request(&self, request: &mut Request) -> Reply {
    ///         request.extensions_mut().insert(User("ann".into()));
    ///         Reply::upgrade()
    ///     }
    ///
    ///     fn run(&self, conn: &mut Connection) -> standpipe::HandlerResult {
    ///         let user = conn.request().extensions().get::<User>();
    ///         println!("{} has connected", user.map_or("nobody", |user| &user.0));
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Returns the map in which [`Handler::request`](crate::Handler::request) can store values for
    /// [`Handler::run`](crate::Handler::run), for example the client's identity and permissions.
    ///
    /// ```
    /// # fn example(request: &mut standpipe::Request) {
    /// #[derive(Clone)]
    /// struct IsAdmin(bool);
    ///
    /// let from_here = request.peer().is_loopback();
    /// request.extensions_mut().insert(IsAdmin(from_here));
    /// # }
    /// ```
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
pub(super) fn list(line: &str) -> impl Iterator<Item = &str> {
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
#[path = "tests/request.rs"]
mod tests;
