//! [`ClientBuilder`]: the settings of a client that is not connected yet.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use socket2::Socket;

use super::dial;
use super::error::ConnectError;
use super::handshake::{self, Opened, Opening};
use super::socket::ClientSocket;
use super::stream::Stream;
use super::url::Url;

/// The settings of a [`Client`](crate::Client) that is not connected yet, made by
/// [`Client::builder`](crate::Client::builder).
///
/// ```no_run
/// use std::time::Duration;
/// use standpipe::Client;
///
/// let mut client = Client::builder("ws://robot.local:9000/telemetry")
///     .header("Authorization", "Bearer 8c1f")
///     .subprotocol("telemetry.v1")
///     .connect_timeout(Duration::from_secs(2))
///     .max_message(4 << 20)
///     .connect()?;
/// client.send("hello")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder connects nothing before `connect`"]
pub struct ClientBuilder {
    url: String,
    via: Via,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
    subprotocols: Vec<String>,
    headers: HeaderMap,
    /// The first header that is not valid.
    invalid: Option<String>,
    connect_timeout: Duration,
    handshake_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) close_timeout: Duration,
    pub(super) max_message: usize,
}

// The query of the URL may contain a token.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.url.split(['?', '#']).next();
        f.debug_struct("ClientBuilder")
            .field("url", &shown.unwrap_or_default())
            .field("via", &self.via)
            .field("subprotocols", &self.subprotocols)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// Where the socket comes from.
#[derive(Debug)]
enum Via {
    /// The host and port of the URL.
    Host,
    UnixSocket(PathBuf),
    Own(OwnedFd),
}

impl ClientBuilder {
    pub(super) fn new(url: String) -> ClientBuilder {
        ClientBuilder {
            url,
            via: Via::Host,
            #[cfg(feature = "tls")]
            tls: None,
            subprotocols: Vec::new(),
            headers: HeaderMap::new(),
            invalid: None,
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            max_message: 1 << 20,
        }
    }

    /// Adds a header to the request. The header `Host` replaces the one of the URL. The client writes the other headers of
    /// the handshake itself, so they are refused.
    ///
    /// ```
    /// use standpipe::{Client, ConnectError};
    ///
    /// let builder = Client::builder("ws://localhost/").header("Cookie", "session=8c1f");
    /// let wrong = Client::builder("ws://localhost/").header("X-Name", "two\nlines");
    /// assert!(matches!(wrong.connect(), Err(ConnectError::Header(_))));
    /// # drop(builder);
    /// ```
    pub fn header<N, V>(mut self, name: N, value: V) -> ClientBuilder
    where
        HeaderName: TryFrom<N>,
        HeaderValue: TryFrom<V>,
    {
        let Ok(name) = HeaderName::try_from(name) else {
            return self.refuse("a name has a character that is not allowed");
        };
        let Ok(mut value) = HeaderValue::try_from(value) else {
            return self.refuse(format!("{name} has a character that is not allowed"));
        };
        let is_own = [header::UPGRADE, header::CONNECTION].contains(&name)
            || name.as_str().starts_with("sec-websocket-");
        if is_own {
            return self.refuse(format!("{name} is written by the client itself"));
        }
        // Otherwise `{:?}` of the builder could show a password.
        value.set_sensitive(true);
        self.headers.append(name, value);
        self
    }

    fn refuse(mut self, reason: impl Into<String>) -> ClientBuilder {
        self.invalid.get_or_insert(reason.into());
        self
    }

    /// Sets the `Origin` of the request: the site whose page a browser would send it for. The default is none.
    ///
    /// ```
    /// let builder = standpipe::Client::builder("ws://localhost/").origin("https://app.example");
    /// # drop(builder);
    /// ```
    pub fn origin(self, origin: &str) -> ClientBuilder {
        self.header(header::ORIGIN, origin)
    }

    /// Offers a subprotocol. The first one that is added is preferred most. The server may select one of them, or none:
    /// see [`Client::subprotocol`](crate::Client::subprotocol).
    ///
    /// ```
    /// let builder = standpipe::Client::builder("ws://localhost/").subprotocol("chat.v2").subprotocol("chat.v1");
    /// # drop(builder);
    /// ```
    pub fn subprotocol(mut self, name: &str) -> ClientBuilder {
        // A header name is a token, as a subprotocol must be, except that it is in lower case (RFC 9110 §5.1).
        if HeaderName::try_from(name).is_err() {
            return self.refuse(format!("the subprotocol {name:?} is not a token"));
        }
        self.subprotocols.push(name.to_owned());
        self
    }

    /// Connects to the unix socket at `path`. The URL still gives the path and the `Host` of the request.
    ///
    /// ```no_run
    /// use standpipe::Client;
    ///
    /// let client = Client::builder("ws://localhost/ws").unix("/run/app/ws.sock").connect()?;
    /// # Ok::<(), standpipe::ConnectError>(())
    /// ```
    pub fn unix(mut self, path: impl Into<PathBuf>) -> ClientBuilder {
        self.via = Via::UnixSocket(path.into());
        self
    }

