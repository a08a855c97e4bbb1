//! [`Stream`]: the client's socket, with the time limits of the call that uses it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::Socket;

/// A socket that does not block by itself: this type waits for it, within the time limits.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    /// Until when a read may wait. `None` is no limit.
    deadline: Option<Instant>,
    /// How many bytes may still be read after the deadline, without waiting.
    overtime: usize,
    /// How long a write may wait until the socket accepts at least one byte. `None` means that it never waits.
    patience: Option<Duration>,
}

/// Returns the time until `deadline`. Without a deadline, it has no end.
pub(super) fn patience(deadline: Option<Instant>) -> Duration {
    deadline.map_or(Duration::MAX, |end| {
        end.saturating_duration_since(Instant::now())
    })
}

impl Stream {
    pub(super) fn new(socket: Socket) -> io::Result<Stream> {
        socket.set_nonblocking(true)?;
        Ok(Stream {
            socket,
            deadline: None,
            overtime: 0,
            patience: None,
        })
    }

    /// Begins a call that reads. Once `deadline` has passed, `overtime` bytes that have arrived can still be read. So a
    /// message that has arrived is received, and a peer that never stops sending cannot prolong the call.
    pub(super) fn limit_reads(&mut self, deadline: Option<Instant>, overtime: usize) {
        self.deadline = deadline;
        self.overtime = overtime;
    }

    /// Sets how long each write waits until the socket accepts at least one byte.
    pub(super) fn limit_writes(&mut self, patience: Option<Duration>) {
        self.patience = patience;
    }

    /// Ends our direction, after the last frame.
    pub(super) fn end_writing(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Ends both directions. The error is ignored, because it means that the connection has already ended.
    pub(super) fn shutdown(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Makes the later closing of the socket a reset.
    pub(super) fn reset_at_end(&self) {
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    /// Writes what the socket accepts without waiting. Fails with `WouldBlock` if that is nothing.
    pub(super) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.send_with_flags(bytes, libc::MSG_NOSIGNAL) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => return written,
            }
        }
    }

    /// Waits until the socket has one of these events, for at most `limit`. Returns whether it has.
    fn wait(&self, events: PollFlags, limit: Option<Duration>) -> io::Result<bool> {
        // A time that the kernel cannot represent is no limit.
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut sockets = [PollFd::new(&self.socket, events)];
        match poll(&mut sockets, limit.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            // The caller tries again, and computes the limit again.
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

impl Read for Stream {
    /// Fails with `WouldBlock` when the deadline has passed.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let now = self.deadline.map(|_| Instant::now());
            let left = self.deadline.zip(now);
            let left = left.map(|(deadline, now)| deadline.saturating_duration_since(now));
            let is_over = left.is_some_and(|left| left.is_zero());
            if is_over && self.overtime == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            match (&self.socket).read(buffer) {
                Ok(count) => {
                    if is_over {
                        self.overtime = self.overtime.saturating_sub(count);
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if is_over || !self.wait(PollFlags::IN, left)? {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Stream {
    /// Fails with `TimedOut` when the socket accepts nothing for the whole time, and with `WouldBlock` if the call may
    /// not wait.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let deadline = self
            .patience
            .and_then(|limit| Instant::now().checked_add(limit));
        loop {
            match self.write_now(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.patience.is_none() {
                        return Err(error);
                    }
                    let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
                    if left.is_some_and(|left| left.is_zero())
                        || !self.wait(PollFlags::OUT, left)?
                    {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
