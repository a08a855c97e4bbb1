//! [`ConnectionSender`]: hands accepted connections to a server. Its acceptor takes them out of the queue in
//! `handed_queue.rs`.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Socket, Type};

use super::arrived::Arrived;
use super::handed_queue::{HandedConnections, HandedQueue, NotQueued};

/// Hands connections that were accepted elsewhere to a server: the sending end of
/// [`Listener::channel`](crate::Listener::channel). It can be cloned, and used on any thread.
///
/// Each method takes a stream socket, such as a [`TcpStream`](std::net::TcpStream) or a
/// [`UnixStream`](std::os::unix::net::UnixStream), and the bytes that have been read from it already. These bytes must
/// be the beginning of a request, unchanged; the rest is read from the socket. A program that has only the parsed
/// request writes it again: the request line, the headers, an empty line, and every byte that it has read after that.
/// No other descriptor of the same socket may be used afterwards.
///
/// From then on, the connection is like any other of the server, with all limits of its
/// [`Config`](crate::Config). Its timeouts and its blocking mode are set as the server needs them, and
/// [`handshake_timeout`](crate::Config::handshake_timeout) begins when the server takes the connection out of the
/// channel. The address of the client is the one that the kernel knows.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use standpipe::{Config, Connection, Listener, Server};
///
/// let (connections, listener) = Listener::channel(16);
/// let server = Server::from_listeners(vec![listener], Config::default())?;
/// let handle = server.handle();
/// let running = server.spawn(|conn: &mut Connection| {
///     while let Some(message) = conn.recv()? {
///         conn.send(message)?;
///     }
///     Ok(())
/// })?;
///
/// // The accept loop of the program.
/// let public = TcpListener::bind("127.0.0.1:0")?;
/// # let client = TcpStream::connect(public.local_addr()?)?;
/// let (socket, _) = public.accept()?;
/// if let Err(refused) = connections.try_send(socket, Vec::new()) {
///     eprintln!("not handed over: {refused}"); // `refused.socket` is the socket.
/// }
/// # drop(client);
/// handle.shutdown();
/// running.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ConnectionSender {
    queue: Arc<HandedQueue>,
}

impl ConnectionSender {
    /// Returns both ends of a new queue.
    pub(super) fn channel(capacity: usize) -> (ConnectionSender, HandedConnections) {
        let (queue, connections) = HandedQueue::channel(capacity);
        (ConnectionSender { queue }, connections)
    }

    fn push(&self, arrived: Arrived, limit: Option<Duration>) -> Result<(), HandOverError> {
        let pushed = self.queue.push(arrived, limit);
        pushed.map_err(|(arrived, why)| HandOverError {
            socket: arrived.socket.into(),
            bytes: arrived.ahead,
            reason: match why {
                NotQueued::Full => HandOverReason::Full,
                NotQueued::Ended => HandOverReason::Ended,
            },
        })
    }

    /// Hands a connection over, and waits while the channel is full.
    ///
    /// ```
    /// use std::os::unix::net::UnixStream;
    /// use standpipe::Listener;
    ///
    /// let (connections, listener) = Listener::channel(1);
    /// let (ours, theirs) = UnixStream::pair()?;
    /// connections.send(ours, "GET /ws HTTP/1.1\r\n")?;
    ///
    /// drop(listener);
    /// let refused = connections.send(theirs, "GET").expect_err("there is no listener");
    /// assert_eq!(refused.bytes, b"GET");
    /// let theirs = UnixStream::from(refused.socket);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    /// Waits for room in the channel. Woken by the acceptor, which never waits for a client, or by its end.
    ///
    /// # Errors
    /// [`HandOverError`] returns the socket and the bytes if the server does not accept connections any more, or if the
    /// socket is not a connected stream socket.
    pub fn send(
        &self,
        socket: impl Into<OwnedFd>,
        already_read: impl Into<Vec<u8>>,
    ) -> Result<(), HandOverError> {
        self.push(check(socket.into(), already_read.into())?, None)
    }

