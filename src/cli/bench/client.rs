//! One client of the benchmark: tungstenite on a blocking socket. tungstenite masks frames and answers pings.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use standpipe::tungstenite::client::client_with_config;
use standpipe::tungstenite::protocol::WebSocketConfig;
use standpipe::tungstenite::{Error, Message, WebSocket};

use crate::cli::secure::Secure;
use crate::cli::stream::Stream;
use crate::cli::url::Url;
use crate::cli::values::STAMP;
use crate::cli::{Failure, refusal};

/// A probe is a message with this time. It is not counted.
pub(super) const PROBE: Duration = Duration::from_nanos(u64::MAX);

/// Timeout for the server's answer to our Close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout of one read. A client may notice the end of the benchmark this much too late.
const READ_TIMEOUT: Duration = Duration::from_millis(50);

/// The result of [`Client::read`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    /// A message arrived. It was sent this long after the start.
    Message(Duration),
    Nothing,
}

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    socket: WebSocket<BufferedSocket>,
}

impl Client {
    pub(super) fn connect(url: &Url, secure: &Secure) -> Result<Client, Failure> {
        let socket = BufferedSocket {
            stream: url.dial(secure, None)?,
            out: Vec::new(),
        };
        // tungstenite passes each frame on immediately, and `BufferedSocket` collects them.
        let config = WebSocketConfig::default()
            .write_buffer_size(0)
            .read_buffer_size(16 << 10);
        let (socket, _) = client_with_config(url.uri.clone(), socket, Some(config))
            .map_err(|error| format!("no WebSocket at {url}: {}", refusal::of_handshake(error)))?;
        socket
            .get_ref()
            .stream
            .set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Client { socket })
    }

    /// Writes a message of `size` bytes that begins with the current time. The message is sent when this client flushes
    /// or next reads.
    pub(super) fn write(&mut self, size: usize, start: Instant) -> Result<(), Failure> {
        let mut payload = vec![b'x'; size];
        let now = u64::try_from(start.elapsed().as_nanos())?;
        payload[..STAMP].copy_from_slice(&now.to_be_bytes());
        self.socket
            .write(Message::binary(payload))
            .map_err(to_failure)
    }

    /// Sends a probe.
    pub(super) fn probe(&mut self) -> Result<(), Failure> {
        let payload = u64::MAX.to_be_bytes().to_vec();
        self.socket
            .write(Message::binary(payload))
            .map_err(to_failure)?;
        self.flush()
    }

    /// Waits up to twice [`READ_TIMEOUT`] for the next message. Returns whether it is a probe.
    pub(super) fn receive_probe(&mut self) -> Result<bool, Failure> {
        let read = self.read(Instant::now() + READ_TIMEOUT)?;
        Ok(matches!(read, Read::Message(PROBE)))
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.socket.flush().map_err(to_failure)
    }

    /// Waits for a message until `end`, or up to [`READ_TIMEOUT`] longer.
    pub(super) fn read(&mut self, end: Instant) -> Result<Read, Failure> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => {
                    let reason = frame.map_or("without a code".into(), |frame| frame.to_string());
                    return Err(format!("closed by the server: {reason}").into());
                }
                Ok(message @ (Message::Binary(_) | Message::Text(_))) => {
                    let stamp = message.into_data().first_chunk().copied();
                    let stamp =
                        stamp.ok_or("received a message that this benchmark did not send")?;
                    return Ok(Read::Message(Duration::from_nanos(u64::from_be_bytes(
                        stamp,
                    ))));
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(to_failure(error)),
            }
            if Instant::now() >= end {
                return Ok(Read::Nothing);
            }
        }
    }

    /// Sends a Close and waits up to [`CLOSE_TIMEOUT`] for the answer. Closing the socket while messages are still
    /// arriving would reset the connection.
    pub(super) fn close(mut self) {
        let end = Instant::now() + CLOSE_TIMEOUT;
        // The measurement is over, so errors no longer matter.
        let _ = self.socket.close(None);
        while let Ok(Read::Message(_)) | Ok(Read::Nothing) = self.read(end) {
            if Instant::now() >= end {
                break;
            }
        }
    }
}

fn to_failure(error: Error) -> Failure {
    match error {
        Error::Io(error) => error.into(),
        error => error.into(),
    }
}

/// A socket that buffers writes and flushes them before each read. So the answers to all messages of one read are sent
/// in one write.
#[derive(Debug)]
struct BufferedSocket {
    stream: Stream,
    out: Vec<u8>,
}

impl io::Read for BufferedSocket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.flush()?;
        io::Read::read(&mut self.stream, buf)
    }
}

impl Write for BufferedSocket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = self.stream.write_all(&self.out);
        self.out.clear();
        // `WouldBlock` is replaced, because `Client::read` would take it for a read timeout.
        written.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::other(
                "the server does not read; perhaps more messages are in flight than the buffers of both sides hold",
            ),
            _ => error,
        })
    }
}
