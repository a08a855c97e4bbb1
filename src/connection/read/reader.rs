//! [`Reader`]: reads frames for thread `sp-N-read`. It answers control frames and returns messages to the handler.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::message::Message;

use super::decoder::{Decoder, Incoming};
use super::read_half::ReadHalf;
use super::violation::{ReadError, Violation};
use crate::connection::close_cause::CloseCause;
use crate::connection::message_log;
use crate::connection::shared::Shared;
use crate::connection::socket::Transport;
use crate::connection::write::blockage::PROGRESS;
use crate::connection::write::close::{CloseMode, CloseReason};
use crate::error::RecvError;
use crate::watch::{Interest, Watch};

#[derive(Debug)]
pub(crate) struct Reader {
    decoder: Decoder,
    half: ReadHalf,
    shared: Arc<Shared>,
    ended: Option<ReadEnd>,
    /// Whether the last call returned because its time was over.
    timed_out: bool,
    /// The bytes of a streamed message that have been taken since its clock was restarted.
    progress: usize,
    /// The watch of the socket, after the first call of [`ready`](Self::ready).
    watch: Option<Box<Watch<Arc<dyn Transport>>>>,
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
            decoder: Decoder::new(shared.config()),
            half: ReadHalf::new(socket, Arc::clone(shared), ahead),
            shared: Arc::clone(shared),
            ended: None,
            timed_out: false,
            progress: 0,
            watch: None,
        }
    }

    fn count(&mut self, message: &Message) {
        self.shared.received.record_message();
        message_log::received(&self.shared.name, message);
    }

    /// Returns how reading ended, if it has.
    pub(crate) fn ended(&self) -> Option<ReadEnd> {
        self.ended
    }

    /// Returns the next text or binary message, or `None` when the closing handshake is complete or we have requested a
    /// Close.
    pub(crate) fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        if !self.shared.lifecycle().may_receive() {
            return self.closed();
        }
        self.count_time_in_select();
        let received = self.next();
        // A message that arrives after we have requested a Close is discarded (RFC 6455 §1.4).
        if matches!(received, Ok(Some(_))) && !self.shared.lifecycle().may_receive() {
            return Ok(None);
        }
        received
    }

    /// Returns the result of a receive after a Close has been requested, or the connection was reset. A missed deadline
    /// is reported once: the handler may have been in its own code, or in `select!`, when it passed.
    fn closed<T>(&mut self) -> Result<Option<T>, RecvError> {
        match self.shared.lifecycle().cause() {
            Some(CloseCause::TimedOut(clock)) if self.ended.is_none() => {
                self.ended = Some(ReadEnd::Gone);
                Err(RecvError::TimedOut(clock))
            }
            _ => Ok(None),
        }
    }

    /// As [`recv`](Self::recv), but waits at most until `deadline`. `None` is the error that the time was over. What has
    /// arrived of a message is kept.
    pub(crate) fn recv_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<Message>, Option<RecvError>> {
        self.half.wait_until(Some(deadline));
        let received = self.recv();
        self.half.wait_until(None);
        if std::mem::take(&mut self.timed_out) {
            return Err(None);
        }
        received.map_err(Some)
    }

    /// Returns a channel that has a message when there is something to receive, when the queue is empty, or when the
    /// connection closes, as `interest` says.
    pub(crate) fn ready(&mut self, interest: Interest) -> io::Result<&Receiver<()>> {
        self.count_time_in_select();
        let lifecycle = self.shared.lifecycle();
        let watch = match &mut self.watch {
            Some(watch) => watch,
            none => {
                let watch = Watch::new(Arc::clone(self.half.socket()))?;
                lifecycle.wake_at_close(watch.signal());
                none.insert(Box::new(watch))
            }
        };
        let signal = watch.signal();
        // Cleared before anything is checked. Whatever happens later makes the channel ready again.
        signal.clear();
        let is_ready = self.ended.is_some()
            || !lifecycle.may_receive()
            || interest.read
                && (self.half.has_buffered()
                    || self.decoder.has_frame()
                    || self.half.has_bytes().unwrap_or(true));
        if is_ready {
            signal.fire();
            return Ok(watch.receiver());
        }
        if interest.read {
            self.half.found_nothing();
        }
        if interest.write {
            self.shared.write.queue.wake_when_empty(signal);
        }
        // Room in the queue is waited for, and not the socket.
        watch.arm(Interest {
            write: false,
            ..interest
        })?;
        Ok(watch.receiver())
    }

    /// Counts the time that the handler has waited in `select!` against the peer.
    fn count_time_in_select(&mut self) {
        if let Some(watch) = &self.watch {
            self.half.bytes_arrived(watch.signal().ready_at());
        }
    }

    /// Begins to receive the next message as a stream. Returns whether it is a text, or `None` as [`recv`](Self::recv).
    pub(crate) fn begin_stream(&mut self) -> Result<Option<bool>, RecvError> {
        self.count_time_in_select();
        while self.ended.is_none() && self.shared.lifecycle().may_receive() {
            let half = &mut self.half;
            match self.decoder.begin_stream(&mut |buffer| half.read(buffer)) {
                Ok(Incoming::Begin { is_text }) => {
                    self.shared.received.record_message();
                    self.progress = 0;
                    return Ok(Some(is_text));
                }
                other => self.handle(other)?,
            }
        }
        self.closed()
    }

    /// Stores the next bytes of the streamed message in `out`, which must not be empty. Returns their number, or 0 at the
    /// end of the message. `None` means that the connection was closed before that.
    pub(crate) fn next_part(&mut self, out: &mut [u8]) -> Result<Option<usize>, RecvError> {
        while self.ended.is_none() && self.shared.lifecycle().may_receive() {
            let half = &mut self.half;
            match self.decoder.next_part(out, &mut |buffer| half.read(buffer)) {
                Ok(Incoming::Part(bytes)) => {
                    self.took_part(bytes);
                    return Ok(Some(bytes));
                }
                Ok(Incoming::EndOfMessage) => return Ok(Some(0)),
                other => self.handle(other)?,
            }
        }
        self.closed()
    }

    /// Restarts the clock of a streamed message after each 64 KiB, because the message may be of any size.
    fn took_part(&mut self, bytes: usize) {
        self.progress += bytes;
        if self.progress >= PROGRESS {
            self.progress = 0;
            self.shared.write.deadlines.message_progressed();
        }
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
        while self.ended.is_none() && !self.timed_out {
            let half = &mut self.half;
            match self.decoder.next(&mut |buffer| half.read(buffer)) {
                Ok(Incoming::Data(message)) => {
                    self.count(&message);
                    return Ok(Some(message));
                }
                other => self.handle(other)?,
            }
        }
        Ok(None)
    }

    /// Handles everything but a message: control frames, the end, and the parts of a message that is discarded.
    fn handle(&mut self, incoming: Result<Incoming, ReadError>) -> Result<(), RecvError> {
        match incoming {
            Ok(Incoming::Ping(payload)) => self.shared.send_pong(payload),
            Ok(Incoming::Pong(payload)) => {
                if self.shared.write.control.pings.pong_received(&payload) {
                    self.shared.record_round_trip();
                    self.shared.release_held();
                }
            }
            Ok(Incoming::Close(reason)) => {
                self.ended = Some(ReadEnd::Closed);
                // The answer repeats the peer's code and reason (RFC 6455 §5.5.1).
                self.shared.answer_close(reason);
            }
            Ok(Incoming::Part(bytes)) => {
                self.took_part(bytes);
                // Checked here, because the parts may arrive as fast as they are discarded.
                self.timed_out = self.half.is_late();
            }
            Ok(Incoming::Data(_) | Incoming::Begin { .. } | Incoming::EndOfMessage) => {}
            Ok(Incoming::End) => return self.stream_ended(None),
            Err(ReadError::Io(error)) => return self.stream_ended(Some(error)),
            Err(ReadError::Violation(violation)) => return Err(self.close_with(violation)),
            Err(ReadError::TimedOut) => self.timed_out = true,
        }
        Ok(())
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
    fn stream_ended(&mut self, error: Option<io::Error>) -> Result<(), RecvError> {
        self.ended = Some(ReadEnd::Gone);
        if error.is_some() {
            self.shared.write.send_session_records();
        }
        self.shared.give_up();
        match (self.shared.lifecycle().cause(), error) {
            (Some(CloseCause::TimedOut(clock)), _) => Err(RecvError::TimedOut(clock)),
            (Some(CloseCause::Gone) | None, Some(error)) if !ended_by_peer(&error) => {
                Err(RecvError::Io(error))
            }
            (Some(CloseCause::Gone) | None, _) => Err(RecvError::Gone),
            // The server ended the connection, or the closing handshake was in progress.
            _ => Ok(()),
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
