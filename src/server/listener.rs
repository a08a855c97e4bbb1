//! [`Listener`]: a listening socket, TCP or Unix, and the wake-up of its acceptor for a shutdown.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::http::{Arrival, Peer};
use crate::sync::Latch;

/// How many connections may wait for `accept` in the kernel. The kernel limits this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How many wake-up connections are tried before the listener itself is shut down.
const MAX_WAKE_UPS: u32 = 50;

/// How long a wake-up connection may take.
const WAKE_UP_TIMEOUT: Duration = Duration::from_millis(100);

/// A listening socket of a server, TCP or Unix. [`bind`](Self::bind) makes one, and std's listeners can be converted.
///
/// ```no_run
/// use standpipe::{Config, Listener, Server};
/// let listeners = vec![Listener::bind("127.0.0.1:9000")?, Listener::bind("[::1]:9000")?];
/// let server = Server::from_listeners(listeners, Config::default())?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    /// What requests are judged by.
    arrival: Arc<Arrival>,
    /// Set when the acceptor has ended.
    done: Latch,
    /// The number of wake-up connections so far.
    wake_ups: AtomicU32,
}

#[derive(Debug)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Listener {
    /// Listens on the first address of `address` that can be bound.
    ///
    /// # Errors
    /// Fails if none of them can be bound.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Listener> {
        let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
        for address in address.to_socket_addrs()? {
            match Listener::bind_one(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn bind_one(address: SocketAddr) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // Otherwise, a restarted server could not bind the address until the connections of its predecessor have left
        // TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from(socket).try_into()
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
    ///     fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
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
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>) -> Listener {
        Arc::make_mut(&mut self.arrival).tag = Some(name.into());
        self
    }

    /// Refuses web pages of every other origin, whatever [`Config::origin`](crate::Config::origin) and
    /// [`Config::allow_any_origin`](crate::Config::allow_any_origin) allow. If the listener is on loopback, only loopback
    /// names are accepted as `Host`, and not the hosts of the allowed origins.
    #[must_use]
    pub fn same_origin_only(mut self) -> Listener {
        Arc::make_mut(&mut self.arrival).same_origin_only = true;
        self
    }

    fn new(socket: Socket, address: Address) -> Listener {
        let loopback_tcp =
            matches!(&address, Address::Tcp(tcp) if tcp.ip().to_canonical().is_loopback());
        Listener {
            socket,
            address,
            arrival: Arc::new(Arrival {
                loopback_tcp,
                ..Arrival::default()
            }),
            done: Latch::new(),
            wake_ups: AtomicU32::new(0),
        }
    }

    /// Returns the address of a TCP listener, with the port that the kernel chose. A unix socket has none.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        }
    }

    /// Returns whether only this machine can reach the listener.
    pub(crate) fn is_loopback(&self) -> bool {
        self.arrival.loopback_tcp || self.tcp_address().is_none()
    }

    /// Returns what requests that arrive on this listener are judged by.
    pub(super) fn arrival(&self) -> Arc<Arrival> {
        Arc::clone(&self.arrival)
    }

    /// Accepts the next connection.
    ///
    /// # Blocking
    /// Woken by a client, or by [`wake_accept`](Self::wake_accept).
    pub(super) fn accept(&self) -> io::Result<(Socket, Peer)> {
        let (socket, address) = self.socket.accept()?;
        Ok((socket, peer(&address)))
    }

    /// Records that the acceptor has ended.
    pub(super) fn mark_done(&self) {
        self.done.set();
    }

    /// Waits until the acceptor has ended, for at most `limit`.
    ///
    /// # Blocking
    /// Woken when the acceptor ends.
    pub(super) fn wait_until_done(&self, limit: Duration) {
        self.done.wait(limit);
    }

    /// Wakes the acceptor by connecting to its listener. Returns false if the acceptor has already ended. Shutting the
    /// listener down would also wake the acceptor. But that would close the socket for every process that shares it, so
    /// it is done only after `MAX_WAKE_UPS` attempts.
    pub(super) fn wake_accept(&self) -> bool {
        if self.done.is_set() {
            return false;
        }
        // Connecting may never succeed: the path of a Unix socket may have been removed, or belong to another socket.
        if self.wake_ups.fetch_add(1, Ordering::Relaxed) == MAX_WAKE_UPS {
            log::warn!(
                "{self}: accept did not wake up for shutdown after {MAX_WAKE_UPS} attempts; closing the listener"
            );
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
        }
        // Errors are ignored, because this is repeated until the acceptor has ended.
        match &self.address {
            Address::Tcp(address) => {
                let _ = std::net::TcpStream::connect_timeout(&reachable(*address), WAKE_UP_TIMEOUT);
            }
            Address::Unix(path) => {
                let _ = connect_unix(path);
            }
        }
        true
    }
}

impl TryFrom<TcpListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: TcpListener) -> io::Result<Listener> {
        listener.set_nonblocking(false)?;
        let address = Address::Tcp(listener.local_addr()?);
        Ok(Listener::new(listener.into(), address))
    }
}

impl TryFrom<UnixListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: UnixListener) -> io::Result<Listener> {
        listener.set_nonblocking(false)?;
        let path = listener.local_addr()?.as_pathname().map(PathBuf::from);
        let address = Address::Unix(path.unwrap_or_default());
        Ok(Listener::new(listener.into(), address))
    }
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.address {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Connects without blocking. While the backlog is full, a blocking `connect` would wait for an acceptor that may have
/// ended.
fn connect_unix(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

fn peer(address: &SockAddr) -> Peer {
    address.as_socket().map_or(Peer::Unix, Peer::Tcp)
}

/// Returns an address at which the listener can be reached. For a listener on all addresses, this is the loopback
/// address.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        match &mut address {
            SocketAddr::V4(v4) => v4.set_ip(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(v6) => v6.set_ip(Ipv6Addr::LOCALHOST),
        }
    }
    address
}
