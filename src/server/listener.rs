//! [`Listener`]: a listening socket, TCP or Unix, from its binding to its end.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use super::socket_path::SocketPath;
use crate::http1::{Arrival, Peer};

/// How many connections may wait for `accept` in the kernel. The kernel limits this to `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// How long a TCP handshake may take that had begun when the server stopped accepting. Newcomers are ignored meanwhile, so
/// it is short.
const LAST_HANDSHAKE: Duration = Duration::from_millis(20);

/// A listening socket of a server, TCP or Unix. [`bind`](Self::bind) and [`unix`](Self::unix) make one, and std's
/// listeners can be converted. The socket does not block.
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
#[derive(Debug)]
pub struct Listener {
    /// The path that this listener bound. The field stands first, because the path must be removed before the socket is
    /// closed: until then, no other file can have its inode number.
    path: Option<SocketPath>,
    socket: Socket,
    address: Address,
    owner: Owner,
    /// What requests are judged by.
    arrival: Arc<Arrival>,
}

#[derive(Debug)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// Made here: no other process has it.
    Bound,
    /// Made by the program that uses the library.
    Program,
    /// Another process has it too, and goes on with it.
    OtherProcess,
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
        let mut listener = Listener::try_from(TcpListener::from(socket))?;
        listener.owner = Owner::Bound;
        Ok(listener)
    }

    /// Listens on a unix socket at `path`. A socket that no process listens on any more is replaced.
    ///
    /// The path is removed when the listener ends, unless another socket stands there by then.
    ///
    /// # Blocking
    /// Waits up to one second while another process that uses this library binds or removes a path in the same
    /// directory.
    ///
    /// # Errors
    /// Fails with `AddrInUse` if a process listens on the path, or if something other than a socket stands there.
    pub fn unix(path: impl AsRef<Path>) -> io::Result<Listener> {
        Listener::bind_unix(path.as_ref(), None)
    }

    /// Like [`unix`](Self::unix), but also sets the permissions of the path, such as `0o660`. They are in force before
    /// a client can connect. Without them, the umask of the process decides.
    ///
    /// # Blocking
    /// As [`unix`](Self::unix).
    ///
    /// # Errors
    /// As [`unix`](Self::unix), and if the permissions cannot be set.
    pub fn unix_with_mode(path: impl AsRef<Path>, mode: u32) -> io::Result<Listener> {
        Listener::bind_unix(path.as_ref(), Some(mode))
    }

    fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<Listener> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let bound = SocketPath::bind(&socket, path, mode, || socket.listen(BACKLOG))?;
        let address = Address::Unix(path.into());
        Ok(Listener::new(socket, address, Owner::Bound, Some(bound)))
    }

    /// Says that another process has this socket too: systemd, or the server that comes next. When the server stops
    /// accepting, it then leaves the connections in the backlog to that process.
    ///
    /// Without this call, the server accepts the backlog when it stops, and answers 503.
    ///
    /// ```
    /// use standpipe::Listener;
    /// # let parent = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// // A descriptor of the same socket, as systemd passes one on.
    /// let socket = parent.try_clone()?;
    /// let listener = Listener::try_from(socket)?.inherited();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn inherited(mut self) -> Listener {
        self.owner = Owner::OtherProcess;
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

    fn new(socket: Socket, address: Address, owner: Owner, path: Option<SocketPath>) -> Listener {
        let loopback_tcp =
            matches!(&address, Address::Tcp(tcp) if tcp.ip().to_canonical().is_loopback());
        Listener {
            path,
            socket,
            address,
            owner,
            arrival: Arc::new(Arrival {
                loopback_tcp,
                ..Arrival::default()
            }),
        }
    }

    /// Returns the TCP address of the listener, with the port that the kernel chose. `None` for a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        }
    }

    /// Returns whether only this machine can reach the listener.
    pub(crate) fn is_loopback(&self) -> bool {
        self.arrival.loopback_tcp || self.local_addr().is_none()
    }

    /// Returns what requests that arrive on this listener are judged by.
    pub(super) fn arrival(&self) -> Arc<Arrival> {
        Arc::clone(&self.arrival)
    }

    pub(super) fn is_inherited(&self) -> bool {
        self.owner == Owner::OtherProcess
    }

    /// Waits until a connection can be accepted, or until `wake_up` is at the end of its stream.
    ///
    /// # Blocking
    /// Woken by a client, or when the server stops accepting.
    pub(super) fn wait(&self, wake_up: &UnixStream) -> io::Result<()> {
        let mut descriptors = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::new(wake_up, PollFlags::IN),
        ];
        match poll(&mut descriptors, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Accepts the next connection, or fails with `WouldBlock` if there is none: another process that shares an
    /// inherited socket may have accepted it.
    pub(super) fn accept(&self) -> io::Result<(Socket, Peer)> {
        let (socket, address) = self.socket.accept()?;
        // Elsewhere, an accepted socket does not block either if its listener does not.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        socket.set_nonblocking(false)?;
        Ok((socket, peer(&address)))
    }

    /// Waits for a client whose TCP handshake had begun when the newcomers were turned away. Its last segment may still be
    /// on its way, and closing the socket would reset it. Returns whether a connection can be accepted.
    ///
    /// # Blocking
    /// Waits at most [`LAST_HANDSHAKE`]. Woken by such a client.
    pub(super) fn wait_for_last_handshake(&self) -> bool {
        if self.owner != Owner::Bound {
            return false;
        }
        let limit =
            Timespec::try_from(LAST_HANDSHAKE).expect("a few milliseconds are a valid time");
        let mut descriptors = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut descriptors, Some(&limit)).is_ok_and(|ready| ready > 0)
    }

    /// Turns newcomers away, so that the backlog only shrinks from here. Removes the path that this listener bound.
    ///
    /// # Blocking
    /// As [`unix`](Self::unix).
    pub(super) fn refuse_newcomers(&mut self) {
        self.path = None;
        if self.owner == Owner::Bound {
            ignore_connects(&self.socket);
        }
    }
}

