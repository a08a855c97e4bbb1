//! Learn: one client is two threads with a bounded queue between them. When the client stops reading, `send` waits.
//! Run:   cargo run --example 00_two_pumps    In a second terminal, a client that reads only 3 of the replies:
//!        yes "$(seq -s, 1000)" | cargo run -- client --send - --pause-after 3 ws://127.0.0.1:9001/
//! Watch: the server prints that `send` waits, and then nothing more: it also reads nothing more from this client, so
//!        the client's own sends wait too. End the client with Ctrl-C: the waiting `send` fails, and both threads end.
//! Try next: replace `bounded(8)` by `bounded(0)`, then by `unbounded()`, and run the same client. With `unbounded()`,
//!        `send` never waits, and the memory of the server grows for as long as the client sends.
//!
//! ```text
//! client ─TCP─▶ reader ─▶ bounded(8) ─▶ writer ─TCP─▶ client
//!
//! two pumps on ws://127.0.0.1:9001/
//! client 0: the queue has been full for 100 ms (8 messages), send waits
//! client 0: send failed
//! client 0: left
//! ```
//! This server has no timeouts: a client that never reads stays forever. `01_echo` is shorter, and has all of them.
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::{env, error::Error, thread, time::Duration};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext, frame::Frame};
use tungstenite::{Error as WsError, Message};

fn main() -> io::Result<()> {
    let address = env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:9001"))?;
    println!("two pumps on ws://{}/", listener.local_addr()?);
    for (id, stream) in listener.incoming().enumerate() {
        let stream = stream?;
        let reader = thread::Builder::new().name(format!("sp-{id}-read"));
        reader.spawn(move || match client(id, &stream) {
            Ok(()) => println!("client {id}: left"),
            Err(error) => println!("client {id}: {error}"),
        })?;
    }
    Ok(())
}

/// Serves one client. Returns when both threads have ended, because the scope joins the writer.
fn client(id: usize, stream: &TcpStream) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true)?;
    tungstenite::accept(stream).map_err(|error| error.to_string())?;
    thread::scope(|scope| {
        let (queue, queued) = bounded(8);
        let writer = thread::Builder::new().name(format!("sp-{id}-write"));
        writer.spawn_scoped(scope, move || write_pump(stream, queued))?;
        // `queue` is dropped when this closure returns. The writer then writes what is still queued, and ends.
        read_pump(id, stream, &queue).map_err(Into::into)
    })
}

/// The writer: the only code that writes to the socket. It takes encoded frames, and `write_all` may block.
fn write_pump(mut stream: &TcpStream, queued: Receiver<Vec<u8>>) {
    for bytes in queued {
        if stream.write_all(&bytes).is_err() {
            break; // This drops `queued`, so a `send` that waits returns an error.
        }
    }
    let _ = stream.shutdown(Shutdown::Both); // Wakes the reader if it is blocked in `read`.
}

/// The reader: the only code that reads from the socket. Its replies, pongs and Close go through the queue.
fn read_pump(id: usize, stream: &TcpStream, queue: &Sender<Vec<u8>>) -> Result<(), WsError> {
    let limits = WebSocketConfig::default().max_message_size(Some(64 << 10));
    let limits = limits.max_frame_size(Some(64 << 10));
    let mut context = WebSocketContext::new(Role::Server, Some(limits));
    loop {
        let mut result = None; // The result of this function, once the frame is the last one.
        let frame = match context.read(&mut ReadHalf(stream)) {
            Ok(Message::Text(text)) => Frame::message(text, OpCode::Data(Data::Text), true),
            Ok(Message::Binary(data)) => Frame::message(data, OpCode::Data(Data::Binary), true),
            Ok(Message::Ping(data)) => Frame::pong(data),
            Ok(Message::Pong(_) | Message::Frame(_)) => continue,
            Ok(Message::Close(frame)) => {
                result = Some(Ok(()));
                Frame::close(frame)
            }
            Err(error) => {
                let close = close_frame(&error);
                result = Some(Err(error));
                Frame::close(close)
            }
        };
        let mut bytes = Vec::with_capacity(frame.len());
        frame.format(&mut bytes)?;
        let writer_runs = send(id, queue, bytes);
        if let Some(result) = result {
            return result;
        }
        if !writer_runs {
            return Ok(());
        }
    }
}

/// Queues `bytes`, and waits while the queue is full. While it waits, nothing is read from this client.
/// Returns `false` if the writer has ended.
fn send(id: usize, queue: &Sender<Vec<u8>>, bytes: Vec<u8>) -> bool {
    match queue.send_timeout(bytes, Duration::from_millis(100)) {
        Err(SendTimeoutError::Timeout(bytes)) => {
            let queued = queue.len();
            println!(
                "client {id}: the queue has been full for 100 ms ({queued} messages), send waits"
            );
            let sent = queue.send(bytes).is_ok();
            println!(
                "client {id}: send {}",
                if sent { "went on" } else { "failed" }
            );
            sent
        }
        result => result.is_ok(),
    }
}

/// Returns the Close that tells the client which rule it broke (RFC 6455 §7.4.1). tungstenite leaves that to us.
fn close_frame(error: &WsError) -> Option<CloseFrame> {
    let code = match error {
        WsError::Protocol(_) => CloseCode::Protocol,
        WsError::Utf8(_) => CloseCode::Invalid,
        WsError::Capacity(_) => CloseCode::Size,
        _ => return None,
    };
    let reason = error.to_string().into();
    Some(CloseFrame { code, reason })
}

/// Reads from the socket and discards writes. tungstenite answers a ping and a Close from inside `read`, which would
/// make the reader a second writer. It also returns the ping and the Close to us, and we answer them through the queue.
struct ReadHalf<'a>(&'a TcpStream);

impl Read for ReadHalf<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for ReadHalf<'_> {
    fn write(&mut self, discarded: &[u8]) -> io::Result<usize> {
        Ok(discarded.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