    /// Uses a socket that is connected already, such as one with options of its own or through a proxy. The URL still
    /// gives the path and the `Host` of the request. No other descriptor of the same socket may be used afterwards.
    ///
    /// ```no_run
    /// use std::net::TcpStream;
    /// use standpipe::Client;
    ///
    /// let socket = TcpStream::connect("127.0.0.1:9001")?;
    /// let client = Client::builder("ws://robot/ws").stream(socket).connect()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stream(mut self, socket: impl Into<OwnedFd>) -> ClientBuilder {
        self.via = Via::Own(socket.into());
        self
    }

    /// Sets the configuration of TLS for a URL with `wss://`, for example with another authority, or with a certificate of the
    /// client. Its ALPN protocols should be `http/1.1`, or empty. It needs the feature `tls`.
    ///
    /// The default has TLS 1.2 and 1.3 with the provider `ring`, and trusts the authorities that the system trusts. They
    /// are read once per process.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    ///
    /// use standpipe::rustls::pki_types::{CertificateDer, pem::PemObject};
    /// use standpipe::rustls::{ClientConfig, RootCertStore, crypto::ring};
    /// use standpipe::Client;
    ///
    /// // The only authority that this client trusts.
    /// let mut roots = RootCertStore::empty();
    /// roots.add(CertificateDer::from_pem_file("own_ca.pem")?)?;
    /// let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
    ///     .with_safe_default_protocol_versions()?
    ///     .with_root_certificates(roots)
    ///     .with_no_client_auth();
    /// let client = Client::builder("wss://hub.internal/ws").tls(tls).connect()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: impl Into<Arc<rustls::ClientConfig>>) -> ClientBuilder {
        self.tls = Some(config.into());
        self
    }

    /// Sets the time for connecting the socket, for all addresses of the name together. Default 10 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = standpipe::Client::builder("ws://localhost/").connect_timeout(Duration::from_secs(1));
    /// # drop(builder);
    /// ```
    pub fn connect_timeout(mut self, limit: Duration) -> ClientBuilder {
        self.connect_timeout = limit;
        self
    }

    /// Sets the time for the opening handshake, from the connected socket to the server's answer. Default 10 s. With TLS, it
    /// includes the handshake of TLS.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = standpipe::Client::builder("ws://localhost/").handshake_timeout(Duration::from_secs(1));
    /// # drop(builder);
    /// ```
    pub fn handshake_timeout(mut self, limit: Duration) -> ClientBuilder {
        self.handshake_timeout = limit;
        self
    }

    /// Sets how long a send waits for a server that accepts no byte. Default 30 s. Then the connection is reset.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = standpipe::Client::builder("ws://localhost/").write_timeout(Duration::from_secs(1));
    /// # drop(builder);
    /// ```
    pub fn write_timeout(mut self, limit: Duration) -> ClientBuilder {
        self.write_timeout = limit;
        self
    }

    /// Sets how long [`Client::close`](crate::Client::close) waits for the server's Close. Default 5 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let builder = standpipe::Client::builder("ws://localhost/").close_timeout(Duration::from_secs(1));
    /// # drop(builder);
    /// ```
    pub fn close_timeout(mut self, limit: Duration) -> ClientBuilder {
        self.close_timeout = limit;
        self
    }

    /// Sets the largest message that is received, in bytes. Default 1 MiB. A larger one closes the connection with 1009.
    /// A server can make the client use about twice this much memory.
    ///
    /// ```
    /// let builder = standpipe::Client::builder("ws://localhost/").max_message(16 << 20);
    /// # drop(builder);
    /// ```
    pub fn max_message(mut self, bytes: usize) -> ClientBuilder {
        self.max_message = bytes;
        self
    }

    /// Connects the socket, and performs the opening handshake on it. With TLS, the handshake of TLS comes before, and
    /// nothing of the request is sent before the certificate has been verified.
    pub(super) fn open(&mut self) -> Result<(ClientSocket, Opened), ConnectError> {
        let url = Url::parse(&self.url)?;
        if let Some(reason) = self.invalid.take() {
            return Err(ConnectError::Header(reason));
        }
        let host = self.headers.remove(header::HOST);
        let host = match &host {
            Some(host) => host
                .to_str()
                .map_err(|_| ConnectError::Header("Host is not ASCII".to_owned()))?,
            None => &url.authority,
        };
        let socket = match std::mem::replace(&mut self.via, Via::Host) {
            Via::Host => dial::tcp(&url.host, url.port, self.connect_timeout)?,
            Via::UnixSocket(path) => dial::unix(&path, self.connect_timeout)?,
            Via::Own(descriptor) => Socket::from(descriptor),
        };
        let stream = Stream::new(socket).map_err(ConnectError::Io)?;
        // A limit that is too long for an `Instant` is no limit.
        let deadline = Instant::now().checked_add(self.handshake_timeout);
        let mut socket = match url.has_tls {
            #[cfg(feature = "tls")]
            true => {
                let tls = super::tls::open(stream, self.tls.take(), &url.host, deadline)?;
                ClientSocket::Tls(Box::new(tls))
            }
            _ => ClientSocket::Plain(stream),
        };
        let opening = Opening {
            target: &url.target,
            host,
            subprotocols: &self.subprotocols,
            headers: &self.headers,
        };
        let opened = handshake::open(&mut socket, &opening, deadline)?;
        Ok((socket, opened))
    }
}
