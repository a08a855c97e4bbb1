//! [`Queued`]: the half that reads, under tungstenite. What tungstenite wants written goes to the thread that writes.

use std::io::{self, Read, Write};
use std::time::Duration;

use crossbeam_channel::Sender;
use standpipe::tungstenite::Message;

use super::encoded;
use crate::cli::Failure;
use crate::cli::throttle::Paced;

pub(super) struct Queued {
    socket: Paced,
    /// Where it goes; through the handshake, to the socket.
    queue: Option<Sender<Vec<u8>>>,
    out: Vec<u8>,
}

impl Queued {
    pub(super) fn new(socket: Paced) -> Queued {
        Queued {
            socket,
            queue: None,
            out: Vec::new(),
        }
    }

    /// How long a read may last.
    pub(super) fn set_timeout(&self, most: Duration) -> io::Result<()> {
        self.socket.tcp().set_read_timeout(Some(most))
    }

    pub(super) fn goes_to(&mut self, queue: Sender<Vec<u8>>) {
        self.queue = Some(queue);
    }
}

/// Waits for room in the queue: the server does not read, so neither are lines.
pub(super) fn queued(queue: &Sender<Vec<u8>>, message: &Message) -> Result<(), Failure> {
    queue
        .send(encoded(message)?)
        .map_err(|_| "the connection has ended".into())
}

impl Read for Queued {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.flush()?;
        self.socket.read(buf)
    }
}

impl Write for Queued {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self.queue {
            None => self.socket.write(buf),
            Some(_) => {
                self.out.extend_from_slice(buf);
                Ok(buf.len())
            }
        }
    }

    /// A pong that finds no room is left out, for the next will do as well: a reader that waited here, while the server
    /// waits for it to read, would wait for ever.
    fn flush(&mut self) -> io::Result<()> {
        if let (Some(queue), false) = (&self.queue, self.out.is_empty()) {
            let _ = queue.try_send(std::mem::take(&mut self.out));
        }
        Ok(())
    }
}
