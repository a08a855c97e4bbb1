//! The reading side of thread `sp-N-read`: frames in, control answered, messages for the handler.
//!
//! tungstenite assembles messages; every byte passes the guard first, and nothing that tungstenite would write is
//! written. After an error its `read` is never called again: its state stays active, and the next frame would pass.

use std::io;
use std::sync::Arc;

use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use super::client::{Client, Why};
use super::control::{Goodbye, When};
use super::guard::Fault;
use super::split::ReadHalf;
use super::transport::Transport;
use crate::error::RecvError;

#[derive(Debug)]
pub(crate) struct Reader {
    context: WebSocketContext,
    half: ReadHalf,
    client: Arc<Client>,
    end: Option<End>,
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer's Close came.
    Closed,
    /// The peer broke a rule; it has to see our Close while it may still be sending.
    Fault,
    /// The stream ended or failed.
    Gone,
}

impl Reader {
    pub(crate) fn new(transport: Arc<dyn Transport>, client: &Arc<Client>, ahead: Vec<u8>) -> Self {
        let config = &client.config;
        let mut settings = WebSocketConfig::default();
        settings.read_buffer_size = config.read_buffer.max(64);
        settings.max_message_size = Some(config.max_message);
        settings.max_frame_size = Some(config.max_message);
        // It writes into a sink, and need not keep anything for that.
        settings.write_buffer_size = 0;
        Reader {
            context: WebSocketContext::new(Role::Server, Some(settings)),
            half: ReadHalf::new(transport, Arc::clone(client), ahead),
            client: Arc::clone(client),
            end: None,
        }
    }

    /// How reading ended, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.end
    }

    /// The next text or binary message; `None` when the closing handshake is done, or our own Close is on its way.
    pub(crate) fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        if self.client.queue.is_shut() {
            return Ok(None);
        }
        let received = self.next();
        // What comes after our Close was posted is discarded (RFC 6455 §1.4).
        if matches!(received, Ok(Some(_))) && self.client.queue.is_shut() {
            return Ok(None);
        }
        received
    }

    /// Reads on and throws away, until the peer's Close, its end, or the watchdog's.
    pub(crate) fn discard(&mut self) {
        while self.end.is_none() {
            // What went wrong stands in `end`.
            let _ = self.next();
        }
    }

    fn next(&mut self) -> Result<Option<Message>, RecvError> {
        while self.end.is_none() {
            match self.context.read(&mut self.half) {
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => return Ok(Some(message)),
                Ok(Message::Ping(payload)) => {
                    self.client.control.pong(payload);
                    self.client.flush();
                }
                Ok(Message::Pong(payload)) => {
                    if let Ok(sent) = <[u8; 8]>::try_from(&payload[..]) {
                        self.client.state.answered(u64::from_be_bytes(sent));
                    }
                }
                Ok(Message::Close(close)) => {
                    self.end = Some(End::Closed);
                    // Its code and reason come back to it (RFC 6455 §5.5.1).
                    let close = close.map(|close| (close.code.into(), close.reason.to_string()));
                    self.client.answer(Goodbye(close));
                }
                Ok(Message::Frame(_)) => unreachable!("reading gives whole messages"),
                Err(error) => return self.failed(error),
            }
        }
        Ok(None)
    }

    fn failed(&mut self, error: Error) -> Result<Option<Message>, RecvError> {
        let client = &self.client;
        let fault = match error {
            Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(fault) => *fault,
                None => return self.gone(Some(error)),
            },
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
            | Error::ConnectionClosed
            | Error::AlreadyClosed => return self.gone(None),
            Error::Capacity(CapacityError::MessageTooLong { .. }) => Fault {
                code: 1009,
                reason: "message too big",
            },
            Error::Utf8(_) => Fault {
                code: 1007,
                reason: "text is not UTF-8",
            },
            _ => Fault {
                code: 1002,
                reason: "protocol error",
            },
        };
        self.end = Some(End::Fault);
        if client.close(When::Now, Goodbye::new(fault.code, fault.reason)) {
            log::warn!("#{} refused: {fault}", client.number);
        }
        Err(RecvError::Refused {
            code: fault.code,
            reason: fault.reason.to_owned(),
        })
    }

    /// The stream ended without the peer's Close: what that means depends on what we did before.
    fn gone(&mut self, error: Option<io::Error>) -> Result<Option<Message>, RecvError> {
        self.end = Some(End::Gone);
        self.client.give_up();
        match (self.client.why(), error) {
            (Some(Why::Server { .. } | Why::Terminated | Why::Peer { .. }), _) => Ok(None),
            (Some(Why::TimedOut(clock)), _) => Err(RecvError::TimedOut(clock)),
            (_, Some(error)) if !ended_by_peer(&error) => Err(RecvError::Io(error)),
            _ => Err(RecvError::Gone),
        }
    }
}

fn ended_by_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    matches!(
        error.kind(),
        ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof | TimedOut
    )
}
