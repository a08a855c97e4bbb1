//! [`ReadHalf`]: the read half of a socket. Its bytes have passed the header check.
//!
//! tungstenite's own `WebSocket` answers pings and Closes inside `read`. With one for reading and one for writing, two
//! threads would write to the same socket, and a pong could be written in the middle of a frame. The reader here has a
//! `ReadHalf`, which cannot write. The reader puts its answers into the control slot. (`examples/00_two_pumps.rs` does
//! the same with tungstenite's reading context, over a stream whose `write` discards everything.)

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::header_check::HeaderCheck;
use super::violation::{ReadError, Violation};
use crate::clock;
use crate::connection::activity::Activity;
use crate::connection::shared::Shared;
use crate::connection::socket::Transport;

#[derive(Debug)]
pub(crate) struct ReadHalf {
    socket: Arc<dyn Transport>,
    shared: Arc<Shared>,
    check: HeaderCheck,
    /// Bytes that were read together with the request. They are checked like all others.
    ahead: io::Cursor<Vec<u8>>,
    /// A violation that was found, and that every further read returns.
    violation: Option<Violation>,
    /// The time at which the last read returned, with bytes or without.
    read_at: u64,
    /// The time of the last byte from the peer.
    byte_at: u64,
    /// Until when a read waits. `None`: without a limit.
    wait_until: Option<Instant>,
}

impl ReadHalf {
    pub(crate) fn new(socket: Arc<dyn Transport>, shared: Arc<Shared>, ahead: Vec<u8>) -> ReadHalf {
        let read_at = clock::now();
        ReadHalf {
            check: HeaderCheck::new(shared.config(), read_at),
            socket,
            ahead: io::Cursor::new(ahead),
            violation: None,
            read_at,
            byte_at: read_at,
            wait_until: None,
            shared,
        }
    }

    pub(crate) fn socket(&self) -> &Arc<dyn Transport> {
        &self.socket
    }

    /// Limits the waiting of the following reads. A read that has waited until `deadline` fails with
    /// [`ReadError::TimedOut`].
    pub(crate) fn wait_until(&mut self, deadline: Option<Instant>) {
        self.wait_until = deadline;
    }

    /// Returns whether the deadline of [`wait_until`](Self::wait_until) has passed.
    pub(crate) fn is_late(&self) -> bool {
        self.wait_until
            .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Reads bytes, and checks their frame headers. Returns the number of valid bytes, or 0 at the end of the stream.
    ///
    /// # Blocking
    /// Waits for the peer. Woken by bytes, by the end of the peer's stream, when the watchdog shuts the socket down, or
    /// at the deadline of [`wait_until`](Self::wait_until).
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        // Checked before the socket is read, because the peer may send nothing more.
        if let Some(violation) = self.violation {
            return Err(violation.into());
        }
        let read = self.read_unchecked(buffer)?;
        self.shared.received.record_read(read);
        let checked = self.check.check(&buffer[..read], self.read_at);
        if read > 0 {
            let deadlines = &self.shared.write.deadlines;
            if self.check.passed_boundary() {
                // Restarts the message clock. Otherwise, a client whose reads always end inside a message would be
                // timed as if it were sending a single endless message.
                deadlines.bytes_received(false);
            }
            deadlines.bytes_received(self.check.in_message());
        }
        match checked {
            Ok(()) => Ok(read),
            Err((0, violation)) => {
                self.violation = Some(violation);
                Err(violation.into())
            }
            Err((good, violation)) => {
                self.violation = Some(violation);
                Ok(good)
            }
        }
    }

    fn read_unchecked(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let ahead = self.ahead.read(buffer)?;
        if ahead > 0 {
            return Ok(ahead);
        }
        if self.ahead.position() > 0 {
            self.ahead = io::Cursor::default();
        }
        match self.wait_until {
            Some(deadline) => self.wait_for_bytes(deadline)?,
            None => self.resume_clocks()?,
        }
        self.shared
            .reader
            .set_since(Activity::Reading, self.byte_at);
        let read = retry_interrupted(|| self.socket.read(buffer));
        self.read_at = self.shared.reader.set(Activity::InHandler);
        if read.is_ok() {
            self.byte_at = self.read_at;
        }
        Ok(read?)
    }

    /// Waits for bytes, or for the end of the stream, until `deadline`.
    fn wait_for_bytes(&mut self, deadline: Instant) -> Result<(), ReadError> {
        if self.has_bytes()? {
            return Ok(());
        }
        self.shared
            .reader
            .set_since(Activity::Reading, self.byte_at);
        let arrived = retry_interrupted(|| {
            let left = deadline.saturating_duration_since(Instant::now());
            Ok(!left.is_zero() && self.socket.wait_readable(left)?)
        });
        if matches!(arrived, Ok(true)) {
            return Ok(());
        }
        self.found_nothing();
        arrived?;
        Err(ReadError::TimedOut)
    }

    /// Lets the clocks of the peer run again, before a read without a deadline. They must not run before the reader has
    /// looked whether an answer to a ping has arrived.
    fn resume_clocks(&mut self) -> Result<(), ReadError> {
        let deadlines = &self.shared.write.deadlines;
        match deadlines.is_pinged() {
            true => self.has_bytes().map(drop),
            false => {
                self.start_read();
                Ok(())
            }
        }
    }

    /// Takes the time since the last read out of the clocks of the peer.
    fn start_read(&self) {
        self.shared.write.deadlines.start_read(self.read_at);
        let lateness = &self.shared.write.queue.lateness;
        // A handler that has found nothing waits for bytes, in `select!`. `Shared::is_late` looks for unread ones then.
        let has_looked = self.shared.reader.get().0 == Activity::Polling;
        if lateness.is_waiting() && !has_looked {
            lateness.add_unread_time(self.read_at, clock::now());
        }
    }

    /// Returns whether bytes, or the end of the stream, can be read without waiting.
    ///
    /// If not, the peer has sent nothing since the last read, so the time since then counts against it. Otherwise, this
    /// time does not count: the bytes may have waited for us.
    pub(crate) fn has_bytes(&mut self) -> Result<bool, ReadError> {
        let ready = retry_interrupted(|| self.socket.wait_readable(Duration::ZERO))?;
        if ready {
            let deadlines = &self.shared.write.deadlines;
            deadlines.ping_answered();
            self.start_read();
            self.read_at = clock::now();
        }
        Ok(ready)
    }

    /// Returns whether the next read returns without reading the socket.
    pub(crate) fn has_buffered(&self) -> bool {
        self.violation.is_some() || self.ahead.position() < self.ahead.get_ref().len() as u64
    }

    /// Records that bytes arrived at the time `at`, if that is after the last look. The time until then counts against the
    /// peer, as in a read that waits.
    pub(crate) fn bytes_arrived(&mut self, at: u64) {
        self.read_at = self.read_at.max(at);
    }

    /// Records that the socket had no bytes. From now on the handler runs, and the clocks of the peer run too.
    pub(crate) fn found_nothing(&mut self) {
        self.read_at = clock::now();
        self.shared
            .reader
            .set_since(Activity::Polling, self.byte_at);
    }
}

/// Calls `call` again while a signal interrupts it.
fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
