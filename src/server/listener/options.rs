//! The options of a [`Listener`], which the user of the library sets.

use std::sync::Arc;

use super::{Listener, Source};
use crate::config::Config;
use crate::config_error::ConfigError;
#[cfg(feature = "tls")]
use crate::tls::TlsConfig;

impl Listener {
    /// Says that another process has this socket too: systemd, or the server that comes next. When the server stops
    /// accepting, it then leaves the connections in the backlog to that process.
    ///
    /// Without this call, the server accepts the backlog when it stops, and answers 503. The call changes nothing for a
    /// [`channel`](Self::channel), which belongs to this process.
    ///
    /// ```
    /// use standpipe::Listener;
    /// # let parent = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// // A descriptor of the same socket, as systemd passes one on.
    /// let socket = parent.try_clone()?;
    /// let listener = Listener::try_from(socket)?.inherited();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn inherited(mut self) -> Listener {
        if let Source::Socket(socket) = &mut self.source {
            socket.set_inherited();
        }
        self
    }

    /// Names the listener. [`Request::listener`](crate::Request::listener) returns the name for each request that arrives
    /// on it, so that a handler can serve some paths on some listeners only.
    ///
    /// ```
    /// use standpipe::{Config, Connection, Handler, Listener, Reply, Request, Server};
    ///
    /// struct Routes;
    ///
    /// impl Handler for Routes {
    ///     fn request(&self, request: &mut Request) -> Reply {
    ///         match (request.listener(), request.path()) {
    ///             (Some("admin"), "/figures") => Reply::text(200, "42\n"),
    ///             (None, "/ws") => Reply::upgrade(),
    ///             _ => Reply::status(404),
    ///         }
    ///     }
    ///     fn run(&self, conn: &mut Connection) -> standpipe::HandlerResult {
    ///         while conn.recv()?.is_some() {}
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let public = Listener::bind("127.0.0.1:0")?;
    /// let admin = Listener::bind("127.0.0.1:0")?.tag("admin").same_origin_only();
    /// let server = Server::from_listeners(vec![public, admin], Config::default())?;
    /// # let handle = server.handle();
    /// # handle.shutdown();
    /// # server.serve(Routes)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tag(mut self, name: impl Into<String>) -> Listener {
        Arc::make_mut(&mut self.arrival).tag = Some(name.into());
        self
    }

    /// Refuses web pages of every other origin, whatever [`Config::origin`](crate::Config::origin) and
    /// [`Config::allow_any_origin`](crate::Config::allow_any_origin) allow. If the listener is on loopback or a unix
    /// socket, only loopback names are accepted as `Host`, and not the hosts of the allowed origins.
    ///
    /// ```
    /// # fn example() -> std::io::Result<()> {
    /// // Pages of other sites cannot use the admin listener, whatever `Config::origin` allows.
    /// let admin = standpipe::Listener::bind("127.0.0.1:9000")?.tag("admin").same_origin_only();
    /// # Ok(())
    /// # }
    /// ```
    pub fn same_origin_only(mut self) -> Listener {
        let is_local = self.is_loopback();
        let arrival = Arc::make_mut(&mut self.arrival);
        (arrival.same_origin_only, arrival.loopback_host) = (true, is_local);
        self
    }

    /// Expects a header of the PROXY protocol, version 1 or 2, at the beginning of each connection. The server then takes
    /// the address of the client from it. It accepts only connections from the
    /// [`Config::trusted_proxies`](crate::Config::trusted_proxies) on this listener, and closes every other one unread.
    ///
    /// ```
    /// use standpipe::{Config, Listener, Server};
    /// let listener = Listener::bind("127.0.0.1:0")?.proxy_protocol();
    /// let config = Config::default().trusted_proxies(vec!["127.0.0.1".parse().expect("an address")]);
    /// let server = Server::from_listeners(vec![listener], config)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn proxy_protocol(mut self) -> Listener {
        self.has_proxy_header = true;
        self
    }

    /// Expects TLS on each connection, so that clients connect to `wss://` and `https://`. The TLS handshake counts towards
    /// [`Config::handshake_timeout`](crate::Config::handshake_timeout). A client that speaks HTTP without TLS is answered
    /// 400.
    ///
    /// A server refuses a unix socket with TLS, which serves a proxy on the same machine.
    ///
    /// ```no_run
    /// use standpipe::{Config, Listener, Server, TlsConfig};
    /// let tls = TlsConfig::from_pem_files("fullchain.pem", "privkey.pem")?;
    /// let listener = Listener::bind("0.0.0.0:443")?.tls(tls);
    /// let server = Server::from_listeners(vec![listener], Config::default())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: impl Into<TlsConfig>) -> Listener {
        self.tls = Some(config.into());
        self
    }

    /// Checks that the options fit the listener, and the configuration of its server.
    pub(in crate::server) fn check(&self, config: &Config) -> Result<(), ConfigError> {
        if config.trusted_proxies.is_empty() && self.has_proxy_header {
            return Err(ConfigError::new(
                "trusted_proxies",
                "must not be empty, because a listener expects the PROXY protocol",
            ));
        }
        let is_unix =
            matches!(&self.source, Source::Socket(socket) if socket.local_addr().is_none());
        if self.has_tls() && is_unix {
            return Err(ConfigError::new(
                "tls",
                format!(
                    "must not be set for {self}, because a unix socket serves this machine only"
                ),
            ));
        }
        Ok(())
    }
}
