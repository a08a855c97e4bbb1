//! [`Reader`]: reads frames for thread `sp-N-read`. It answers control frames and returns messages to the handler.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::message::Message;

use super::decoder::{Decoder, Incoming};
use super::read_half::ReadHalf;
use super::violation::{ReadError, Violation};
use crate::connection::close_cause::CloseCause;
use crate::connection::message_log;
use crate::connection::shared::Shared;
use crate::connection::socket::Transport;
use crate::connection::write::close::{CloseMode, CloseReason};
use crate::error::{RecvError, RecvTimeoutError};

#[derive(Debug)]
pub(crate) struct Reader {
    decoder: Decoder,
    half: ReadHalf,
    shared: Arc<Shared>,
    ended: Option<ReadEnd>,
    /// Whether the last call of `next` returned because its time was over.
    timed_out: bool,
    /// The number of messages that the handler got.
    received: u64,
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadEnd {
    /// The peer's Close arrived.
    Closed,
    /// The peer violated the protocol or a limit. It must receive our Close although it may still be sending.
    Violation,
    /// The stream ended or failed.
    Gone,
}

impl Reader {
    pub(crate) fn new(socket: Arc<dyn Transport>, shared: &Arc<Shared>, ahead: Vec<u8>) -> Reader {
        Reader {
            decoder: Decoder::new(shared.config().read_buffer),
            half: ReadHalf::new(socket, Arc::clone(shared), ahead),
            shared: Arc::clone(shared),
            ended: None,
            timed_out: false,
            received: 0,
        }
    }

    /// Returns the number of text and binary messages that were received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    fn count(&mut self, message: &Message) {
        self.received += 1;
        message_log::received(self.shared.number, message);
    }

    /// Returns how reading ended, if it has.
    pub(crate) fn ended(&self) -> Option<ReadEnd> {
        self.ended
    }

    /// Returns the next text or binary message, or `None` when the closing handshake is complete or we have requested a
    /// Close.
    pub(crate) fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        if !self.shared.lifecycle().may_receive() {
            return Ok(None);
        }
        let received = self.next();
        // A message that arrives after we have requested a Close is discarded (RFC 6455 §1.4).
        if matches!(received, Ok(Some(_))) && !self.shared.lifecycle().may_receive() {
            return Ok(None);
        }
        received
    }

    /// As [`recv`](Self::recv), but waits at most `timeout` for a message to begin.
    pub(crate) fn recv_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<Message>, RecvTimeoutError> {
        // A deadline that the clock cannot represent is never reached.
        self.half.wait_until(Instant::now().checked_add(timeout));
        let received = self.recv();
        self.half.wait_until(None);
        if std::mem::take(&mut self.timed_out) {
            return Err(RecvTimeoutError::Timeout);
        }
        received.map_err(RecvTimeoutError::Failed)
    }

    /// Returns the next message and further ones that have already been read, up to `most` in all. The result is empty
    /// where [`recv`](Self::recv) returns `None`.
    pub(crate) fn recv_all(&mut self, most: usize) -> Result<Vec<Message>, RecvError> {
        let mut messages: Vec<Message> = self.recv()?.into_iter().collect();
        while !messages.is_empty() && messages.len() < most {
            let Some(message) = self.decoder.next_if_read() else {
                break;
            };
            self.count(&message);
            messages.push(message);
        }
        Ok(messages)
    }

    /// Reads and discards until the peer's Close, the end of its stream, or a missed deadline.
    pub(crate) fn discard(&mut self) {
        while self.ended.is_none() {
            // An error is recorded in `ended`.
            let _ = self.next();
        }
    }

    fn next(&mut self) -> Result<Option<Message>, RecvError> {
        while self.ended.is_none() {
            let half = &mut self.half;
            match self.decoder.next(&mut |buffer| half.read(buffer)) {
                Ok(Incoming::Data(message)) => {
                    self.count(&message);
                    return Ok(Some(message));
                }
                Ok(Incoming::Ping(payload)) => self.shared.send_pong(payload),
                Ok(Incoming::Pong(payload)) => {
                    self.shared.write.control.pings.pong_received(&payload);
                }
                Ok(Incoming::Close(reason)) => {
                    self.ended = Some(ReadEnd::Closed);
                    // The answer repeats the peer's code and reason (RFC 6455 §5.5.1).
                    self.shared.answer_close(reason);
                }
                Ok(Incoming::End) => return self.stream_ended(None),
                Err(ReadError::Io(error)) => return self.stream_ended(Some(error)),
                Err(ReadError::Violation(violation)) => return Err(self.close_with(violation)),
                Err(ReadError::TimedOut) => {
                    self.timed_out = true;
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    fn close_with(&mut self, Violation { code, reason }: Violation) -> RecvError {
        self.ended = Some(ReadEnd::Violation);
        let cause = CloseCause::Violation {
            code,
            reason: reason.to_owned(),
        };
        let close = CloseReason::new(code, reason);
        // The server logs the cause when the client has ended.
        self.shared.close(CloseMode::Immediate, close, cause);
        RecvError::Violation {
            code,
            reason: reason.to_owned(),
        }
    }

    /// Handles the end of a stream without a Close from the peer. The result depends on the recorded cause.
    fn stream_ended(&mut self, error: Option<io::Error>) -> Result<Option<Message>, RecvError> {
        self.ended = Some(ReadEnd::Gone);
        self.shared.give_up();
        match (self.shared.lifecycle().cause(), error) {
            (Some(CloseCause::TimedOut(clock)), _) => Err(RecvError::TimedOut(clock)),
            (Some(CloseCause::Gone) | None, Some(error)) if !ended_by_peer(&error) => {
                Err(RecvError::Io(error))
            }
            (Some(CloseCause::Gone) | None, _) => Err(RecvError::Gone),
            // The server ended the connection, or the closing handshake was in progress.
            _ => Ok(None),
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
