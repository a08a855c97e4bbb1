//! [`Stream`]: the connection of every client in these tests, plain or with TLS. One thread may read while another one
//! writes.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};

use socket2::{Domain, SockAddr, Socket, Type};

use super::deadline::DEADLINE;
#[cfg(feature = "tls")]
use super::tls::Session;

/// How a client connects.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamOptions {
    /// `SO_RCVBUF`, if it is set.
    pub(crate) rcvbuf: Option<usize>,
    /// What is sent before everything else, also before TLS: a PROXY header.
    pub(crate) preamble: Vec<u8>,
    /// The address of this machine from which the client connects, if it is not the usual one.
    pub(crate) from: Option<IpAddr>,
    /// Whether the client speaks clear text to a server that expects TLS.
    pub(crate) in_clear: bool,
    /// Whether the TLS handshake goes on in the first read, for a server that accepts no connections yet. Otherwise it is
    /// complete when the stream exists, or has failed.
    pub(crate) handshake_later: bool,
}

pub(crate) struct Stream {
    socket: Socket,
    #[cfg(feature = "tls")]
    session: Option<Session>,
}

impl Stream {
    /// Connects to a TCP server, and waits for at most [`DEADLINE`] in each read and write.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Stream> {
        Stream::connect_with(&address.into(), &StreamOptions::default())
    }

    pub(crate) fn connect_with(to: &SockAddr, options: &StreamOptions) -> io::Result<Stream> {
        let socket = Socket::new(to.domain(), Type::STREAM, None)?;
        if let Some(bytes) = options.rcvbuf {
            socket.set_recv_buffer_size(bytes)?;
        }
        if to.domain() != Domain::UNIX {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(from) = options.from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        socket.connect(to)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        (&socket).write_all(&options.preamble)?;
        #[cfg(feature = "tls")]
        {
            let address = to.as_socket();
            let address = address.filter(|at| super::mode::has_tls(*at) && !options.in_clear);
            let session = address.map(|at| Session::new(&socket, at, options.handshake_later));
            Ok(Stream { socket, session })
        }
        #[cfg(not(feature = "tls"))]
        Ok(Stream { socket })
    }

    /// Connects without TLS, for a test of TCP itself.
    pub(crate) fn connect_tcp(address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address)
    }

    /// Returns the socket, for what a test asks of TCP itself. With TLS, its bytes are records.
    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Sends as many of these bytes as the kernel accepts without blocking, and returns their number.
    pub(crate) fn send_available(&self, bytes: &[u8]) -> usize {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.session {
            return session.send_available(&self.socket, bytes);
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        self.socket.send_with_flags(bytes, flags).unwrap_or(0)
    }

    /// Ends the client's direction of the stream, with a close_notify if there is a TLS session.
    pub(crate) fn end(&self) {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.session {
            session.end(&self.socket);
        }
        // The server may have closed both directions already.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Returns whether the server's stream ended without the close_notify of its TLS session.
    pub(crate) fn was_cut(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.session.as_ref().is_some_and(Session::was_cut);
        #[cfg(not(feature = "tls"))]
        false
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.session {
            return session.read(&self.socket, buffer);
        }
        (&self.socket).read(buffer)
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.session {
            return session.write(&self.socket, bytes);
        }
        (&self.socket).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
