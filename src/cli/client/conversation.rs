//! [`Conversation`]: one client after the opening handshake, from its first message to the end of its connection.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use standpipe::tungstenite::protocol::frame::coding::CloseCode;
use standpipe::tungstenite::protocol::{CloseFrame, frame::Utf8Bytes};
use standpipe::tungstenite::{Error, Message, WebSocket};

use super::input::for_each_line;
use super::outcome::{Outcome, label};
use super::socket::{QueuedSocket, enqueue};
use crate::cli::Failure;
use crate::cli::args::ClientArgs;
use crate::cli::terminal::printable;
use crate::cli::throttle::Throttle;

/// Timeout for the server's answer to our Close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Conversation<'a> {
    pub(super) args: &'a ClientArgs,
    pub(super) n: usize,
    pub(super) throttle: &'a Arc<Throttle>,
    pub(super) queue: &'a Sender<Vec<u8>>,
}

impl Conversation<'_> {
    /// Starts sending, and prints what arrives until the connection ends.
    pub(super) fn run(&self, socket: &mut WebSocket<QueuedSocket>) -> Result<Outcome, Failure> {
        self.start_input()?;
        let mut received = 0;
        let mut closed = None;
        loop {
            match socket.read() {
                Ok(Message::Close(frame)) => closed = Some(outcome(frame)),
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                    self.print(&message)?;
                    received += 1;
                    if self.args.count == Some(received) {
                        self.close(socket);
                        return Ok(Outcome::CountReached);
                    }
                    if self.args.pause_after == Some(received) {
                        writeln!(io::stderr(), "{}stopped reading", label(self.args, self.n))?;
                        self.throttle.set(Some(0));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    return match (closed, error) {
                        (Some(closed), _) => Ok(closed),
                        (None, Error::ConnectionClosed) => Ok(Outcome::Closed {
                            description: "closed".into(),
                            is_normal: true,
                        }),
                        (None, error) => Err(format!("connection lost: {error}").into()),
                    };
                }
            }
        }
    }

    /// Sends a Close, and reads up to [`CLOSE_TIMEOUT`] until the server answers it. Closing the socket while messages
    /// are still arriving would reset the connection.
    fn close(&self, socket: &mut WebSocket<QueuedSocket>) {
        let end = Instant::now() + CLOSE_TIMEOUT;
        self.throttle.set(None);
        // All messages have been received, so errors no longer matter.
        let _ = socket.get_mut().set_read_timeout(CLOSE_TIMEOUT);
        if enqueue(self.queue, &close_message()).is_ok() {
            while socket.read().is_ok() && Instant::now() < end {}
        }
    }

    fn print(&self, message: &Message) -> io::Result<()> {
        let label = label(self.args, self.n);
        let mut out = io::stdout().lock();
        match message {
            Message::Text(text) => writeln!(out, "{label}{}", printable(text))?,
            other => writeln!(out, "{label}[binary, {} bytes]", other.len())?,
        }
        out.flush()
    }

    /// Starts the thread that sends the lines of the file or of standard input. Without `--send`, nothing is sent if
    /// there are several clients, or if the client only counts messages or only reads slowly.
    fn start_input(&self) -> Result<(), Failure> {
        let args = self.args;
        let only_reads = args.clients > 1
            || args.count.is_some()
            || args.read_rate.is_some()
            || args.pause_after.is_some();
        let source = match &args.send {
            None if only_reads => return Ok(()),
            None => None,
            Some(name) if name.as_os_str() == "-" => None,
            Some(name) => {
                let file =
                    File::open(name).map_err(|error| format!("{}: {error}", name.display()))?;
                Some(file)
            }
        };
        // A Close after the last line would make the client discard messages that are still arriving, so a client that
        // waits for a number of messages does not send it.
        let sends_close = args.count.is_none();
        let queue = self.queue.clone();
        // Not joined, because nothing can wake a thread that waits for typed input. It ends when the queue is
        // disconnected, or with the process.
        Builder::new()
            .name(format!("sp-input-{}", self.n))
            .spawn(move || {
                let input: Box<dyn io::Read> = match source {
                    Some(file) => Box::new(file),
                    None => Box::new(io::stdin()),
                };
                let sent = for_each_line(input, |line| enqueue(&queue, &Message::text(line)));
                if let Err(error) = sent {
                    let _ = writeln!(io::stderr(), "sending stopped: {error}");
                }
                if sends_close {
                    let _ = enqueue(&queue, &close_message());
                }
            })?;
        Ok(())
    }
}

/// Returns the outcome of a connection that the server closes with this frame.
fn outcome(frame: Option<CloseFrame>) -> Outcome {
    let Some(frame) = frame else {
        return Outcome::Closed {
            description: "closed without a code".into(),
            is_normal: true,
        };
    };
    let code = u16::from(frame.code);
    let description = format!("closed with {code} {}", printable(&frame.reason));
    Outcome::Closed {
        description: description.trim_end().to_owned(),
        is_normal: matches!(code, 1000 | 1001),
    }
}

fn close_message() -> Message {
    Message::Close(Some(CloseFrame {
        code: CloseCode::Normal,
        reason: Utf8Bytes::default(),
    }))
}
