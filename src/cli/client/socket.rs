//! [`QueuedSocket`]: the socket that tungstenite reads from. What tungstenite writes is queued for the writing thread.

use std::io::{self, Read, Write};
use std::time::Duration;

use crossbeam_channel::Sender;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use standpipe::tungstenite::protocol::Role;
use standpipe::tungstenite::{Message, WebSocket};

use crate::cli::throttle::ThrottledStream;
use crate::cli::{Failure, stdout};

/// An entry in the queue of the writing thread.
pub(super) enum Entry {
    /// A message, and the number of the line that it was made of.
    Line(usize, Vec<u8>),
    /// Pongs, and tungstenite's answer to the server's Close.
    Control(Vec<u8>),
    /// The Close with which this client begins the closing handshake.
    Close(Vec<u8>),
    /// The connection has ended.
    End,
}

pub(super) struct QueuedSocket {
    socket: ThrottledStream,
    /// The queue of the writing thread. `None` during the opening handshake, which writes to the socket directly.
    queue: Option<Sender<Entry>>,
    /// Bytes written since the last flush.
    buffer: Vec<u8>,
    watches_output: bool,
}

impl QueuedSocket {
    pub(super) fn new(socket: ThrottledStream) -> QueuedSocket {
        QueuedSocket {
            socket,
            queue: None,
            buffer: Vec::new(),
            watches_output: false,
        }
    }

    /// Sets a timeout for each read from now on. The end of the reader of standard output does not matter any more.
    pub(super) fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.watches_output = false;
        self.socket.stream().set_read_timeout(Some(timeout))
    }

    /// Queues everything that is written from now on.
    pub(super) fn write_to(&mut self, queue: Sender<Entry>) {
        self.queue = Some(queue);
        self.watches_output = true;
    }

    /// Waits until the server has sent something. Without this, `client URL | head -1` would end only when one more
    /// message arrives.
    ///
    /// # Errors
    /// [`Closed`](stdout::Closed) if the program that reads standard output has ended.
    fn wait(&self) -> io::Result<()> {
        let stdout = io::stdout();
        let stream = self.socket.stream();
        while !stream.has_data() {
            // `poll` reports an error or a hang-up without being asked.
            let mut descriptors = [
                PollFd::new(stream, PollFlags::IN),
                PollFd::new(&stdout, PollFlags::empty()),
            ];
            match poll(&mut descriptors, None) {
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
            if !descriptors[0].revents().is_empty() && stream.has_arrived() {
                break;
            }
            if !descriptors[1].revents().is_empty() {
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, stdout::Closed));
            }
        }
        Ok(())
    }
}

/// Returns a message as a masked frame.
pub(super) fn encode(message: &Message) -> Result<Vec<u8>, Failure> {
    let mut buffer = WebSocket::from_raw_socket(io::Cursor::new(Vec::new()), Role::Client, None);
    match message {
        Message::Close(frame) => buffer.close(frame.clone())?,
        other => buffer.send(other.clone())?,
    }
    Ok(buffer.get_ref().get_ref().clone())
}

impl Read for QueuedSocket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.flush()?;
        if self.watches_output {
            self.wait()?;
        }
        self.socket.read(buf)
    }
}

impl Write for QueuedSocket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self.queue {
            None => self.socket.write(buf),
            Some(_) => {
                self.buffer.extend_from_slice(buf);
                Ok(buf.len())
            }
        }
    }

    /// Queues the buffered bytes without blocking, and drops them if the queue is full. The bytes are pongs, and a
    /// later pong answers an earlier ping too. If this waited for the queue while the server waits for us to read, both
    /// would wait forever.
    fn flush(&mut self) -> io::Result<()> {
        if let (Some(queue), false) = (&self.queue, self.buffer.is_empty()) {
            let _ = queue.try_send(Entry::Control(std::mem::take(&mut self.buffer)));
        }
        Ok(())
    }
}
