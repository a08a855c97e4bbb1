//! Learn: where the messages are when a client stops reading, what makes `send` wait, and what makes it go on.
//! Run:   cargo run --example 03_backpressure    One terminal: the client that does not read is in the same process.
//! Watch: the steps, numbered as in the picture and in the GUIDE. The two kernels hold a few hundred KiB, the queue
//!        holds its 64 messages, and then `send` waits. When the client reads, `send` returns by itself.
//! Try next: add `.unsent(4 << 20)` to the `Config` below, which lets the kernel buffer as much as it does by default.
//!        Then try `.queue(8)`. How many messages does each place hold now?
//!
//! ```text
//! handler ─send─▶ queue ─▶ writer ─write─▶ send buffer ═TCP═▶ receive buffer ─▶ client's read
//!      6 waits   5 fills  4 blocks        3 fills           2 fills            1 stops
//!    └ no recv: 7 the server's receive buffer fills, and then the client's own sends wait
//!
//! 1  the client does not read
//! 2  the client's receive buffer is full: 116 KiB, so its TCP window is closed
//! 3  the server's send buffer is full: 152 KiB
//!      together the kernels hold 67 messages, 268 KiB
//! 4  writer: blocked in write
//! 5  the queue is full: 64 of 64 messages
//!      queued and in flight: 260 KiB
//! 6  the handler calls send. reader: waiting for room in client 1's queue
//!    ...
//! the client reads: after 1 messages (4 KiB) send returned, having waited 376µs
//! accepted 133, delivered 133, read 133
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::net::TcpStream;
use std::time::{Duration, Instant};
use std::{env, error::Error, thread};

use crossbeam_channel::bounded;
use standpipe::{Activity, ClientState, Config, Connection, Message, Outbox, Server, ServerHandle};

/// Bytes of each message on the network: a frame header of 4 bytes, and the payload.
const SIZE: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:0");
    let config = Config::default().write_timeout(Duration::from_secs(60));
    let server = Server::bind(address, config)?;
    let handle = server.handle();
    let url = format!("ws://{}/", handle.local_addr().ok_or("no TCP address")?);
    println!("backpressure on {url}");
    let (outboxes, new_outbox) = bounded(1);
    let (queue_is_full, start_send) = bounded::<()>(1);
    let (send_returned, waited) = bounded(1);
    let running = server.spawn(move |conn: &mut Connection| {
        outboxes.send(conn.outbox())?;
        start_send.recv()?; // Until the main thread has filled the queue.
        let since = Instant::now();
        let sent = conn.send(message());
        send_returned.send(since.elapsed())?;
        sent?;
        while conn.recv()?.is_some() {}
        Ok(())
    })?;

    let stream = TcpStream::connect(handle.local_addr().ok_or("no TCP address")?)?;
    let (mut client, _) = tungstenite::client(url, &stream).map_err(|error| error.to_string())?;
    let outbox: Outbox = new_outbox.recv()?;
    println!("1  the client does not read");

    // A client is slow when its queue is full *and* its socket refuses bytes. A queue that stays full for half a second
    // shows both: otherwise the writer would have made room in it.
    let long = Duration::from_millis(500);
    while outbox.send_timeout(message(), long).is_ok() {}
    let (received, messages) = (unread(&stream)?, outbox.counts().delivered);
    let written = usize::try_from(messages)? * SIZE;
    let (client_kib, server_kib) = (received >> 10, written.saturating_sub(received) >> 10);
    println!(
        "2  the client's receive buffer is full: {client_kib} KiB, so its TCP window is closed"
    );
    println!("3  the server's send buffer is full: {server_kib} KiB");
    println!(
        "     together the kernels hold {messages} messages, {} KiB",
        written >> 10
    );
    println!("4  writer: {}", seen_by(&handle)?.writer.activity);
    println!(
        "5  the queue is full: {} of {} messages",
        outbox.len(),
        outbox.capacity()
    );
    println!("     queued and in flight: {} KiB", outbox.bytes() >> 10);

    queue_is_full.send(())?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let reader = loop {
        let reader = seen_by(&handle)?.reader.activity;
        if matches!(reader, Activity::WaitingForRoom(_)) || Instant::now() > deadline {
            break reader;
        }
        thread::yield_now(); // Polled, because no event reports a change of this state.
    };
    println!("6  the handler calls send. reader: {reader}");
    println!(
        "7  the handler does not call recv while it waits. Whatever the client sent now would"
    );
    println!("     fill the server's receive buffer, and then the client's own sends would wait");

    let mut read = 0;
    let waited = loop {
        client.read()?;
        read += 1;
        if let Ok(waited) = waited.try_recv() {
            break waited;
        }
    };
    let kib = read * SIZE / 1024;
    println!(
        "the client reads: after {read} messages ({kib} KiB) send returned, having waited {waited:.0?}"
    );

    // The queued messages still arrive, and the Close comes after them.
    outbox.close(1000, "that was all");
    while client.read().is_ok_and(|message| !message.is_close()) {
        read += 1;
    }
    while client.read().is_ok() {} // Answers the Close, and returns when the connection has ended.
    let counts = outbox.counts();
    println!(
        "accepted {}, delivered {}, read {read}",
        counts.accepted, counts.delivered
    );
    handle.shutdown();
    println!("{}", running.join()?);
    Ok(())
}

fn message() -> Message {
    Message::binary(vec![b'.'; SIZE - 4])
}

/// Returns how many bytes the client's kernel has received that the client has not read.
fn unread(stream: &TcpStream) -> std::io::Result<usize> {
    stream.peek(&mut vec![0; 16 << 20])
}

/// Returns what the server reports about its only client.
fn seen_by(handle: &ServerHandle) -> Result<ClientState, &'static str> {
    handle.client_states().pop().ok_or("the client is gone")
}
