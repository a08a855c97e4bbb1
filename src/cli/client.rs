//! `standpipe client URL`: sends typed lines, or a file, to a WebSocket and prints what arrives. It can also act as a
//! slow consumer, to test a server.
//!
//! Like a connection of the server, each client has two threads. `sp-client-N` reads the socket and prints. After the
//! opening handshake only `sp-send-N` writes to the socket. Everything to be written goes through one bounded queue. A
//! client that sends has a third thread, `sp-input-N`, which reads the lines.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{Builder, ScopedJoinHandle, scope};

use crossbeam_channel::bounded;
use standpipe::tungstenite::client::{ClientRequestBuilder, client_with_config};
use standpipe::tungstenite::protocol::WebSocketConfig;

use super::args::ClientArgs;
use super::secure::Secure;
use super::terminal::printable;
use super::throttle::{Throttle, ThrottledStream};
use super::{Failure, refusal, stdout};
use conversation::Conversation;
use outcome::{End, label};
use progress::Progress;
use socket::{Entry, QueuedSocket};
use writer::ANSWER_TIMEOUT;

pub(super) use input::{Line, Lines};

mod conversation;
mod input;
mod outcome;
mod progress;
mod socket;
mod writer;

/// The capacity of the queue of the writing thread. It holds lines and pongs.
const QUEUE: usize = 64;
const SUBPROTOCOL: &str = "standpipe.v1";
/// The close code for a message that is too large.
const TOO_LARGE: u16 = 1009;

/// Runs the clients, and prints what they receive and how they end.
///
/// # Errors
/// When a client cannot connect, loses its connection, is closed with a code other than 1000 and 1001, or could not send
/// all of its input.
pub(crate) fn run(args: &ClientArgs) -> Result<(), Failure> {
    // An error is ignored: if the limit is too low, connecting fails with a clear error.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let secure = &args.secure.secure(args.url.has_tls())?;
    let ends: Vec<Result<String, Failure>> = scope(|scope| {
        let start = |n: usize| {
            Builder::new()
                .name(format!("sp-client-{n}"))
                .spawn_scoped(scope, move || run_client(args, secure, n))
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
    let (mut failed, mut closed) = (0, None);
    for (n, end) in (1..).zip(ends) {
        match end {
            Ok(text) => writeln!(io::stderr(), "{}{text}", label(args, n))?,
            Err(error) if error.is::<stdout::Closed>() => closed = Some(error),
            Err(error) if args.clients == 1 => return Err(error),
            Err(error) => {
                failed += 1;
                writeln!(io::stderr(), "{}{error}", label(args, n))?;
            }
        }
    }
    match (failed, closed) {
        (0, None) => Ok(()),
        (0, Some(closed)) => Err(closed),
        _ => Err(format!("{failed} of {} clients failed", args.clients).into()),
    }
}

/// The main function of `sp-client-N`: connects, starts the writing thread, and reads until the end. Returns how the
/// connection ended.
fn run_client(args: &ClientArgs, secure: &Secure, n: usize) -> Result<String, Failure> {
    let stream = args.url.dial(secure, args.rcvbuf.map(|size| size.0))?;
    // The opening handshake runs at full speed.
    let throttle = Throttle::new(None);
    let mut request = ClientRequestBuilder::new(args.url.uri.clone());
    if let Some(protocol) = subprotocol(args) {
        request = request.with_sub_protocol(protocol);
    }
    if let Some(token) = args.token()? {
        request = request.with_header("Authorization", format!("Bearer {token}"));
    }
    let (queue, queued) = bounded(QUEUE);
    let config = WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .write_buffer_size(0);
    let socket = QueuedSocket::new(ThrottledStream::new(stream.clone(), throttle.clone()));
    let (mut socket, response) =
        client_with_config(request, socket, Some(config)).map_err(|error| {
            let reason = refusal::of_handshake(error);
            format!("no WebSocket at {}: {reason}", args.url)
        })?;
    // From here on the server's timeouts decide. Shutting down the socket wakes both threads.
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    if let Some(protocol) = response.headers().get("sec-websocket-protocol") {
        writeln!(
            io::stderr(),
            "{}subprotocol: {}",
            label(args, n),
            printable(&String::from_utf8_lossy(protocol.as_bytes()))
        )?;
    }
    socket.get_mut().write_to(queue.clone());
    throttle.set(args.read_rate);
    let progress = Arc::new(Progress::default());
    let end = scope(|scope| {
        let writer = stream.clone();
        let (progress, throttle) = (&progress, &throttle);
        let writing =
            Builder::new()
                .name(format!("sp-send-{n}"))
                .spawn_scoped(scope, move || {
                    writer::write(writer, queued, progress, throttle, ANSWER_TIMEOUT);
                })?;
        let end = Conversation {
            args,
            n,
            throttle,
            queue: &queue,
            progress,
        }
        .run(&mut socket);
        stream.shutdown();
        // Ends the writing thread, unless it has ended already. The queue is not disconnected, because a thread that
        // waits for input still holds a sender. This does not wait long, because writing to the socket fails now.
        let _ = queue.send(Entry::End);
        let _ = writing.join();
        end
    });
    judge(args, end, &progress)
}

/// Returns how the connection ended, as an error if something was lost or the server closed for a bad reason.
fn judge(
    args: &ClientArgs,
    end: Result<End, Failure>,
    progress: &Progress,
) -> Result<String, Failure> {
    let is_cut = !matches!(end, Ok(End::CountReached));
    let (text, is_normal) = match end {
        Ok(End::CountReached) => {
            let count = args.count.unwrap_or(0);
            (format!("closed after receiving {count} messages"), true)
        }
        Ok(End::Closed { code, description }) => {
            let longest = progress.longest().filter(|_| code == Some(TOO_LARGE));
            let longest = longest.map_or(String::new(), |longest| format!(" ({longest})"));
            let is_normal = matches!(code, None | Some(1000 | 1001));
            (description + &longest, is_normal)
        }
        Err(error) if error.is::<stdout::Closed>() => return Err(error),
        Err(_) if progress.is_unanswered() => {
            let seconds = ANSWER_TIMEOUT.as_secs();
            let text = format!("the server did not answer the Close within {seconds} s");
            (text, false)
        }
        Err(error) => (error.to_string(), false),
    };
    let losses = progress.losses(is_cut);
    let is_complete = losses.is_empty();
    let text = [vec![text], losses].concat().join("; ");
    if is_normal && is_complete {
        Ok(text)
    } else {
        Err(text.into())
    }
}

/// Returns the subprotocol to offer: the one from the command line, or the one of JSON mode on its path `/ws`.
fn subprotocol(args: &ClientArgs) -> Option<String> {
    args.subprotocol
        .clone()
        .or_else(|| (args.url.uri.path() == "/ws").then(|| SUBPROTOCOL.to_owned()))
}
