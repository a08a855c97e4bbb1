//! [`Listener`]: where the connections of a server come from. This is a listening socket (`listening_socket.rs`) or a
//! channel (`handed.rs`), with what its requests are judged by.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::arrived::Arrived;
use super::handed::ConnectionSender;
use super::handed_queue::HandedConnections;
use super::listening_socket::ListeningSocket;
use super::shutdown_signal::ShutdownSignal;
use crate::http1::Arrival;

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

    /// Returns whether each connection begins with a PROXY header.
    pub(super) fn has_proxy_header(&self) -> bool {
        self.has_proxy_header
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
