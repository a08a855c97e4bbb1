//! [`Arrival`]: the listener on which a request arrived, as far as requests are judged by it. The methods of a
//! [`Request`] that tell on which way it came.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Peer, Request};
#[cfg(feature = "tls")]
use crate::tls::TlsInfo;

/// What a listener tells about the requests that arrive on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arrival {
    /// The name that the user of the library gave to the listener.
    pub(crate) tag: Option<String>,
    /// Whether `Host` must be a loopback name. It must on a TCP listener that only this machine can reach, because a browser
    /// on this machine can reach it by any name that resolves to loopback. A browser reaches a unix socket only if a port
    /// is forwarded to it, for example by `ssh -L`. A unix socket is checked if it is `same_origin_only`.
    pub(crate) loopback_host: bool,
    /// Whether the allowed origins of the configuration do not apply.
    pub(crate) same_origin_only: bool,
}

impl Request {
    /// Returns the address of the client. If the connection comes from a [trusted proxy](crate::Config::trusted_proxies),
    /// this is the address that the proxy names, or that of the proxy if it names none.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) {
    /// println!("a request from {}", request.peer());
    /// # }
    /// ```
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Returns the trusted proxy that the connection comes from, or `None` if it comes from anybody else.
    ///
    /// See [`Config::trusted_proxies`](crate::Config::trusted_proxies). A proxy that is not trusted cannot be told from a
    /// client.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) {
    /// match request.proxy() {
    ///     Some(proxy) => println!("{} through {proxy}", request.peer()),
    ///     None => println!("{}", request.peer()),
    /// }
    /// # }
    /// ```
    pub fn proxy(&self) -> Option<&Peer> {
        self.proxy.as_deref()
    }

    /// Returns the tag of the listener on which the request arrived, if it has one; see
    /// [`Listener::tag`](crate::Listener::tag).
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) -> standpipe::Reply {
    /// use standpipe::Reply;
    ///
    /// match (request.listener(), request.path()) {
    ///     (Some("admin"), "/metrics") => Reply::text(200, "clients 12\n"),
    ///     (Some("admin"), _) => Reply::status(404),
    ///     _ => Reply::upgrade(),
    /// }
    /// # }
    /// ```
    pub fn listener(&self) -> Option<&str> {
        self.arrival.tag.as_deref()
    }

    /// Returns the server's own address of this connection: the address and port to which the client connected. `None`
    /// for a unix socket.
    ///
    /// A listener on `0.0.0.0` or `[::]` receives connections to every address of the machine, so this address is more
    /// exact than that of the listener.
    ///
    /// ```
    /// use standpipe::{Reply, Request};
    ///
    /// fn request(request: &mut Request) -> Reply {
    ///     match request.local_addr() {
    ///         Some(address) if address.ip().is_loopback() => Reply::upgrade(),
    ///         _ => Reply::status(403),
    ///     }
    /// }
    /// ```
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// Returns the TLS session of the connection, or `None` if the connection to this server has no TLS. A proxy in front of
    /// the server may have TLS with the client.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) {
    /// if let Some(tls) = request.tls() {
    ///     println!("{}, asked for {:?}", tls.version(), tls.server_name());
    /// }
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_deref()
    }

    /// Whether the connection to this server has TLS.
    pub(super) fn has_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&mut self, tls: Option<Arc<TlsInfo>>) {
        self.tls = tls;
    }

    /// Sets the listener on which the request arrived, and the server's own address of a TCP connection.
    pub(crate) fn set_arrival(&mut self, arrival: Arc<Arrival>, local_addr: Option<SocketAddr>) {
        self.arrival = arrival;
        self.local_addr = local_addr;
    }

    /// Sets the client, and the trusted proxy that has sent the request.
    pub(crate) fn set_proxied(&mut self, client: Peer, proxy: Peer) {
        self.peer = client;
        self.proxy = Some(Box::new(proxy));
    }
}
