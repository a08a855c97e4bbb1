//! `standpipe client URL`: sends typed lines, or a file, to a WebSocket and prints what arrives. It can also act as a
//! slow consumer, to test a server.
//!
//! Like a connection of the server, each client has two threads. `sp-client-N` reads the socket and prints. After the
//! opening handshake only `sp-send-N` writes to the socket. Everything to be written goes through one bounded queue. A
//! client that sends has a third thread, `sp-input-N`, which reads the lines.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::{Builder, ScopedJoinHandle, scope};

use crossbeam_channel::{Receiver, bounded};
use standpipe::tungstenite::client::{ClientRequestBuilder, client_with_config};
use standpipe::tungstenite::protocol::WebSocketConfig;

use super::Failure;
use super::args::ClientArgs;
use super::terminal::printable;
use super::throttle::{Throttle, ThrottledStream};
use conversation::Conversation;
use outcome::{Outcome, label};
use socket::QueuedSocket;

pub(super) use input::for_each_line;

mod conversation;
mod input;
mod outcome;
mod socket;

/// The capacity of the queue of the writing thread. It holds lines and pongs.
const QUEUE: usize = 64;
const SUBPROTOCOL: &str = "standpipe.v1";

/// Runs the clients, and prints what they receive and how they end.
///
/// # Errors
/// When a client cannot connect, loses its connection, or is closed with a code other than 1000 and 1001.
pub(crate) fn run(args: &ClientArgs) -> Result<(), Failure> {
    // An error is ignored: if the limit is too low, connecting fails with a clear error.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let outcomes: Vec<Result<Outcome, Failure>> = scope(|scope| {
        let start = |n: usize| {
            Builder::new()
                .name(format!("sp-client-{n}"))
                .spawn_scoped(scope, move || run_client(args, n))
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
    let mut failed = 0;
    for (n, outcome) in (1..).zip(outcomes) {
        let (text, is_normal) = match outcome {
            Ok(Outcome::Closed {
                description,
                is_normal,
            }) => (description, is_normal),
            Ok(Outcome::CountReached) => (
                format!(
                    "closed after receiving {} messages",
                    args.count.unwrap_or(0)
                ),
                true,
            ),
            Err(error) => (error.to_string(), false),
        };
        failed += usize::from(!is_normal);
        writeln!(io::stderr(), "{}{text}", label(args, n))?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(format!("{failed} of {} clients failed", args.clients).into()),
    }
}

/// The main function of `sp-client-N`: connects, starts the writing thread, and reads until the end.
fn run_client(args: &ClientArgs, n: usize) -> Result<Outcome, Failure> {
    let tcp = args.url.dial(args.rcvbuf.map(|size| size.0))?;
    let clone = tcp.try_clone()?;
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
    let stream = QueuedSocket::new(ThrottledStream::new(tcp, throttle.clone()));
    let (mut socket, response) = client_with_config(request, stream, Some(config))
        .map_err(|error| format!("no WebSocket at {}: {error}", args.url))?;
    // From here on the server's timeouts decide. Shutting down the socket wakes both threads.
    clone.set_read_timeout(None)?;
    clone.set_write_timeout(None)?;
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
    scope(|scope| {
        let writer = clone.try_clone()?;
        let writing = Builder::new()
            .name(format!("sp-send-{n}"))
            .spawn_scoped(scope, move || write(writer, &queued))?;
        let outcome = Conversation {
            args,
            n,
            throttle: &throttle,
            queue: &queue,
        }
        .run(&mut socket);
        let _ = clone.shutdown(Shutdown::Both);
        // The empty entry ends the writing thread. The queue is not disconnected, because a thread that waits for input
        // still holds a sender. The queue has room soon, because writing to the socket fails now.
        let _ = queue.send(Vec::new());
        let _ = writing.join();
        outcome
    })
}

/// Returns the subprotocol to offer: the one from the command line, or the one of JSON mode on its path `/ws`.
fn subprotocol(args: &ClientArgs) -> Option<String> {
    let path = args.url.uri.path();
    args.subprotocol
        .clone()
        .or_else(|| matches!(path, "/ws" | "/ws/").then(|| SUBPROTOCOL.to_owned()))
}

/// The main function of `sp-send-N`: writes what is queued, until an empty entry comes or the socket fails.
fn write(mut tcp: TcpStream, queued: &Receiver<Vec<u8>>) {
    for bytes in queued {
        if bytes.is_empty() {
            break;
        }
        if tcp.write_all(&bytes).is_err() {
            // The reading thread sees the end of the connection and reports it.
            let _ = tcp.shutdown(Shutdown::Both);
            break;
        }
    }
}
