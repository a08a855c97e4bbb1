//! [`Stream`]: the connection of a command to a server, over TCP or a unix socket, with TLS or without.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::Socket;

use super::secure::TlsSession;

/// A connection. Its clones are the same connection: one thread may read while another one writes. Each waits for the
/// socket without a lock.
#[derive(Clone, Debug)]
pub(crate) struct Stream(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    socket: Socket,
    tls: Option<TlsSession>,
}

impl Stream {
    /// Takes a connected socket that waits, and the session on it if there is one.
    pub(crate) fn new(socket: Socket, tls: Option<TlsSession>) -> Stream {
        Stream(Arc::new(Parts { socket, tls }))
    }

    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.0.socket.local_addr().ok()?.as_socket()
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.socket.set_read_timeout(timeout)
    }

    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.socket.set_write_timeout(timeout)
    }

    /// Ends both directions, and wakes the threads that wait for the socket. With TLS, the server is told before, unless
    /// another thread writes just now.
    pub(crate) fn shutdown(&self) {
        self.0.shutdown();
    }

    /// Returns whether a read returns without waiting, although the socket may have nothing: TLS has received it before.
    pub(crate) fn has_data(&self) -> bool {
        let tls = self.0.tls.as_ref();
        tls.is_some_and(|tls| tls.has_data(&self.0.socket))
    }

    /// Reads what has arrived at the socket, which [`as_fd`](Self::as_fd) has shown. Returns whether a read returns without
    /// waiting. With TLS, a part of a record is not enough.
    pub(crate) fn has_arrived(&self) -> bool {
        let tls = self.0.tls.as_ref();
        tls.is_none_or(|tls| tls.has_arrived(&self.0.socket))
    }

    /// Returns whether the server has sent nothing that is unread, and has not ended the stream.
    pub(crate) fn is_quiet(&self) -> bool {
        match &self.0.tls {
            Some(tls) => !tls.has_arrived(&self.0.socket),
            None => {
                let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
                let peeked = recv(&self.0.socket, &mut [0; 1], flags);
                matches!(peeked, Err(Errno::WOULDBLOCK))
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

impl From<std::net::TcpStream> for Stream {
    fn from(socket: std::net::TcpStream) -> Stream {
        Stream::new(socket.into(), None)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.0.tls {
            Some(tls) => tls.read(&self.0.socket, buffer),
            None => (&self.0.socket).read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0.tls {
            Some(tls) => tls.write(&self.0.socket, bytes),
            None => (&self.0.socket).write(bytes),
        }
    }

    /// Does nothing: `write` returns when the socket has accepted the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Parts {
    fn shutdown(&self) {
        if let Some(tls) = &self.tls {
            tls.send_close_notify(&self.socket);
        }
        // This fails if the connection has ended already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if let Some(tls) = &self.tls {
            tls.send_close_notify(&self.socket);
        }
    }
}
