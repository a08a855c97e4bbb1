//! `standpipe client URL`: a person, or a file, at one end of a WebSocket; and the slow consumer, to try a server with.
//!
//! Each client is two threads as the server's are: one reads the socket and prints, `sp-send-N` is the only one that
//! writes to it. What both want written goes through one bounded queue.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::{Builder, ScopedJoinHandle, scope};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use standpipe::tungstenite::client::{ClientRequestBuilder, client_with_config};
use standpipe::tungstenite::protocol::frame::coding::CloseCode;
use standpipe::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use standpipe::tungstenite::{Error, Message, WebSocket};

use super::Failure;
use super::args::ClientArgs;
use super::terminal::shown;
use super::throttle::{Pace, Paced};
use socket::{Queued, queued};

mod socket;

/// What waits for the thread that writes: lines of a file, typed ones, pongs.
const QUEUE: usize = 64;
/// A line of what is sent, at most: a file without line ends must not be had whole.
const LINE: u64 = 16 << 20;
const SUBPROTOCOL: &str = "standpipe.v1";

/// For the answer to our goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a client's connection ended.
enum End {
    /// With a code; whether that is one of a good end.
    Closed(String, bool),
    /// We had what we wanted.
    Enough,
}

/// Runs the clients, and prints what they get and how they end.
///
/// # Errors
/// When one cannot connect, breaks off, or is closed with another code than 1000 and 1001.
pub(crate) fn run(args: &ClientArgs) -> Result<(), Failure> {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let ends: Vec<Result<End, Failure>> = scope(|scope| {
        let start = |n: usize| {
            Builder::new()
                .name(format!("sp-client-{n}"))
                .spawn_scoped(scope, move || life(args, n))
        };
        let threads: Vec<io::Result<ScopedJoinHandle<'_, _>>> =
            (1..=args.clients).map(start).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread?
                    .join()
                    .unwrap_or_else(|_| Err("its thread panicked".into()))
            })
            .collect()
    });
    let mut bad = 0;
    for (n, end) in (1..).zip(ends) {
        let (said, is_good) = match end {
            Ok(End::Closed(said, is_good)) => (said, is_good),
            Ok(End::Enough) => (
                format!("left with {} received", args.count.unwrap_or(0)),
                true,
            ),
            Err(error) => (error.to_string(), false),
        };
        bad += usize::from(!is_good);
        writeln!(io::stderr(), "{}{said}", label(args, n))?;
    }
    match bad {
        0 => Ok(()),
        _ => Err(format!("{bad} of {} ended badly", args.clients).into()),
    }
}

/// Which client speaks, when there are several.
fn label(args: &ClientArgs, n: usize) -> String {
    if args.clients == 1 {
        String::new()
    } else {
        format!("{n}: ")
    }
}

fn life(args: &ClientArgs, n: usize) -> Result<End, Failure> {
    let tcp = args.url.dial(args.rcvbuf.map(|size| size.0))?;
    let own = tcp.try_clone()?;
    // At full speed through the handshake.
    let pace = Pace::new(None);
    let mut request = ClientRequestBuilder::new(args.url.uri.clone());
    if let Some(protocol) = subprotocol(args) {
        request = request.with_sub_protocol(protocol);
    }
    if let Some(token) = args.token()? {
        request = request.with_header("Authorization", format!("Bearer {token}"));
    }
    let (queue, taken) = bounded(QUEUE);
    let config = WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .write_buffer_size(0);
    let stream = Queued::new(Paced::new(tcp, Arc::clone(&pace)));
    let (mut socket, response) = client_with_config(request, stream, Some(config))
        .map_err(|error| format!("no WebSocket at {}: {error}", args.url))?;
    // From here the server's own clocks decide; a socket that is shut down frees both threads.
    own.set_read_timeout(None)?;
    own.set_write_timeout(None)?;
    if let Some(protocol) = response.headers().get("sec-websocket-protocol") {
        writeln!(
            io::stderr(),
            "{}speaks {}",
            label(args, n),
            shown(&String::from_utf8_lossy(protocol.as_bytes()))
        )?;
    }
    socket.get_mut().goes_to(queue.clone());
    pace.set(args.read_rate);
    scope(|scope| {
        let writer = own.try_clone()?;
        let writes = Builder::new()
            .name(format!("sp-send-{n}"))
            .spawn_scoped(scope, move || write(writer, &taken))?;
        let end = Conversation {
            args,
            n,
            pace: &pace,
            queue: &queue,
        }
        .hold(&mut socket);
        let _ = own.shutdown(Shutdown::Both);
        // A thread that waits for a person still holds the queue, so its end must be said. There is room soon: what the
        // writer writes fails now.
        let _ = queue.send(Vec::new());
        let _ = writes.join();
        end
    })
}

fn subprotocol(args: &ClientArgs) -> Option<String> {
    let path = args.url.uri.path();
    args.subprotocol
        .clone()
        .or_else(|| matches!(path, "/ws" | "/ws/").then(|| SUBPROTOCOL.to_owned()))
}

