//! [`ReadHalf`]: the read half of a socket. Its bytes have passed the header check.
//!
//! tungstenite's own `WebSocket` answers pings and Closes inside `read`. With one for reading and one for writing, two
//! threads would write to the same socket, and a pong could be written in the middle of a frame. The reader here has a
//! `ReadHalf`, which cannot write. The reader puts its answers into the control slot. (`examples/00_two_pumps.rs` does
//! the same with tungstenite's reading context, over a stream whose `write` discards everything.)

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

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
    /// The time at which the last read returned.
    read_at: u64,
    /// Until when a read waits while no message has begun to arrive.
    wait_until: Option<Instant>,
    /// For how long, in milliseconds, the last reads have waited without a byte until they timed out.
    waited: u64,
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
            wait_until: None,
            waited: 0,
            shared,
        }
    }

    /// Limits the waiting of the following reads, but not within a message, whose time `message_timeout` limits.
    pub(crate) fn wait_until(&mut self, deadline: Option<Instant>) {
        self.wait_until = deadline;
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
        self.shared.write.deadlines.start_read(self.read_at);
        let lateness = &self.shared.write.queue.lateness;
        if lateness.is_waiting() {
            lateness.add_unread_time(clock::now().saturating_sub(self.read_at));
        }
        // A peer that is silent during several calls is pinged as if they were one.
        let since = clock::now().saturating_sub(self.waited);
        self.shared.reader.set_since(Activity::Reading, since);
        let read = loop {
            match self.read_in_time(buffer) {
                Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.read_at = self.shared.reader.set(Activity::InHandler);
        self.waited = match read {
            Err(ReadError::TimedOut) => self.read_at.saturating_sub(since),
            _ => 0,
        };
        read
    }

    fn read_in_time(&self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        if let Some(deadline) = self.wait_until.filter(|_| !self.check.in_message()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.socket.wait_readable(left)? {
                return Err(ReadError::TimedOut);
            }
        }
        Ok(self.socket.read(buffer)?)
    }
}
