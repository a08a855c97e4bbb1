//! [`TlsConnection`]: a connection to a Redis server with TLS, for `rediss://`.
//!
//! The TLS of the crate `redis` is not used. It would install a crypto provider for the whole process, and it would read the
//! authorities of the system for each connection. One thread uses a connection, so the session has no lock.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::{ConnectionAddr, ConnectionInfo, Parser, RedisResult, Value};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::SockRef;

use super::candidate::keepalive;
use crate::escape::escaped;

/// The shortest time limit of a read. A limit of zero would mean none, and what has arrived already is always read.
const SHORTEST: Duration = Duration::from_millis(1);

pub(super) struct TlsConnection {
    socket: TlsSocket,
    parser: Parser,
}

impl TlsConnection {
    /// Connects, and runs the TLS handshake. The server has to show a certificate for the host of the URL.
    ///
    /// # Blocking
    /// Up to the timeout. The resolution of a host name has the time limits of the system.
    pub(super) fn open(
        info: &ConnectionInfo,
        config: &Arc<ClientConfig>,
        timeout: Duration,
    ) -> io::Result<TlsConnection> {
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(refused("a unix socket has none"));
        };
        let name = ServerName::try_from(host.clone()).map_err(refused)?;
        let session = ClientConnection::new(Arc::clone(config), name).map_err(refused)?;
        let deadline = Instant::now() + timeout;
        let stream = connect(host, *port, deadline)?;
        let mut socket = TlsSocket {
            stream,
            session,
            deadline: Some(deadline),
        };
        socket.set_options(timeout)?;
        socket.handshake()?;
        Ok(TlsConnection {
            socket,
            parser: Parser::new(),
        })
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes)
    }

    /// Receives the next value. An error reply is a value.
    pub(super) fn receive(&mut self) -> RedisResult<Value> {
        self.parser.parse_value(&mut self.socket)
    }

    /// Limits the calls of [`receive`](Self::receive) together.
    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.socket.deadline = Some(deadline);
    }

    /// Limits each wait of [`receive`](Self::receive).
    pub(super) fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.socket.deadline = None;
        self.socket.stream.set_read_timeout(Some(timeout))
    }
}

fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now());
        match TcpStream::connect_timeout(&address, left.max(SHORTEST)) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The text of some errors contains names from the certificate.
fn refused(error: impl fmt::Display) -> io::Error {
    let text = format!("TLS: {}", escaped(&error.to_string()));
    io::Error::new(ErrorKind::InvalidData, text)
}

/// The plaintext of a session.
struct TlsSocket {
    stream: TcpStream,
    session: ClientConnection,
    /// `None` if the socket's own time limit applies to each read.
    deadline: Option<Instant>,
}

impl TlsSocket {
    fn set_options(&self, timeout: Duration) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.set_write_timeout(Some(timeout))?;
        SockRef::from(&self.stream).set_tcp_keepalive(&keepalive())
    }

    fn handshake(&mut self) -> io::Result<()> {
        loop {
            self.write_records()?;
            if !self.session.is_handshaking() {
                return Ok(());
            }
            if self.read_records()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if self
                .deadline
                .is_some_and(|deadline| Instant::now() > deadline)
            {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // Accepts a part only, because the session limits what it buffers.
            let accepted = self.session.writer().write(bytes)?;
            bytes = &bytes[accepted..];
            self.write_records()?;
        }
        Ok(())
    }

    /// Writes all records that the session has made.
    fn write_records(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.stream) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what has arrived, and opens its records. Returns 0 at the end of the stream.
    fn read_records(&mut self) -> io::Result<usize> {
        let read = self.wait_and_read()?;
        if let Err(error) = self.session.process_new_packets() {
            // The alert. The reason is more useful than an error of this write.
            let _ = self.write_records();
            return Err(refused(error));
        }
        Ok(read)
    }

    fn wait_and_read(&mut self) -> io::Result<usize> {
        loop {
            if let Some(deadline) = self.deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                self.stream.set_read_timeout(Some(left.max(SHORTEST)))?;
            }
            match self.session.read_tls(&mut self.stream) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Read for TlsSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            self.read_records()?;
            // The answer to a key update.
            self.write_records()?;
        }
    }
}
