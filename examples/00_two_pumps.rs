//! Learn: one client is two threads and a queue with an end. When the client stops reading, `send` waits.
//! Run:   cargo run --example 00_two_pumps    then, in a second terminal:  python3 -m websockets ws://127.0.0.1:9001/
//! Watch: type a line, and it comes back. Then send much and read nothing: `send waits` is printed, and stays.
//! Try next: `bounded(8)` as `bounded(0)`, then as `unbounded()`, and the same client that does not read.
//!
//! ```text
//! client ─TCP─▶ reader ─▶ bounded(8) ─▶ writer ─TCP─▶ client
//! ```
//! Here is no clock: who never reads stays for ever. The library's `01_echo` is shorter than this, and has them all.
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::{env, error::Error, thread, time::Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext, frame::Frame};
use tungstenite::{Error as WsError, Message};

fn main() -> io::Result<()> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9001".into());
    let listener = TcpListener::bind(address)?;
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

/// One client's life. It ends when both threads have: the scope joins the writer.
fn client(id: usize, stream: &TcpStream) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true)?;
    tungstenite::accept(stream).map_err(|error| error.to_string())?;
    thread::scope(|scope| {
        let (queue, waiting) = bounded(8);
        let writer = thread::Builder::new().name(format!("sp-{id}-write"));
        writer.spawn_scoped(scope, move || write_pump(stream, waiting))?;
        // The queue is dropped when this returns; the writer then writes what is left of it, and ends too.
        read_pump(id, stream, &queue).map_err(Into::into)
    })
}

/// The only code that writes. It knows no WebSocket: it has bytes, and a socket that may make it wait.
fn write_pump(mut stream: &TcpStream, waiting: Receiver<Vec<u8>>) {
    for bytes in waiting {
        if stream.write_all(&bytes).is_err() {
            break; // `waiting` ends here, and with it every `send` that waits.
        }
    }
    let _ = stream.shutdown(Shutdown::Both); // The reader may stand in `read`: this wakes it.
}

/// The only code that reads. What it has to say goes through the queue, as all the rest does.
fn read_pump(id: usize, stream: &TcpStream, queue: &Sender<Vec<u8>>) -> Result<(), WsError> {
    let limits = WebSocketConfig::default()
        .max_message_size(Some(64 << 10))
        .max_frame_size(Some(64 << 10));
    let mut context = WebSocketContext::new(Role::Server, Some(limits));
    loop {
        let (frame, last) = match context.read(&mut ReadHalf(stream)) {
            Ok(Message::Text(text)) => (
                Frame::message(text, OpCode::Data(Data::Text), true),
                Ok(false),
            ),
            Ok(Message::Binary(data)) => (
                Frame::message(data, OpCode::Data(Data::Binary), true),
                Ok(false),
            ),
            Ok(Message::Ping(data)) => (Frame::pong(data), Ok(false)),
            Ok(Message::Close(frame)) => (Frame::close(frame), Ok(true)),
            Ok(Message::Pong(_) | Message::Frame(_)) => continue,
            Err(error) => (Frame::close(verdict(&error)), Err(error)),
        };
        let mut bytes = Vec::with_capacity(frame.len());
        frame.format(&mut bytes)?;
        if !send(id, queue, bytes) || last? {
            return Ok(());
        }
    }
}

/// Queues `bytes`, waiting while the queue is full: and while it waits, nobody reads this client either.
fn send(id: usize, queue: &Sender<Vec<u8>>, bytes: Vec<u8>) -> bool {
    match queue.try_send(bytes) {
        Err(TrySendError::Full(bytes)) => {
            println!("client {id}: {} messages wait, so send waits", queue.len());
            let since = Instant::now();
            let sent = queue.send(bytes).is_ok();
            println!("client {id}: send waited {:?}", since.elapsed());
            sent
        }
        sent => sent.is_ok(),
    }
}

/// tungstenite says what is wrong, and leaves it to us to tell the client (RFC 6455 §7.4.1).
fn verdict(error: &WsError) -> Option<CloseFrame> {
    let code = match error {
        WsError::Protocol(_) => CloseCode::Protocol,
        WsError::Utf8(_) => CloseCode::Invalid,
        WsError::Capacity(_) => CloseCode::Size,
        _ => return None,
    };
    Some(CloseFrame {
        code,
        reason: error.to_string().into(),
    })
}

/// Reads the socket, and swallows what tungstenite wants to write: it answers a ping and a Close from inside `read`,
/// which would make two writers. It also gives us the ping and the Close, and those we answer through the queue.
struct ReadHalf<'a>(&'a TcpStream);

impl Read for ReadHalf<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for ReadHalf<'_> {
    fn write(&mut self, swallowed: &[u8]) -> io::Result<usize> {
        Ok(swallowed.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
