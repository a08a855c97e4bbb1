//! Learn: what each kind of client sees when the server ends, and that the end comes whatever they do.
//! Run:   cargo run --example 05_shutdown    one terminal: the clients are in the same process.
//! Watch: who reads gets all that was queued, and 1001. Who does not read is reset when the time is over, and counted.
//! Try next: `shutdown_timeout` 10 s; a `std::thread::park()` at the end of the handler: what does the report wait for?
//!
//! The order: 1 accept no more · 2 refuse requests in flight with 503 · 3 every call on a connection ends · 4 what is
//! queued, then 1001 · 5 reset what is left at the deadline · 6 join every thread, and report.
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use std::{env, error::Error, thread};

use crossbeam_channel::{Receiver, bounded};
use standpipe::{Config, Connection, Message, Outbox, Server};
use tungstenite::WebSocket;

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let config = Config::default().shutdown_timeout(Duration::from_secs(2));
    let server = Server::bind(address, config)?;
    let handle = server.handle();
    let address = handle.local_addr();
    println!("shutdown on ws://{address}/");
    let (lend, lent) = bounded(1);
    let running = server.spawn(move |conn: &mut Connection| {
        lend.send(conn.outbox())?;
        while conn.recv()?.is_some() {} // `None` when the server shuts down.
        Ok(())
    })?;

    let (mut idle, _) = connect(address, &lent)?;
    let (mut busy, to_busy) = connect(address, &lent)?;
    let (mut deaf, to_deaf) = connect(address, &lent)?;
    let (left, to_left) = connect(address, &lent)?;
    let mut half = TcpStream::connect(address)?;
    half.write_all(b"GET / HTTP/1.1\r\nHost: half")?;
    while to_deaf
        .send_timeout(large(), Duration::from_millis(300))
        .is_ok()
    {}
    drop(left);
    while to_left.closed().try_recv() != Err(crossbeam_channel::TryRecvError::Disconnected) {
        thread::yield_now(); // Its end is seen by its reader.
    }
    while handle.pending_handshakes() == 0 {
        thread::yield_now(); // It may not be accepted yet.
    }
    for _ in 0..50 {
        to_busy.try_send(large())?;
    }

    let since = Instant::now();
    handle.shutdown();
    thread::scope(|scope| {
        scope.spawn(|| println!("idle    reads and answers: {}", end_of(&mut idle)));
        scope.spawn(|| println!("busy    has 50 messages to read: {}", end_of(&mut busy)));
        scope.spawn(|| println!("half    had sent half a request: {}", answer_to(&mut half)));
    });
    println!("left    broke off before: it is counted nowhere");
    let late = to_deaf.send(large()).is_err();
    println!("sender  send fails from here on: {late}, and gives the message back");
    let report = running.join()?;
    println!("deaf    never read: {}", end_of(&mut deaf));
    let dead = TcpStream::connect(address).is_err();
    println!("late    connects after the end: refused = {dead}");
    println!(
        "after {:.1?}: nobody waits longer than shutdown_timeout for a client",
        since.elapsed()
    );
    println!("{report}");
    Ok(())
}

fn large() -> Message {
    Message::binary(vec![0; 16 << 10])
}

type Client = WebSocket<TcpStream>;

fn connect(
    address: SocketAddr,
    lent: &Receiver<Outbox>,
) -> Result<(Client, Outbox), Box<dyn Error>> {
    let stream = TcpStream::connect(address)?;
    let client = tungstenite::client(format!("ws://{address}/"), stream);
    let (client, _) = client.map_err(|error| error.to_string())?;
    Ok((client, lent.recv()?))
}

/// Reads until nothing comes any more, answering the Close as tungstenite does.
fn end_of(client: &mut Client) -> String {
    let mut read = 0;
    let mut close = String::from("no Close");
    loop {
        match client.read() {
            Ok(Message::Close(Some(frame))) => close = format!("Close {}", u16::from(frame.code)),
            Ok(_) => read += 1,
            Err(tungstenite::Error::ConnectionClosed) => {
                return format!("{read} messages, {close}");
            }
            Err(error) => return format!("{read} messages, {close}, {error}"),
        }
    }
}

/// The first line of an HTTP answer.
fn answer_to(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // What came before an error is the answer all the same.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    answer.lines().next().unwrap_or("nothing").to_owned()
}
