//! [`Listener`]: where the connections of a server come from. This is a listening socket (`listening_socket.rs`) or a
//! channel (`handed.rs`), with what its requests are judged by.

mod options;

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::arrived::Arrived;
#[cfg(feature = "tls")]
use super::client::tls::InboundTls;
use super::handed::ConnectionSender;
use super::handed_queue::HandedConnections;
use super::listening_socket::ListeningSocket;
use super::shutdown_signal::ShutdownSignal;
use crate::http1::Arrival;
#[cfg(feature = "tls")]
use crate::tls::TlsConfig;

/// Where the connections of a server come from.
///
/// This is usually a listening socket, TCP or Unix. [`bind`](Self::bind) and [`unix`](Self::unix) make one, and std's
/// listeners can be converted. The socket does not block. [`channel`](Self::channel) makes a listener of connections
/// that the program has accepted itself.
///
/// When the server stops accepting, it answers the connections that wait in the backlog, and closes the socket.
/// [`inherited`](Self::inherited) says that another process goes on with the socket.
///
/// ```no_run
/// use standpipe::{Config, Listener, Server};
/// let listeners = vec![Listener::bind("127.0.0.1:9000")?, Listener::unix("/run/app/ws.sock")?];
/// let server = Server::from_listeners(listeners, Config::default())?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a listener that is dropped accepts nobody"]
#[derive(Debug)]
pub struct Listener {
    source: Source,
    /// What requests are judged by.
    arrival: Arc<Arrival>,
    /// As `arrival`, for the connections of a channel whose own address is on loopback.
    on_loopback: OnceLock<Arc<Arrival>>,
    /// Whether each connection begins with a PROXY header.
    has_proxy_header: bool,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
}

#[derive(Debug)]
enum Source {
    Socket(ListeningSocket),
    Channel(HandedConnections),
}

