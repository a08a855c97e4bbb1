//! One client of the load: a blocking socket under tungstenite, which masks, and answers pings.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use standpipe::tungstenite::client::client_with_config;
use standpipe::tungstenite::protocol::WebSocketConfig;
use standpipe::tungstenite::{Error, Message, WebSocket};

use crate::cli::Failure;
use crate::cli::url::Url;
use crate::cli::values::STAMP;

/// The time in a message that is none of the load.
pub(super) const PROBE: Duration = Duration::from_nanos(u64::MAX);

/// For the answer to our Close.
const FAREWELL: Duration = Duration::from_secs(1);
/// How late a client sees that its time is over.
const LOOK_UP: Duration = Duration::from_millis(50);

/// What came.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    /// A message, and when it was sent.
    Message(Duration),
    Nothing,
}

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    socket: WebSocket<Socket>,
}

impl Client {
    pub(super) fn connect(url: &Url) -> Result<Client, Failure> {
        Client::over(url.dial(None)?, url)
    }

    fn over(tcp: TcpStream, url: &Url) -> Result<Client, Failure> {
        let socket = Socket {
            tcp,
            out: Vec::new(),
        };
        // What is written goes to the socket's own buffer at once; that one waits.
        let config = WebSocketConfig::default()
            .write_buffer_size(0)
            .read_buffer_size(16 << 10);
        let (socket, _) = client_with_config(url.uri.clone(), socket, Some(config))
            .map_err(|error| format!("no WebSocket at {url}: {error}"))?;
        socket.get_ref().tcp.set_read_timeout(Some(LOOK_UP))?;
        Ok(Client { socket })
    }

    /// Writes a message of `size` bytes, stamped. It leaves when this client flushes or next waits.
    pub(super) fn write(&mut self, size: usize, start: Instant) -> Result<(), Failure> {
        let mut payload = vec![b'x'; size];
        let now = u64::try_from(start.elapsed().as_nanos())?;
        payload[..STAMP].copy_from_slice(&now.to_be_bytes());
        self.socket.write(Message::binary(payload)).map_err(told)
    }

    /// Sends a message that is none of the load.
    pub(super) fn probe(&mut self) -> Result<(), Failure> {
        let payload = u64::MAX.to_be_bytes().to_vec();
        self.socket.write(Message::binary(payload)).map_err(told)?;
        self.flush()
    }

    /// Waits a moment for such a message.
    pub(super) fn hears_a_probe(&mut self) -> Result<bool, Failure> {
        let read = self.read(Instant::now() + LOOK_UP)?;
        Ok(matches!(read, Read::Message(PROBE)))
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.socket.flush().map_err(told)
    }

    /// Waits for a message, no longer than until `end`, give or take a moment.
    pub(super) fn read(&mut self, end: Instant) -> Result<Read, Failure> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => {
                    let why = frame.map_or("without a code".into(), |frame| frame.to_string());
                    return Err(format!("closed by the server: {why}").into());
                }
                Ok(message @ (Message::Binary(_) | Message::Text(_))) => {
                    let stamp = message.into_data().first_chunk().copied();
                    let stamp = stamp.ok_or("a message came that nobody here has sent")?;
                    return Ok(Read::Message(Duration::from_nanos(u64::from_be_bytes(
                        stamp,
                    ))));
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(told(error)),
            }
            if Instant::now() >= end {
                return Ok(Read::Nothing);
            }
        }
    }

    /// Says goodbye, and waits a moment for the answer: what is still on its way would end in a reset.
    pub(super) fn leave(mut self) {
        let end = Instant::now() + FAREWELL;
        // The work is done; whether the server still answers is its own affair.
        let _ = self.socket.close(None);
        while let Ok(Read::Message(_)) | Ok(Read::Nothing) = self.read(end) {
            if Instant::now() >= end {
                break;
            }
        }
    }
}

fn told(error: Error) -> Failure {
    match error {
        Error::Io(error) => error.into(),
        error => error.into(),
    }
}

/// A socket that flushes before it waits: the answers to what came in one read leave in one write.
#[derive(Debug)]
struct Socket {
    tcp: TcpStream,
    out: Vec<u8>,
}

impl io::Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.flush()?;
        io::Read::read(&mut self.tcp, buf)
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = self.tcp.write_all(&self.out);
        self.out.clear();
        // For a read it would mean that nothing has come yet.
        written.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::other(
                "the server does not read; more may be in flight than both sides' buffers hold",
            ),
            _ => error,
        })
    }
}
