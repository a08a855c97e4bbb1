//! [`Listener`]: a listening socket, TCP or unix, and how its acceptor is woken.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::http::Peer;
use crate::server::shutdown::Latch;

/// Connections the kernel keeps for us before `accept`; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Knocks before the listener itself is shut down.
const MOST_KNOCKS: u32 = 50;

/// How long a knock at our own door may take.
const KNOCK: Duration = Duration::from_millis(100);

/// Where a server listens: TCP or a unix socket, bound here or elsewhere.
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
    /// Its acceptor has seen the latch.
    done: Latch,
    /// How often it was knocked at since.
    knocks: AtomicU32,
}

#[derive(Debug)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Listener {
    /// Listens on the first of the addresses that `address` stands for and that can be bound.
    ///
    /// # Errors
    /// None of them can be bound.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Listener> {
        let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the address stands for none");
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
        // A restarted server must not wait for the last one's connections to leave TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from(socket).try_into()
    }

    fn new(socket: Socket, address: Address) -> Listener {
        Listener {
            socket,
            address,
            done: Latch::new(),
            knocks: AtomicU32::new(0),
        }
    }

    pub(crate) fn tcp_address(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        }
    }

    /// Only this machine can reach it.
    pub(crate) fn is_loopback(&self) -> bool {
        self.tcp_address()
            .is_none_or(|address| address.ip().is_loopback())
    }

    /// # Blocking
    /// Woken by a client, or by [`wake`](Self::wake).
    pub(super) fn accept(&self) -> io::Result<(Socket, Peer)> {
        let (socket, address) = self.socket.accept()?;
        Ok((socket, peer(&address)))
    }

    /// Its acceptor has left.
    pub(super) fn done(&self) {
        self.done.set();
    }

    /// # Blocking
    /// For as long, woken when its acceptor leaves.
    pub(super) fn wait_until_done(&self, most: Duration) {
        self.done.wait(most);
    }

    /// Wakes the acceptor with a connection from ourselves, and says whether it still has to be woken. (`shutdown` on
    /// the listener would wake it too, and kill it for every process that shares it: so it is the last resort.)
    pub(super) fn wake(&self) -> bool {
        if self.done.is_set() {
            return false;
        }
        // The socket's path may be gone, or another's by now, and then nobody is ever there to hear.
        if self.knocks.fetch_add(1, Ordering::Relaxed) == MOST_KNOCKS {
            log::warn!("{self} does not hear its own knock, and is shut down");
            let _ = self.socket.shutdown(std::net::Shutdown::Both);
        }
        // Failing is no harm: it is tried again until the acceptor has answered.
        match &self.address {
            Address::Tcp(address) => {
                let _ = std::net::TcpStream::connect_timeout(&reachable(*address), KNOCK);
            }
            Address::Unix(path) => {
                let _ = knock(path);
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

/// Connects without waiting: while the backlog is full `connect` would wait for an acceptor that may have left already.
fn knock(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

fn peer(address: &SockAddr) -> Peer {
    address.as_socket().map_or(Peer::Unix, Peer::Tcp)
}

/// Listening on every address is reached on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        match &mut address {
            SocketAddr::V4(v4) => v4.set_ip(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(v6) => v6.set_ip(Ipv6Addr::LOCALHOST),
        }
    }
    address
}