impl Listener {
    /// Listens on the first address of `address` that can be bound.
    ///
    /// ```
    /// use standpipe::{Config, Listener, Server};
    ///
    /// # fn example() -> std::io::Result<()> {
    /// let listeners = vec![Listener::bind("127.0.0.1:9001")?, Listener::bind("[::1]:9001")?];
    /// let server = Server::from_listeners(listeners, Config::default())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if none of them can be bound.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Listener> {
        let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
        for address in address.to_socket_addrs()? {
            match ListeningSocket::bind(address) {
                Ok(socket) => return Ok(Listener::of_socket(socket)),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Listens on a unix socket at `path`. A socket that no process listens on any more is replaced.
    ///
    /// The path is removed when the listener ends, unless another socket stands there by then.
    ///
    /// ```
    /// use standpipe::{Config, Listener, Server};
    ///
    /// # fn example() -> std::io::Result<()> {
    /// let listener = Listener::unix("/run/hub.sock")?;
    /// let server = Server::from_listeners(vec![listener], Config::default())?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Blocking
    /// Waits up to one second while another process that uses this library binds or removes a path in the same
    /// directory.
    ///
    /// # Errors
    /// Fails with `AddrInUse` if a process listens on the path, or if something other than a socket stands there.
    pub fn unix(path: impl AsRef<Path>) -> io::Result<Listener> {
        ListeningSocket::bind_unix(path.as_ref(), None).map(Listener::of_socket)
    }

    /// Like [`unix`](Self::unix), but also sets the permissions of the path, such as `0o660`. They are in force before
    /// a client can connect. Without them, the umask of the process decides.
    ///
    /// ```
    /// # fn example() -> std::io::Result<()> {
    /// // Only the group of the directory's owner can connect.
    /// let listener = standpipe::Listener::unix_with_mode("/run/hub.sock", 0o660)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Blocking
    /// As [`unix`](Self::unix).
    ///
    /// # Errors
    /// As [`unix`](Self::unix), and if the permissions cannot be set.
    pub fn unix_with_mode(path: impl AsRef<Path>, mode: u32) -> io::Result<Listener> {
        ListeningSocket::bind_unix(path.as_ref(), Some(mode)).map(Listener::of_socket)
    }

    /// Returns a listener of connections that were accepted elsewhere, and the [`ConnectionSender`] that hands them over.
    /// With it, an existing HTTP server or an own accept loop passes some of its connections on.
    ///
    /// Up to `capacity` connections, and at least one, can wait in the channel. When the server stops accepting, it answers
    /// those that wait, like a backlog. When all senders are dropped, no connection comes any more, and the server goes on
    /// with its clients.
    ///
    /// A connection whose own address is on loopback is judged as if it came from a loopback listener: `Host` must be a
    /// loopback name, or the host of an allowed [`Config::origin`](crate::Config::origin).
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use standpipe::{Config, Connection, Listener, Server};
    ///
    /// let (connections, listener) = Listener::channel(16);
    /// let server = Server::from_listeners(vec![listener.tag("embedded")], Config::default())?;
    /// let handle = server.handle();
    /// let running = server.spawn(|conn: &mut Connection| {
    ///     while let Some(message) = conn.recv()? {
    ///         conn.send(message)?;
    ///     }
    ///     Ok(())
    /// })?;
    ///
    /// // The program has accepted this socket, and has read the first line of the request.
    /// let (socket, mut client) = UnixStream::pair()?;
    /// # client.write_all(b"Host: localhost\r\n\r\n")?;
    /// connections.send(socket, "GET /ws HTTP/1.1\r\n")?;
    /// # let mut answer = [0; 12];
    /// # client.read_exact(&mut answer)?;
    /// # assert_eq!(&answer, b"HTTP/1.1 426");
    /// # drop(client);
    ///
    /// handle.shutdown();
    /// running.join()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn channel(capacity: usize) -> (ConnectionSender, Listener) {
        let (sender, connections) = ConnectionSender::channel(capacity);
        (sender, Listener::new(Source::Channel(connections), false))
    }

    /// Returns whether each connection begins with a PROXY header.
    pub(super) fn has_proxy_header(&self) -> bool {
        self.has_proxy_header
    }

    /// Returns whether the connections have TLS.
    pub(super) fn has_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Returns the TLS of a new connection.
    #[cfg(feature = "tls")]
    pub(super) fn inbound_tls(&self) -> InboundTls {
        match &self.tls {
            Some(config) => InboundTls::Expected(config.current()),
            None => InboundTls::Without,
        }
    }

    fn of_socket(socket: ListeningSocket) -> Listener {
        let address = socket.local_addr();
        let loopback_host = address.is_some_and(is_loopback);
        Listener::new(Source::Socket(socket), loopback_host)
    }

    fn new(source: Source, loopback_host: bool) -> Listener {
        Listener {
            source,
            arrival: Arc::new(Arrival {
                loopback_host,
                ..Arrival::default()
            }),
            on_loopback: OnceLock::new(),
            has_proxy_header: false,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Returns the TCP address of the listener, with the port that the kernel chose. `None` for a unix socket and for a
    /// channel.
    ///
    /// ```
    /// # fn example() -> std::io::Result<()> {
    /// let listener = standpipe::Listener::bind("127.0.0.1:0")?;
    /// assert!(listener.local_addr().is_some_and(|address| address.port() != 0));
    /// # Ok(())
    /// # }
    /// # example().expect("a free port");
    /// ```
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.source {
            Source::Socket(socket) => socket.local_addr(),
            Source::Channel(_) => None,
        }
    }

    /// Returns whether only this machine can reach the listener. It is not known where the connections of a channel come
    /// from.
    pub(crate) fn is_loopback(&self) -> bool {
        match &self.source {
            Source::Socket(socket) => socket.local_addr().is_none_or(is_loopback),
            Source::Channel(_) => false,
        }
    }

    /// Returns what the requests of a connection are judged by. `local` is the connection's own address.
    pub(super) fn arrival(&self, local: Option<SocketAddr>) -> Arc<Arrival> {
        let is_handed = matches!(self.source, Source::Channel(_));
        if is_handed && local.is_some_and(is_loopback) {
            let on_loopback = || {
                Arc::new(Arrival {
                    loopback_host: true,
                    ..Arrival::clone(&self.arrival)
                })
            };
            return Arc::clone(self.on_loopback.get_or_init(on_loopback));
        }
        Arc::clone(&self.arrival)
    }

    pub(super) fn is_inherited(&self) -> bool {
        match &self.source {
            Source::Socket(socket) => socket.is_inherited(),
            Source::Channel(_) => false,
        }
    }

    /// Waits until a connection can be accepted, or until the server stops accepting.
    ///
    /// # Blocking
    /// Woken by a client, by a [`ConnectionSender`], or when the server stops accepting.
    pub(super) fn wait(&self, wake_up: &UnixStream, shutdown: &ShutdownSignal) -> io::Result<()> {
        match &self.source {
            Source::Socket(socket) => socket.wait(wake_up),
            Source::Channel(connections) => {
                connections.wait(shutdown);
                Ok(())
            }
        }
    }

    /// Accepts the next connection, or fails with `WouldBlock` if there is none.
    pub(super) fn accept(&self) -> io::Result<Arrived> {
        match &self.source {
            Source::Socket(socket) => socket.accept(),
            Source::Channel(connections) => connections.accept(),
        }
    }

    /// Waits for a client whose TCP handshake had begun at the stop. Returns whether a connection can be accepted.
    ///
    /// # Blocking
    /// As [`ListeningSocket::wait_for_last_handshake`].
    pub(super) fn wait_for_last_handshake(&self) -> bool {
        match &self.source {
            Source::Socket(socket) => socket.wait_for_last_handshake(),
            Source::Channel(_) => false,
        }
    }

    /// Turns newcomers away from a listening socket.
    ///
    /// # Blocking
    /// As [`unix`](Self::unix).
    pub(super) fn refuse_newcomers(&mut self) {
        if let Source::Socket(socket) = &mut self.source {
            socket.refuse_newcomers();
        }
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    // A listener on [::] gets 127.0.0.1 as ::ffff:127.0.0.1, for which `IpAddr::is_loopback` returns false.
    address.ip().to_canonical().is_loopback()
}

/// The connections in the backlog are answered 503 when the server stops, because the program is expected to have
/// bound the listener itself. See [`Listener::inherited`].
impl TryFrom<TcpListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: TcpListener) -> io::Result<Listener> {
        ListeningSocket::of_tcp(listener).map(Listener::of_socket)
    }
}

/// As for a [`TcpListener`]. The path of the socket is not removed, because the program has bound it.
impl TryFrom<UnixListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: UnixListener) -> io::Result<Listener> {
        ListeningSocket::of_unix(listener).map(Listener::of_socket)
    }
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.source {
            Source::Socket(socket) => socket.fmt(f),
            Source::Channel(_) => f.write_str("a channel"),
        }
    }
}
