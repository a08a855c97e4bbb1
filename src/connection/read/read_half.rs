//! One socket → read half + write half: *who may write* as a type.
//!
//! tungstenite's own `WebSocket` answers pings and closes from inside `read`, so two of them on one socket are two
//! writers, and a pong can land in the middle of a frame. Here the reader has a [`ReadHalf`], which cannot write: what
//! is to be answered it leaves in the control slot. The other half is the [`WriteHalf`](crate::connection::write::write_half::Wire).
//! (`examples/00_two_pumps.rs` does the same with tungstenite's reading context, over a half whose `write` is a sink.)

use std::io::{self, Read};
use std::sync::Arc;

use crate::clock;
use crate::connection::read::header_check::HeaderCheck;
use crate::connection::shared::Shared;
use crate::connection::socket::Transport;
use crate::connection::state::Activity;

#[derive(Debug)]
pub(crate) struct ReadHalf {
    transport: Arc<dyn Transport>,
    client: Arc<Shared>,
    guard: HeaderCheck,
    /// Bytes that came behind the request head; they pass the guard like all others.
    ahead: io::Cursor<Vec<u8>>,
    /// The guard's verdict on what comes next, once the good bytes before it are handed on.
    fault: Option<crate::connection::read::violation::Violation>,
    read_at: u64,
}

impl ReadHalf {
    pub(crate) fn new(transport: Arc<dyn Transport>, client: Arc<Shared>, ahead: Vec<u8>) -> Self {
        let read_at = clock::now();
        ReadHalf {
            guard: HeaderCheck::new(&client.config, read_at),
            transport,
            ahead: io::Cursor::new(ahead),
            fault: None,
            read_at,
            client,
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ahead = self.ahead.read(buffer)?;
        if ahead > 0 {
            return Ok(ahead);
        }
        if self.ahead.position() > 0 {
            self.ahead = io::Cursor::default();
        }
        self.client.state.begins_to_read(self.read_at);
        let read = loop {
            match self.transport.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.read_at = self.client.state.reader.set(Activity::InHandler);
        read
    }
}

impl Read for ReadHalf {
    /// # Blocking
    /// Woken by bytes, the peer's end, or a `shutdown` of the socket by the watchdog.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Before the socket is touched: with a verdict pending there may be nothing more to come.
        if let Some(fault) = self.fault {
            return Err(io::Error::other(fault));
        }
        let read = self.fill(buffer)?;
        let judged = self.guard.judge(&buffer[..read], self.read_at);
        if read > 0 {
            if self.guard.ended_one() {
                // Or a client that is always in the middle of some message would be late with all of them together.
                self.client.state.heard(false);
            }
            self.client.state.heard(self.guard.in_message());
        }
        match judged {
            Ok(()) => Ok(read),
            Err((good, fault)) => {
                self.fault = Some(fault);
                if good == 0 {
                    return Err(io::Error::other(fault));
                }
                Ok(good)
            }
        }
    }
}