    /// Like [`send`](Self::send), but waits for room for at most `limit`.
    ///
    /// ```
    /// # use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    /// use standpipe::{HandOverReason, Listener};
    ///
    /// let (connections, _listener) = Listener::channel(1);
    /// # let (first, second) = UnixStream::pair()?;
    /// connections.send(first, Vec::new())?;
    /// let sent = connections.send_timeout(second, Vec::new(), Duration::from_millis(1));
    /// assert!(matches!(sent.expect_err("no server runs").reason, HandOverReason::Full));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    /// As [`send`](Self::send), for at most `limit`.
    ///
    /// # Errors
    /// As [`send`](Self::send), and if the channel was full for the whole time.
    pub fn send_timeout(
        &self,
        socket: impl Into<OwnedFd>,
        already_read: impl Into<Vec<u8>>,
        limit: Duration,
    ) -> Result<(), HandOverError> {
        let arrived = check(socket.into(), already_read.into())?;
        self.push(arrived, Some(limit))
    }

    /// Hands a connection over if the channel has room, and never waits.
    ///
    /// ```
    /// # use std::os::unix::net::UnixStream;
    /// use standpipe::{HandOverReason, Listener};
    ///
    /// let (connections, _listener) = Listener::channel(1);
    /// # let (first, second) = UnixStream::pair()?;
    /// connections.try_send(first, Vec::new())?;
    /// let full = connections.try_send(second, Vec::new()).expect_err("there was room for one");
    /// assert!(matches!(full.reason, HandOverReason::Full));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`send`](Self::send), and if the channel is full.
    pub fn try_send(
        &self,
        socket: impl Into<OwnedFd>,
        already_read: impl Into<Vec<u8>>,
    ) -> Result<(), HandOverError> {
        let arrived = check(socket.into(), already_read.into())?;
        self.push(arrived, Some(Duration::ZERO))
    }
}

impl fmt::Debug for ConnectionSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSender")
            .field("capacity", &self.queue.capacity())
            .finish_non_exhaustive()
    }
}

/// The connection that a [`ConnectionSender`] did not hand over, and why. The socket is as it was.
///
/// ```
/// use standpipe::{HandOverReason, Listener};
///
/// let (connections, _listener) = Listener::channel(1);
/// let file = std::fs::File::open("/dev/null")?;
/// let refused = connections.send(file, "GET / HTTP/1.1\r\n").expect_err("a file is no socket");
/// assert!(matches!(refused.reason, HandOverReason::NotConnected(_)));
/// let file = std::fs::File::from(refused.socket);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(thiserror::Error)]
#[error("the connection was not handed over: {reason}")]
pub struct HandOverError {
    /// The socket.
    pub socket: OwnedFd,
    /// The bytes that had been read from it.
    pub bytes: Vec<u8>,
    /// Why the connection was not handed over.
    pub reason: HandOverReason,
}

/// Why a [`ConnectionSender`] did not hand a connection over.
///
/// ```
/// use standpipe::HandOverReason;
///
/// assert_eq!(HandOverReason::Full.to_string(), "the channel of the listener is full");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverReason {
    /// The channel had no room. The server does not take connections out as fast as they are handed over.
    #[error("the channel of the listener is full")]
    Full,
    /// The server does not accept connections any more.
    #[error("the server does not accept connections any more")]
    Ended,
    /// The descriptor is not a connected stream socket, TCP or Unix. The peer may have reset the connection meanwhile.
    #[error("not a connected stream socket, TCP or Unix: {0}")]
    NotConnected(io::Error),
}

// The bytes may contain a token, so only their number is shown.
impl fmt::Debug for HandOverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandOverError")
            .field("socket", &self.socket)
            .field("bytes", &self.bytes.len())
            .field("reason", &self.reason)
            .finish()
    }
}

/// Checks that the server can use the descriptor, and changes nothing of it.
fn check(socket: OwnedFd, bytes: Vec<u8>) -> Result<Arrived, HandOverError> {
    let socket = Socket::from(socket);
    let peer = socket.r#type().and_then(|kind| {
        let peer = socket.peer_addr()?;
        if kind == Type::STREAM && (peer.is_unix() || peer.as_socket().is_some()) {
            Ok(peer)
        } else {
            let text = "it is a socket of another kind";
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
    });
    match peer {
        Ok(peer) => Ok(Arrived::new(socket, &peer, bytes)),
        Err(error) => Err(HandOverError {
            socket: socket.into(),
            bytes,
            reason: HandOverReason::NotConnected(error),
        }),
    }
}
