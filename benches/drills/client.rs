//! [`Client`]: a WebSocket client on a raw socket, which sends whatever a drill asks for.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use standpipe::rustls::SupportedProtocolVersion;

use crate::Failure;
use crate::frame::{Got, Input, PONG, TEXT, frame};
use crate::stream::Stream;
use crate::target::Target;

/// The longest wait for the server. A server that takes longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the request for an upgrade.
pub(crate) fn head(address: Target, path: &str) -> String {
    let host = address.at;
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

fn connect(socket: Socket, address: SocketAddr) -> io::Result<TcpStream> {
    socket.connect(&address.into())?;
    socket.set_tcp_nodelay(true)?;
    // A TLS handshake reads, too.
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(TcpStream::from(socket))
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Eof,
    /// ECONNRESET, or EPIPE after it.
    Reset,
}

pub(crate) struct Client {
    stream: Stream,
    input: Input,
    /// The port of this side, by which the server's log and its pages name this client.
    pub(crate) port: u16,
}

impl Client {
    /// Opens a TCP connection, and performs the TLS handshake if the target speaks TLS.
    pub(crate) fn open(address: Target) -> Result<Client, Failure> {
        Client::with(Socket::new(Domain::IPV4, Type::STREAM, None)?, address)
    }

    /// Like [`open`](Self::open), from this address. Each address has its own ports.
    pub(crate) fn open_from(from: Ipv4Addr, address: Target) -> Result<Client, Failure> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        Client::with(socket, address)
    }

    /// Like [`open`](Self::open), with this `SO_RCVBUF`. The small window of a client that reads slowly is full soon.
    pub(crate) fn open_narrow(rcvbuf: usize, address: Target) -> Result<Client, Failure> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(rcvbuf)?;
        Client::with(socket, address)
    }

    /// Opens a TCP connection without TLS, whatever the target speaks.
    pub(crate) fn open_plain(from: Ipv4Addr, address: Target) -> Result<Client, Failure> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        Client::over(Stream::plain(connect(socket, address.at)?))
    }

    /// Opens a connection with this version of TLS.
    pub(crate) fn open_version(
        version: &'static SupportedProtocolVersion,
        address: Target,
    ) -> Result<Client, Failure> {
        let tcp = connect(Socket::new(Domain::IPV4, Type::STREAM, None)?, address.at)?;
        Client::over(Stream::secure_version(tcp, version)?)
    }

    fn with(socket: Socket, address: Target) -> Result<Client, Failure> {
        let tcp = connect(socket, address.at)?;
        Client::over(if address.is_secure {
            Stream::secure(tcp)?
        } else {
            Stream::plain(tcp)
        })
    }

    fn over(stream: Stream) -> Result<Client, Failure> {
        Ok(Client {
            port: stream.tcp.local_addr()?.port(),
            stream,
            input: Input::default(),
        })
    }

    /// Connects and performs the opening handshake, which must be answered with 101.
    pub(crate) fn connect(address: Target, path: &str) -> Result<Client, Failure> {
        let mut client = Client::open(address)?;
        client.upgrade(address, path)?;
        Ok(client)
    }

    pub(crate) fn upgrade(&mut self, address: Target, path: &str) -> Result<(), Failure> {
        self.bytes(head(address, path).as_bytes())?;
        let answer = self.answer()?;
        if answer.starts_with("HTTP/1.1 101") {
            Ok(())
        } else {
            Err(format!(
                "expected 101, got {}",
                answer.lines().next().unwrap_or("nothing")
            ))?
        }
    }

    /// Waits for the head of the answer and returns it.
    pub(crate) fn answer(&mut self) -> Result<String, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(head) = self.input.take_head() {
                return Ok(head);
            }
            if self.fill(deadline)? == 0 {
                return Err("the server ended the connection before its answer".into());
            }
        }
    }

    /// Waits for the end of the connection and returns what arrived before it as text.
    pub(crate) fn rest(&mut self) -> Result<String, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while self.fill(deadline)? > 0 {}
        Ok(self.input.take_text())
    }

    /// Sends these bytes without checking them.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends these bytes below TLS.
    pub(crate) fn raw_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.tcp.write_all(bytes)
    }

    pub(crate) fn send(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        self.bytes(&frame(first, payload))
    }

    /// Sends the bytes that the kernel accepts without blocking, and returns their number. Needs
    /// [`unblock`](Self::unblock).
    pub(crate) fn try_bytes(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// Waits for the next message and answers pings.
    pub(crate) fn message(&mut self) -> Result<Vec<u8>, Failure> {
        match self.next()? {
            Some(Got::Message(message)) => Ok(message),
            Some(Got::Close(code)) => Err(format!("the server closed with {code}"))?,
            other => Err(format!("expected a message, got {other:?}"))?,
        }
    }

    /// Waits for the next message or Close and answers pings. Returns `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Result<Option<Got>, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.input.take() {
                Some(Got::Ping(payload)) => self.send(PONG, &payload)?,
                Some(Got::Pong) => {}
                Some(got) => return Ok(Some(got)),
                None if self.fill(deadline)? == 0 => return Ok(None),
                None => {}
            }
        }
    }

    /// Sends a text and waits until it comes back.
    pub(crate) fn echo(&mut self, text: &str) -> Result<(), Failure> {
        self.send(TEXT, text.as_bytes())?;
        self.expect(text)
    }

    pub(crate) fn expect(&mut self, text: &str) -> Result<(), Failure> {
        let back = self.message()?;
        if back == text.as_bytes() {
            Ok(())
        } else {
            Err(format!("expected {text:?}, got {} other bytes", back.len()))?
        }
    }

    /// Performs a closing handshake that this client starts.
    pub(crate) fn close(mut self) -> Result<(), Failure> {
        self.bytes(&crate::frame::close(1000))?;
        loop {
            match self.next()? {
                Some(Got::Close(1000)) => return Ok(()),
                Some(Got::Message(_)) => {}
                other => Err(format!("expected a Close with 1000, got {other:?}"))?,
            }
        }
    }

    fn fill(&mut self, deadline: Instant) -> Result<usize, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.stream
            .tcp
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(read) => {
                    self.input.add(&buffer[..read]);
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    Err(format!("the server has not answered for {PATIENCE:?}"))?;
                }
                Err(error) => Err(error)?,
            }
        }
    }

    /// Makes the socket non-blocking. Afterwards only [`read_available`](Self::read_available) and
    /// [`try_bytes`](Self::try_bytes) may be used.
    pub(crate) fn unblock(&self) -> io::Result<()> {
        self.stream.tcp.set_nonblocking(true)
    }

    /// Reads up to `limit` bytes without blocking and passes each frame to `got`. Returns how the connection ended, if
    /// it has.
    pub(crate) fn read_available(&mut self, limit: usize, mut got: impl FnMut(Got)) -> Option<End> {
        let mut buffer = [0; 16 << 10];
        let mut read = 0;
        while read < limit {
            let part = buffer.len().min(limit - read);
            match self.stream.read(&mut buffer[..part]) {
                Ok(0) => return Some(End::Eof),
                Ok(n) => {
                    read += n;
                    self.input.add(&buffer[..n]);
                    while let Some(frame) = self.input.take() {
                        got(frame);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => return Some(End::Reset),
            }
        }
        None
    }

    /// Like [`read_available`](Self::read_available), for a blocking socket: waits up to a millisecond.
    pub(crate) fn read_briefly(
        &mut self,
        limit: usize,
        got: impl FnMut(Got),
    ) -> io::Result<Option<End>> {
        self.stream
            .tcp
            .set_read_timeout(Some(Duration::from_millis(1)))?;
        Ok(self.read_available(limit, got))
    }

    /// Returns whether a reset has arrived, without reading.
    pub(crate) fn was_reset(&self) -> bool {
        !matches!(self.stream.tcp.take_error(), Ok(None))
    }

    /// Asks both sides of a TLS session to change their keys, with the next record.
    pub(crate) fn update_keys(&mut self) -> Result<(), Failure> {
        self.stream.update_keys()
    }

    /// Returns a second handle to the socket, for a thread that only writes. Not for TLS.
    pub(crate) fn write_handle(&self) -> io::Result<TcpStream> {
        self.stream.tcp.try_clone()
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        // An error means that the connection has already ended.
        let _ = SockRef::from(&self.stream.tcp).set_linger(Some(Duration::ZERO));
    }

    /// Shuts down the sending side. The client can still read.
    pub(crate) fn end(&self) {
        let _ = self.stream.tcp.shutdown(Shutdown::Write);
    }
}
