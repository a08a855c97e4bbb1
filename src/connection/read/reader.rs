//! The reading side of thread `sp-N-read`: frames in, control answered, messages for the handler.

use std::io;
use std::sync::Arc;

use tungstenite::Message;

use crate::connection::read::decoder::{Decoder, Incoming};
use crate::connection::read::read_half::ReadHalf;
use crate::connection::read::violation::Violation;
use crate::connection::shared::{CloseCause, Shared};
use crate::connection::socket::Transport;
use crate::connection::write::control_slot::{CloseMode, CloseReason};
use crate::error::RecvError;

#[derive(Debug)]
pub(crate) struct Reader {
    assembler: Decoder,
    half: ReadHalf,
    client: Arc<Shared>,
    end: Option<End>,
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer's Close came.
    Closed,
    /// The peer broke a rule; it has to see our Close while it may still be sending.
    Violation,
    /// The stream ended or failed.
    Gone,
}

impl Reader {
    pub(crate) fn new(transport: Arc<dyn Transport>, client: &Arc<Shared>, ahead: Vec<u8>) -> Self {
        Reader {
            assembler: Decoder::new(client.config.read_buffer),
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

    /// The next message and those that came with it, at most `most`; none is the end.
    pub(crate) fn recv_all(&mut self, most: usize) -> Result<Vec<Message>, RecvError> {
        let mut messages: Vec<Message> = self.recv()?.into_iter().collect();
        while !messages.is_empty() && messages.len() < most {
            let Some(message) = self.assembler.next_if_read() else {
                break;
            };
            messages.push(message);
        }
        Ok(messages)
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
            match self.assembler.next(&mut self.half) {
                Ok(Incoming::Data(message)) => return Ok(Some(message)),
                Ok(Incoming::Ping(payload)) => {
                    self.client.control.pong(payload);
                    self.client.flush();
                }
                Ok(Incoming::Pong(payload)) => {
                    if let Ok(sent) = <[u8; 8]>::try_from(&payload[..]) {
                        self.client.state.answered(u64::from_be_bytes(sent));
                    }
                }
                Ok(Incoming::Close(goodbye)) => {
                    self.end = Some(End::Closed);
                    // Its code and reason come back to it (RFC 6455 §5.5.1).
                    self.client.answer(goodbye);
                }
                Ok(Incoming::End) => return self.gone(None),
                Err(error) => return self.failed(error),
            }
        }
        Ok(None)
    }

    fn failed(&mut self, error: io::Error) -> Result<Option<Message>, RecvError> {
        let client = &self.client;
        let Some(Violation { code, reason }) =
            error.get_ref().and_then(|inner| inner.downcast_ref())
        else {
            return self.gone(Some(error));
        };
        let (code, reason) = (*code, *reason);
        self.end = Some(End::Violation);
        if client.close(CloseMode::Immediate, CloseReason::new(code, reason)) {
            log::warn!("#{} refused: {code}, {reason}", client.number);
        }
        Err(RecvError::Violation {
            code,
            reason: reason.to_owned(),
        })
    }

    /// The stream ended without the peer's Close: what that means depends on what we did before.
    fn gone(&mut self, error: Option<io::Error>) -> Result<Option<Message>, RecvError> {
        self.end = Some(End::Gone);
        self.client.give_up();
        match (self.client.why(), error) {
            (
                Some(CloseCause::Server { .. } | CloseCause::Terminated | CloseCause::Peer { .. }),
                _,
            ) => Ok(None),
            (Some(CloseCause::TimedOut(clock)), _) => Err(RecvError::TimedOut(clock)),
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
