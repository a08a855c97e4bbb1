//! [`Client`]: a WebSocket client that does what it is told, from a raw socket.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::Failure;
use crate::frame::{Got, Input, PONG, TEXT, frame};

/// Beyond this nothing here is slow, it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The request for an upgrade.
pub(crate) fn head(address: SocketAddr, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Eof,
    /// ECONNRESET, or EPIPE behind it.
    Reset,
}

pub(crate) struct Client {
    stream: TcpStream,
    input: Input,
    /// Our side's port: how the server's log and its page name this client.
    pub(crate) port: u16,
}

impl Client {
    /// TCP alone.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Client> {
        Client::with(Socket::new(Domain::IPV4, Type::STREAM, None)?, address)
    }

    /// TCP alone, from this address: each has ports of its own.
    pub(crate) fn open_from(from: Ipv4Addr, address: SocketAddr) -> io::Result<Client> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        Client::with(socket, address)
    }

    /// TCP alone, with `SO_RCVBUF`: a client that reads slowly is full soon.
    pub(crate) fn open_narrow(rcvbuf: usize, address: SocketAddr) -> io::Result<Client> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(rcvbuf)?;
        Client::with(socket, address)
    }

    fn with(socket: Socket, address: SocketAddr) -> io::Result<Client> {
        socket.connect(&address.into())?;
        socket.set_tcp_nodelay(true)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let stream = TcpStream::from(socket);
        Ok(Client {
            port: stream.local_addr()?.port(),
            stream,
            input: Input::default(),
        })
    }

    /// Through the handshake, which must end in a 101.
    pub(crate) fn connect(address: SocketAddr, path: &str) -> Result<Client, Failure> {
        let mut client = Client::open(address)?;
        client.upgrade(address, path)?;
        Ok(client)
    }

    pub(crate) fn upgrade(&mut self, address: SocketAddr, path: &str) -> Result<(), Failure> {
        self.bytes(head(address, path).as_bytes())?;
        let answer = self.answer()?;
        if answer.starts_with("HTTP/1.1 101") {
            Ok(())
        } else {
            Err(format!(
                "no 101 but {}",
                answer.lines().next().unwrap_or("nothing")
            ))?
        }
    }

    /// Waits for the head of the answer.
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

    /// Waits for the end of the connection, and gives what came before it as text.
    pub(crate) fn rest(&mut self) -> Result<String, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while self.fill(deadline)? > 0 {}
        Ok(self.input.take_text())
    }

    /// Sends these bytes, whatever they mean.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn send(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        self.bytes(&frame(first, payload))
    }

    /// Sends what the kernel takes of these bytes. Of a client that does not block.
    pub(crate) fn try_bytes(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// Waits for the next message, answering pings.
    pub(crate) fn message(&mut self) -> Result<Vec<u8>, Failure> {
        match self.next()? {
            Some(Got::Message(message)) => Ok(message),
            Some(Got::Close(code)) => Err(format!("it was closed with {code}"))?,
            other => Err(format!("no message but {other:?}"))?,
        }
    }

    /// Waits for the next message or Close, answering pings. `None` is the end of the stream.
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

    /// Sends a text and waits for it to come back.
    pub(crate) fn echo(&mut self, text: &str) -> Result<(), Failure> {
        self.send(TEXT, text.as_bytes())?;
        self.expect(text)
    }

    pub(crate) fn expect(&mut self, text: &str) -> Result<(), Failure> {
        let back = self.message()?;
        if back == text.as_bytes() {
            Ok(())
        } else {
            Err(format!("sent {text:?}, got {} other bytes", back.len()))?
        }
    }

    /// A closing handshake, from our side.
    pub(crate) fn close(mut self) -> Result<(), Failure> {
        self.bytes(&crate::frame::close(1000))?;
        loop {
            match self.next()? {
                Some(Got::Close(1000)) => return Ok(()),
                Some(Got::Message(_)) => {}
                other => Err(format!("no Close with 1000 but {other:?}"))?,
            }
        }
    }

    fn fill(&mut self, deadline: Instant) -> Result<usize, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let mut room = [0; 16 << 10];
        loop {
            match self.stream.read(&mut room) {
                Ok(read) => {
                    self.input.add(&room[..read]);
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

    /// From here on nothing waits: `look` and `try_bytes` are what remains.
    pub(crate) fn unblock(&self) -> io::Result<()> {
        self.stream.set_nonblocking(true)
    }

    /// Reads at most `most` bytes of what is there, without waiting, hands over the frames and tells the end.
    pub(crate) fn look(&mut self, most: usize, mut got: impl FnMut(Got)) -> Option<End> {
        let mut room = [0; 16 << 10];
        let mut read = 0;
        while read < most {
            let part = room.len().min(most - read);
            match self.stream.read(&mut room[..part]) {
                Ok(0) => return Some(End::Eof),
                Ok(n) => {
                    read += n;
                    self.input.add(&room[..n]);
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

    /// As [`look`](Self::look), of a client that blocks: waits for a moment at most.
    pub(crate) fn glance(&mut self, most: usize, got: impl FnMut(Got)) -> io::Result<Option<End>> {
        self.stream
            .set_read_timeout(Some(Duration::from_millis(1)))?;
        Ok(self.look(most, got))
    }

    /// Whether a reset has come, without reading.
    pub(crate) fn was_reset(&self) -> bool {
        !matches!(self.stream.take_error(), Ok(None))
    }

    /// The other half, for a thread that only writes.
    pub(crate) fn pen(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }

    /// Gone, by a reset.
    pub(crate) fn reset(self) {
        // Failing means that it is gone already.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Ends our side; what still comes can be read.
    pub(crate) fn end(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}
