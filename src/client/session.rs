//! [`Session`]: the frames of a connected client, how the connection has ended, and the ping that waits for its pong.

use std::io;
use std::time::{Duration, Instant};

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message as Incoming, WebSocket};

use super::builder::ClientBuilder;
use super::socket::ClientSocket;
use crate::connection::PeerClose;
use crate::error::{RecvError, RecvTimeoutError};
use crate::message::Message;

/// The size of a read from the socket, in bytes.
const READ: usize = 16 << 10;

/// The most bytes of pongs that wait while the socket accepts nothing. A pong that has no room is replaced by the next
/// one, which answers earlier pings too (RFC 6455 §5.5.3).
const PONGS: usize = 4 << 10;

/// The longest reason in a Close, in bytes (RFC 6455 §5.5).
const MAX_REASON: usize = 123;

pub(super) struct Session {
    socket: WebSocket<ClientSocket>,
    write_timeout: Duration,
    max_message: usize,
    /// How the connection has ended, if it has.
    end: Option<End>,
    pub(super) peer_close: Option<PeerClose>,
    /// The payload of the latest ping, and the time when it was sent, until its pong arrives.
    pinged: Option<(u64, Instant)>,
    pings: u64,
    pub(super) round_trip: Option<Duration>,
}

/// How a connection has ended. Each further call reports the same.
pub(super) enum End {
    /// Closing handshake.
    Closed,
    Gone,
    Violation(u16, String),
    Failed(io::ErrorKind, String),
}

impl End {
    fn of(error: Error) -> End {
        match error {
            Error::ConnectionClosed | Error::AlreadyClosed => End::Closed,
            Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                End::Gone
            }
            Error::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof => End::Gone,
                kind => End::Failed(kind, error.to_string()),
            },
            Error::Capacity(error) => End::Violation(1009, error.to_string()),
            Error::Utf8(_) => End::Violation(1007, "invalid UTF-8".to_owned()),
            error => End::Violation(1002, error.to_string()),
        }
    }

    /// Returns what a receiving call returns: `Ok(None)` after a closing handshake.
    pub(super) fn report<T>(&self) -> Result<Option<T>, RecvError> {
        match self {
            End::Closed => Ok(None),
            End::Gone => Err(RecvError::Gone),
            End::Violation(code, reason) => Err(RecvError::Violation {
                code: *code,
                reason: reason.clone(),
            }),
            End::Failed(kind, text) => Err(RecvError::Io(io::Error::new(*kind, text.clone()))),
        }
    }
}

impl Session {
    /// Begins with the bytes `ahead`, which came with the 101.
    pub(super) fn new(socket: ClientSocket, ahead: Vec<u8>, settings: &ClientBuilder) -> Session {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ)
            .write_buffer_size(0)
            .max_write_buffer_size(PONGS)
            .max_message_size(Some(settings.max_message))
            .max_frame_size(Some(settings.max_message));
        Session {
            socket: WebSocket::from_partially_read(socket, ahead, Role::Client, Some(config)),
            write_timeout: settings.write_timeout,
            max_message: settings.max_message,
            end: None,
            peer_close: None,
            pinged: None,
            pings: 0,
            round_trip: None,
        }
    }

    pub(super) fn socket(&self) -> &ClientSocket {
        self.socket.get_ref()
    }

    pub(super) fn is_open(&self) -> bool {
        self.end.is_none()
    }

    /// Waits for a message, until `deadline` if there is one.
    pub(super) fn receive(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Message>, RecvTimeoutError> {
        if let Some(end) = &self.end {
            return Ok(end.report()?);
        }
        // A message that has arrived can be received although the deadline has passed: a ping may stand before it.
        let overtime = self.max_message.saturating_add(READ);
        self.socket.get_mut().limit_reads(deadline, overtime);
        self.socket.get_mut().limit_writes(None);
        loop {
            let error = match self.socket.read() {
                Ok(Incoming::Pong(payload)) => {
                    self.note_pong(&payload);
                    continue;
                }
                Ok(Incoming::Close(frame)) => {
                    self.note_close(frame);
                    // Without waiting. If the socket is full, the server is not reading, and would not see the answer.
                    let _ = self.socket.flush();
                    self.socket.get_mut().end_writing();
                    self.end = Some(End::Closed);
                    return Ok(None);
                }
                Ok(incoming) => match Message::try_from(incoming) {
                    Ok(message) => return Ok(Some(message)),
                    // A ping, which the next `read` answers.
                    Err(_) => continue,
                },
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(RecvTimeoutError::Timeout);
                }
                Err(error) => error,
            };
            return Ok(self.fail(End::of(error)).report()?);
        }
    }

    /// Ends the connection. A violation is answered with a Close first.
    fn fail(&mut self, end: End) -> &End {
        if let End::Violation(code, reason) = &end {
            let _ = self.socket.close(Some(close_frame(*code, reason)));
        }
        self.socket.get_mut().shutdown();
        self.end.insert(end)
    }

    fn note_pong(&mut self, payload: &[u8]) {
        if let Some((number, sent)) = self.pinged
            && payload == number.to_be_bytes()
        {
            self.round_trip = Some(sent.elapsed());
            self.pinged = None;
        }
    }

    fn note_close(&mut self, frame: Option<CloseFrame>) {
        let (code, reason) = frame.map_or((1005, String::new()), |frame| {
            (frame.code.into(), frame.reason.to_string())
        });
        self.peer_close = Some(PeerClose { code, reason });
    }

    /// Sends a ping, and forgets an earlier one.
    pub(super) fn ping(&mut self) -> Result<(), &End> {
        self.pings += 1;
        let payload = self.pings.to_be_bytes();
        self.pinged = Some((self.pings, Instant::now()));
        self.round_trip = None;
        self.write(Incoming::Ping(payload.to_vec().into()))
    }

    /// Sends a Close.
    pub(super) fn send_close(&mut self, code: u16, reason: &str) -> Result<(), &End> {
        self.write(Incoming::Close(Some(close_frame(code, reason))))
    }

    /// Resets the connection, because no Close has arrived in time.
    pub(super) fn give_up(&mut self) {
        self.socket.get_mut().reset_at_end();
        let end = End::Failed(io::ErrorKind::TimedOut, "no Close arrived in time".into());
        self.fail(end);
    }

    /// Writes a frame, and waits until the kernel has accepted it.
    pub(super) fn write(&mut self, frame: Incoming) -> Result<(), &End> {
        if self.end.is_none() {
            let patience = Some(self.write_timeout);
            self.socket.get_mut().limit_writes(patience);
            self.limit_buffer(usize::MAX);
            let sent = self.socket.send(frame);
            self.limit_buffer(PONGS);
            match sent {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.socket.get_mut().reset_at_end();
                    self.fail(End::of(error));
                }
            }
        }
        Err(self.end.as_ref().expect("the connection has ended"))
    }

    fn limit_buffer(&mut self, bytes: usize) {
        self.socket
            .set_config(|config| config.max_write_buffer_size = bytes);
    }
}

fn close_frame(code: u16, reason: &str) -> CloseFrame {
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    CloseFrame {
        code: CloseCode::from(code),
        reason: reason[..end].into(),
    }
}
