//! [`ListeningSocket`]: a listening socket, TCP or Unix, from its binding to its end.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::arrived::Arrived;
use super::socket_path::SocketPath;

/// How many connections may wait for `accept` in the kernel. The kernel limits this to `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// How long a TCP handshake may take that had begun when the server stopped accepting. Newcomers are ignored meanwhile, so
/// it is short.
const LAST_HANDSHAKE: Duration = Duration::from_millis(20);

/// A listening socket that does not block.
#[derive(Debug)]
pub(super) struct ListeningSocket {
    /// The path that this listener bound. The field stands first, because the path must be removed before the socket is
    /// closed: until then, no other file can have its inode number.
    path: Option<SocketPath>,
    socket: Socket,
    address: Address,
    owner: Owner,
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

impl ListeningSocket {
    pub(super) fn bind(address: SocketAddr) -> io::Result<ListeningSocket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // Otherwise, a restarted server could not bind the address until the connections of its predecessor have left
        // TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let mut listening = ListeningSocket::of_tcp(TcpListener::from(socket))?;
        listening.owner = Owner::Bound;
        Ok(listening)
    }

    pub(super) fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<ListeningSocket> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let bound = SocketPath::bind(&socket, path, mode, || socket.listen(BACKLOG))?;
        Ok(ListeningSocket {
            path: Some(bound),
            socket,
            address: Address::Unix(path.into()),
            owner: Owner::Bound,
        })
    }

    /// Takes over a listener of the program.
    pub(super) fn of_tcp(listener: TcpListener) -> io::Result<ListeningSocket> {
        listener.set_nonblocking(true)?;
        let address = Address::Tcp(listener.local_addr()?);
        Ok(ListeningSocket {
            path: None,
            socket: listener.into(),
            address,
            owner: Owner::Program,
        })
    }

    /// As [`of_tcp`](Self::of_tcp). The path of the socket is not removed, because the program has bound it.
    pub(super) fn of_unix(listener: UnixListener) -> io::Result<ListeningSocket> {
        listener.set_nonblocking(true)?;
        let path = listener.local_addr()?.as_pathname().map(PathBuf::from);
        Ok(ListeningSocket {
            path: None,
            socket: listener.into(),
            address: Address::Unix(path.unwrap_or_default()),
            owner: Owner::Program,
        })
    }

    /// Says that another process goes on with the socket.
    pub(super) fn set_inherited(&mut self) {
        self.owner = Owner::OtherProcess;
    }

    pub(super) fn is_inherited(&self) -> bool {
        self.owner == Owner::OtherProcess
    }

    /// Returns the address of a TCP socket.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        match self.address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        }
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
    pub(super) fn accept(&self) -> io::Result<Arrived> {
        let (socket, address) = self.socket.accept()?;
        // Elsewhere, an accepted socket does not block either if its listener does not.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        socket.set_nonblocking(false)?;
        Ok(Arrived::new(socket, &address, Vec::new()))
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
    /// As [`Listener::unix`](super::Listener::unix).
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

impl fmt::Display for ListeningSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
