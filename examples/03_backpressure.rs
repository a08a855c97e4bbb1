//! Learn: where the messages are when a client stops reading, and what makes `send` wait, and go on.
//! Run:   cargo run --example 03_backpressure    one terminal: the client that does not read is in the same process.
//! Watch: the numbers of each step. The kernel takes a few hundred KiB, the queue its 64 messages, and then `send` waits.
//! Try next: `.unsent(4 << 20)` in the Config below (the kernel's own way), then `.queue(8)`. Who holds how much now?
//!
//! ```text
//! handler ─send─▶ queue ─▶ writer's hand ─▶ send buffer ═TCP═▶ receive buffer ─▶ client's read
//!        4 waits   3 full    2 write waits      1 not taken         0 nobody reads
//! ```
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

use std::net::TcpStream;
use std::time::{Duration, Instant};
use std::{env, error::Error, thread};

use crossbeam_channel::bounded;
use standpipe::{ClientState, Config, Connection, Message, Outbox, Server, ServerHandle};

/// Bytes of each message on the wire: a header of four, and the rest.
const SIZE: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let config = Config::default().write_timeout(Duration::from_secs(60));
    let server = Server::bind(address, config)?;
    let handle = server.handle();
    println!("backpressure on ws://{}/", handle.local_addr());
    let (lend, lent) = bounded(1);
    let (go, gone) = bounded::<()>(1);
    let (done, over) = bounded(1);
    let running = server.spawn(move |conn: &mut Connection| {
        lend.send(conn.outbox())?;
        gone.recv()?; // The main thread fills the queue, and then wants to see this `send` wait.
        let since = Instant::now();
        let sent = conn.send(message());
        done.send(since.elapsed())?;
        sent?;
        while conn.recv()?.is_some() {}
        Ok(())
    })?;

    let stream = TcpStream::connect(handle.local_addr())?;
    let url = format!("ws://{}/", handle.local_addr());
    let (mut client, _) = tungstenite::client(url, &stream).map_err(|error| error.to_string())?;
    let outbox: Outbox = lent.recv()?;
    println!("0  the client is there, and does not read");

    // A client is slow only when there is no room for long: half a second is for ever on this machine.
    while outbox
        .send_timeout(message(), Duration::from_millis(500))
        .is_ok()
    {}
    let (received, taken) = (waiting(&stream)?, outbox.counts().delivered);
    let kernel = usize::try_from(taken)? * SIZE;
    println!(
        "1  the kernel has taken {taken} messages, {} KiB:",
        kernel >> 10
    );
    println!(
        "     {} KiB lie in the client's receive buffer: its window is closed",
        received >> 10
    );
    println!(
        "     {} KiB lie in our send buffer",
        kernel.saturating_sub(received) >> 10
    );
    println!("2  writer: {}", state(&handle, |state| state.writer.state));
    let waits = outbox.len();
    println!(
        "3  the queue is full: {waits} of {} messages",
        outbox.capacity()
    );
    println!("     queue and writer's hand: {} KiB", outbox.bytes() >> 10);

    go.send(())?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let waits = loop {
        let doing = state(&handle, |state| state.reader.state);
        if doing.starts_with("waiting for room") || Instant::now() > deadline {
            break doing;
        }
        thread::yield_now(); // What is looked at tells nobody when it changes.
    };
    println!("4  the handler calls send. reader: {waits}");
    println!("     so nobody calls recv: what this client sends now waits in its own send buffer");

    let mut read = 0;
    let waited = loop {
        client.read()?;
        read += 1;
        if let Ok(waited) = over.try_recv() {
            break waited;
        }
    };
    println!(
        "5  the client reads. After {read} messages, {} KiB, send went on:",
        read * SIZE / 1024
    );
    println!("     it had waited {waited:.0?}");

    // What was queued still comes, and then the Close.
    outbox.close(1000, "that was all");
    while client.read().is_ok_and(|message| !message.is_close()) {
        read += 1;
    }
    while client.read().is_ok() {} // Sends the answer to the Close, and waits for the end.
    let counts = outbox.counts();
    println!(
        "6  accepted {}, delivered {}, read {read}",
        counts.accepted, counts.delivered
    );
    handle.shutdown();
    println!("{}", running.join()?);
    Ok(())
}

fn message() -> Message {
    Message::binary(vec![b'.'; SIZE - 4])
}

/// Bytes that have reached the client's kernel, and nobody has read.
fn waiting(stream: &TcpStream) -> std::io::Result<usize> {
    stream.peek(&mut vec![0; 16 << 20])
}

/// What the server says of its one client.
fn state(handle: &ServerHandle, of: fn(ClientState) -> String) -> String {
    let mut states = handle.client_states();
    states.pop().map_or_else(|| "gone".into(), of)
}