/// The only code that writes, until nothing is what it shall write, or the socket is gone.
fn write(mut tcp: TcpStream, taken: &Receiver<Vec<u8>>) {
    for bytes in taken {
        if bytes.is_empty() {
            break;
        }
        if tcp.write_all(&bytes).is_err() {
            // The thread that reads sees the same, and says so.
            let _ = tcp.shutdown(Shutdown::Both);
            break;
        }
    }
}

struct Conversation<'a> {
    args: &'a ClientArgs,
    n: usize,
    pace: &'a Arc<Pace>,
    queue: &'a Sender<Vec<u8>>,
}

impl Conversation<'_> {
    /// Prints what comes until the end.
    fn hold(&self, socket: &mut WebSocket<Queued>) -> Result<End, Failure> {
        self.feed()?;
        let mut received = 0;
        let mut closed = None;
        loop {
            match socket.read() {
                Ok(Message::Close(frame)) => {
                    closed = Some(frame.map_or(
                        ("closed without a code".to_owned(), true),
                        |frame| {
                            let code = u16::from(frame.code);
                            let reason = shown(&frame.reason);
                            (
                                format!("closed with {code} {reason}").trim_end().to_owned(),
                                matches!(code, 1000 | 1001),
                            )
                        },
                    ));
                }
                Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                    self.print(&message)?;
                    received += 1;
                    if self.args.count == Some(received) {
                        self.leave(socket);
                        return Ok(End::Enough);
                    }
                    if self.args.pause_after == Some(received) {
                        writeln!(io::stderr(), "{}reads no more", label(self.args, self.n))?;
                        self.pace.set(Some(0));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    return match (closed, error) {
                        (Some((said, is_good)), _) => Ok(End::Closed(said, is_good)),
                        (None, Error::ConnectionClosed) => Ok(End::Closed("closed".into(), true)),
                        (None, error) => Err(format!("broken off: {error}").into()),
                    };
                }
            }
        }
    }

    /// Says goodbye, and reads on for a moment: what is still on its way would end in a reset.
    fn leave(&self, socket: &mut WebSocket<Queued>) {
        let end = Instant::now() + FAREWELL;
        self.pace.set(None);
        // The work is done; whether the server still answers is its own affair.
        let _ = socket.get_mut().set_timeout(FAREWELL);
        if queued(self.queue, &goodbye()).is_ok() {
            while socket.read().is_ok() && Instant::now() < end {}
        }
    }

    fn print(&self, message: &Message) -> io::Result<()> {
        let label = label(self.args, self.n);
        let mut out = io::stdout().lock();
        match message {
            Message::Text(text) => writeln!(out, "{label}{}", shown(text))?,
            other => writeln!(out, "{label}[binary, {} bytes]", other.len())?,
        }
        out.flush()
    }

    /// Sends lines: of the file, or what is typed. Who only counts, or only reads slowly, types nothing.
    fn feed(&self) -> Result<(), Failure> {
        let args = self.args;
        let only_listens = args.clients > 1
            || args.count.is_some()
            || args.read_rate.is_some()
            || args.pause_after.is_some();
        let source = match &args.send {
            None if only_listens => return Ok(()),
            None => None,
            Some(name) if name.as_os_str() == "-" => None,
            Some(name) => {
                let file =
                    File::open(name).map_err(|error| format!("{}: {error}", name.display()))?;
                Some(file)
            }
        };
        // A goodbye discards what is still on its way, so who waits for so many messages says none.
        let says_goodbye = args.count.is_none();
        let queue = self.queue.clone();
        // Not joined: nobody can wake a thread that waits for a person. It ends with the queue, or the process.
        Builder::new()
            .name(format!("sp-input-{}", self.n))
            .spawn(move || {
                let input: Box<dyn io::Read> = match source {
                    Some(file) => Box::new(file),
                    None => Box::new(io::stdin()),
                };
                let sent = lines(input, |line| queued(&queue, &Message::text(line)));
                if let Err(error) = sent {
                    let _ = writeln!(io::stderr(), "nothing more is sent: {error}");
                }
                if says_goodbye {
                    let _ = queued(&queue, &goodbye());
                }
            })?;
        Ok(())
    }
}

fn goodbye() -> Message {
    Message::Close(Some(CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    }))
}

/// Each line, without its end, as long as `take` takes them.
pub(super) fn lines(
    input: impl io::Read,
    mut take: impl FnMut(String) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut input = BufReader::new(input);
    loop {
        let mut line = Vec::new();
        if io::Read::take(&mut input, LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        take(String::from_utf8_lossy(&line).into_owned())?;
    }
}

/// A frame of ours, masked.
fn encoded(message: &Message) -> Result<Vec<u8>, Failure> {
    let mut whole = WebSocket::from_raw_socket(io::Cursor::new(Vec::new()), Role::Client, None);
    match message {
        Message::Close(frame) => whole.close(frame.clone())?,
        other => whole.send(other.clone())?,
    }
    Ok(whole.get_ref().get_ref().clone())
}