/// Makes the kernel ignore the segments with which clients connect. Otherwise, a client that connects between the last
/// `accept` and the closing of the socket would be reset. A client whose segment is ignored repeats it after a second.
/// By then, either the port is closed, or a successor listens on it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn ignore_connects(socket: &Socket) {
    use socket2::SockFilter;

    if socket
        .local_addr()
        .is_ok_and(|address| address.as_socket().is_none())
    {
        return;
    }
    // A classic BPF program. Byte 13 of a TCP header has the flags; a connect has SYN and no ACK.
    let (load_byte, mask, jump_if_equal, end) = (0x30, 0x54, 0x15, 0x06);
    let (syn, syn_and_ack) = (0x02, 0x12);
    let filter = [
        SockFilter::new(load_byte, 0, 0, 13),
        SockFilter::new(mask, 0, 0, syn_and_ack),
        SockFilter::new(jump_if_equal, 0, 1, syn),
        SockFilter::new(end, 0, 0, 0),
        SockFilter::new(end, 0, 0, u32::MAX),
    ];
    if let Err(error) = socket.attach_filter(&filter) {
        log::debug!("could not attach a filter to a listener that is closing: {error}");
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn ignore_connects(_: &Socket) {}

/// The connections in the backlog are answered 503 when the server stops, because the program is expected to have
/// bound the listener itself. See [`Listener::inherited`].
impl TryFrom<TcpListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: TcpListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        let address = Address::Tcp(listener.local_addr()?);
        Ok(Listener::new(
            listener.into(),
            address,
            Owner::Program,
            None,
        ))
    }
}

/// As for a [`TcpListener`]. The path of the socket is not removed, because the program has bound it.
impl TryFrom<UnixListener> for Listener {
    type Error = io::Error;

    fn try_from(listener: UnixListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        let path = listener.local_addr()?.as_pathname().map(PathBuf::from);
        let address = Address::Unix(path.unwrap_or_default());
        Ok(Listener::new(
            listener.into(),
            address,
            Owner::Program,
            None,
        ))
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

fn peer(address: &SockAddr) -> Peer {
    address.as_socket().map_or(Peer::Unix, Peer::Tcp)
}
