//! [`Conversation`]: one client after the opening handshake, from its first message to the end of its connection.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use standpipe::tungstenite::protocol::frame::coding::CloseCode;
use standpipe::tungstenite::protocol::{CloseFrame, frame::Utf8Bytes};
use standpipe::tungstenite::{Error, Message, WebSocket};

use super::input::{Line, Lines};
use super::outcome::{End, label};
use super::progress::Progress;
use super::socket::{Entry, QueuedSocket, encode};
use crate::cli::args::ClientArgs;
use crate::cli::terminal::printable;
use crate::cli::throttle::Throttle;
use crate::cli::{Failure, stdout};

/// Timeout for the server's answer to our Close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Conversation<'a> {
    pub(super) args: &'a ClientArgs,
    pub(super) n: usize,
    pub(super) throttle: &'a Arc<Throttle>,
    pub(super) queue: &'a Sender<Entry>,
    pub(super) progress: &'a Arc<Progress>,
}

impl Conversation<'_> {
    /// Starts sending, and prints what arrives until the connection ends.
    pub(super) fn run(&self, socket: &mut WebSocket<QueuedSocket>) -> Result<End, Failure> {
        self.start_input()?;
        let mut received = 0;
        let mut closed = None;
        loop {
            match socket.read() {
                Ok(Message::Close(frame)) => closed = Some(end(frame)),
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                    if let Err(error) = self.print(&message) {
                        self.close(socket);
                        return Err(error);
                    }
                    received += 1;
                    if self.args.count == Some(received) {
                        self.close(socket);
                        return Ok(End::CountReached);
                    }
                    if self.args.pause_after == Some(received) {
                        writeln!(io::stderr(), "{}stopped reading", label(self.args, self.n))?;
                        self.throttle.set(Some(0));
                    }
                }
                Ok(_) => {}
                Err(Error::Io(error)) if is_closed_output(&error) => {
                    self.close(socket);
                    return Err(stdout::Closed.into());
                }
                Err(error) => {
                    return match (closed, error) {
                        (Some(closed), _) => Ok(closed),
                        (None, Error::ConnectionClosed) => Ok(End::Closed {
                            code: None,
                            description: "closed".into(),
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
        // No more messages are wanted, so errors no longer matter.
        let _ = socket.get_mut().set_read_timeout(CLOSE_TIMEOUT);
        let Ok(close) = encode(&close_message()) else {
            return;
        };
        // The queue has no room while the server does not read.
        let queued = self.queue.send_timeout(Entry::Close(close), CLOSE_TIMEOUT);
        if queued.is_ok() {
            while socket.read().is_ok() && Instant::now() < end {}
        }
    }

    /// Prints a message. A terminal shows control characters escaped, because they could change what it does. A file or
    /// a pipe gets every byte as it was received.
    fn print(&self, message: &Message) -> Result<(), Failure> {
        let label = label(self.args, self.n);
        let is_terminal = io::stdout().is_terminal();
        match message {
            Message::Text(text) if is_terminal => {
                stdout::write(format!("{label}{}\n", printable(text)).as_bytes())
            }
            Message::Text(text) => stdout::write(format!("{label}{text}\n").as_bytes()),
            Message::Binary(bytes) if !is_terminal && label.is_empty() => stdout::write(bytes),
            other => stdout::write(format!("{label}[binary, {} bytes]\n", other.len()).as_bytes()),
        }
    }

    /// Starts the thread that sends the lines of the file or of standard input. Without `--send`, nothing is sent if
    /// there are several clients, or if the client only counts messages or only reads slowly.
    fn start_input(&self) -> Result<(), Failure> {
        let args = self.args;
        let only_reads = args.clients > 1
            || args.count.is_some()
            || args.read_rate.is_some()
            || args.pause_after.is_some();
        let source: Box<dyn Read + Send> = match &args.send {
            None if only_reads => return Ok(()),
            None => Box::new(io::stdin()),
            Some(name) if name.as_os_str() == "-" => Box::new(io::stdin()),
            Some(name) => {
                let file =
                    File::open(name).map_err(|error| format!("{}: {error}", name.display()))?;
                self.progress.begin_file();
                Box::new(file)
            }
        };
        let input = Input {
            queue: self.queue.clone(),
            progress: Arc::clone(self.progress),
            label: label(args, self.n),
            is_binary: args.binary,
            // A Close after the last line would make the client discard messages that are still arriving, so a client
            // that waits for a number of messages does not send it.
            sends_close: args.count.is_none() && !args.stay,
        };
        // Not joined, because nothing can wake a thread that waits for typed input. It ends when the queue is
        // disconnected, or with the process.
        Builder::new()
            .name(format!("sp-input-{}", self.n))
            .spawn(move || input.run(Lines::new(source)))?;
        Ok(())
    }
}

/// The thread `sp-input-N`, which sends lines.
struct Input {
    queue: Sender<Entry>,
    progress: Arc<Progress>,
    label: String,
    is_binary: bool,
    sends_close: bool,
}

impl Input {
    /// Queues each line.
    ///
    /// # Blocking
    /// Waits while the queue is full. So while the server does not read, no more lines are read either.
    fn run(self, lines: Lines<impl Read>) {
        for line in lines {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    self.report(&format!("sending stopped: {error}"));
                    self.progress.end(true);
                    self.close();
                    return;
                }
            };
            let (number, message) = (line.number, self.message(line));
            let sent = match message {
                Ok(message) => {
                    self.progress.sending(number, message.len());
                    // A frame in memory cannot fail to be encoded.
                    encode(&message)
                        .is_ok_and(|bytes| self.queue.send(Entry::Line(number, bytes)).is_ok())
                }
                Err(reason) => {
                    self.report(&format!("line {number} {reason}: not sent"));
                    self.progress.refused();
                    true
                }
            };
            if !sent {
                // The connection has ended, and the reading thread reports what was not sent.
                return;
            }
        }
        self.progress.end(false);
        self.close();
    }

    fn message(&self, line: Line) -> Result<Message, String> {
        let bytes = line.bytes?;
        if self.is_binary {
            return Ok(Message::binary(bytes));
        }
        let text = Line::text(bytes).map_err(|error| format!("{error} (--binary sends bytes)"))?;
        Ok(Message::text(text))
    }

    fn close(&self) {
        if let (true, Ok(close)) = (self.sends_close, encode(&close_message())) {
            // An error means that the connection has ended already.
            let _ = self.queue.send(Entry::Close(close));
        }
    }

    fn report(&self, text: &str) {
        let _ = writeln!(io::stderr(), "{}{text}", self.label);
    }
}

/// Returns the end of a connection that the server closes with this frame.
fn end(frame: Option<CloseFrame>) -> End {
    let Some(frame) = frame else {
        return End::Closed {
            code: None,
            description: "closed without a code".into(),
        };
    };
    let code = u16::from(frame.code);
    let description = format!("closed with {code} {}", printable(&frame.reason));
    End::Closed {
        code: Some(code),
        description: description.trim_end().to_owned(),
    }
}

/// Whether a read was given up because the reader of standard output has ended.
fn is_closed_output(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<stdout::Closed>())
}

fn close_message() -> Message {
    Message::Close(Some(CloseFrame {
        code: CloseCode::Normal,
        reason: Utf8Bytes::default(),
    }))
}
