//! Learn: what each kind of client sees when the server shuts down, and that shutdown ends whatever the clients do.
//! Run:   cargo run --example 05_shutdown    One terminal: the clients are in the same process.
//! Watch: a client that reads gets all its queued messages, and then close code 1001. It counts as *drained*. A client
//!        that does not read is reset at `shutdown_timeout`. It counts as *lost*.
//! Try next: `shutdown_timeout` 10 s. Then `std::thread::park()` at the end of the handler: what does `join` wait for?
//!
//! The steps of a shutdown:
//! 1. Close the listeners, so that newcomers are refused.
//! 2. Reject handshakes whose request does not arrive completely within half a second, with 503.
//! 3. End every call that waits on a connection: `recv` returns `None`, `send` returns its message in an error.
//! 4. Send each client its queued messages, and then a Close with code 1001.
//! 5. `shutdown_timeout` after the last Close, reset the connections that are still open.
//! 6. Join every thread, and return the report.
//!
//! ```text
//! idle    reads and answers: 0 messages, Close 1001
//! half    had sent half a request: HTTP/1.1 503 Service Unavailable
//! busy    has 50 messages to read: 50 messages, Close 1001
//! left    had left before the shutdown: neither drained nor lost
//! sender  send fails from now on: true, and returns the message
//! stuck   never read: 7 messages, no Close, IO error: Connection reset by peer (os error 104)
//! late    connects after the shutdown: refused = true
//! after 2.0s: the server waits for clients up to shutdown_timeout, and no longer
//! drained 2, lost 1
//! ```
//! *Lost* counts the clients whose connection was reset, or broke off, during shutdown before they got everything. A
//! client that left before the shutdown is in neither number.
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use std::{env, error::Error, thread};

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use standpipe::{Config, Connection, Message, Outbox, Server};
use tungstenite::WebSocket;

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:0");
    let config = Config::default().shutdown_timeout(Duration::from_secs(2));
    let server = Server::bind(address, config)?;
    let handle = server.handle();
    let address = handle.local_addr().ok_or("no TCP address")?;
    println!("shutdown on ws://{address}/");
    let (outboxes, new_outbox) = bounded(1);
    let running = server.spawn(move |conn: &mut Connection| {
        outboxes.send(conn.outbox())?;
        while conn.recv()?.is_some() {} // `recv` returns `None` when the server shuts down.
        Ok(())
    })?;

    let (mut idle, _) = connect(address, &new_outbox)?;
    let (mut busy, to_busy) = connect(address, &new_outbox)?;
    let (mut stuck, to_stuck) = connect(address, &new_outbox)?;
    let (left, to_left) = connect(address, &new_outbox)?;
    let mut half = TcpStream::connect(address)?;
    half.write_all(b"GET / HTTP/1.1\r\nHost: half")?;
    let long = Duration::from_millis(300);
    while to_stuck.send_timeout(large(), long).is_ok() {}
    drop(left);
    while to_left.closed().try_recv() != Err(TryRecvError::Disconnected) {
        thread::yield_now(); // Until the server has noticed that the client left.
    }
    while handle.pending_handshakes() == 0 {
        thread::yield_now(); // Until the server has accepted the connection.
    }
    for _ in 0..50 {
        to_busy.try_send(large())?;
    }

    let since = Instant::now();
    handle.shutdown();
    thread::scope(|scope| {
        scope.spawn(|| println!("idle    reads and answers: {}", read_to_end(&mut idle)));
        scope.spawn(|| {
            println!(
                "busy    has 50 messages to read: {}",
                read_to_end(&mut busy)
            )
        });
        scope.spawn(|| println!("half    had sent half a request: {}", first_line(&mut half)));
    });
    println!("left    had left before the shutdown: neither drained nor lost");
    let failed = to_stuck.send(large()).is_err();
    println!("sender  send fails from now on: {failed}, and returns the message");
    let report = running.join()?;
    println!("stuck   never read: {}", read_to_end(&mut stuck));
    let refused = TcpStream::connect(address).is_err();
    println!("late    connects after the shutdown: refused = {refused}");
    let took = since.elapsed();
    println!(
        "after {took:.1?}: the server waits for clients up to shutdown_timeout, and no longer"
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
    new_outbox: &Receiver<Outbox>,
) -> Result<(Client, Outbox), Box<dyn Error>> {
    let stream = TcpStream::connect(address)?;
    let client = tungstenite::client(format!("ws://{address}/"), stream);
    let (client, _) = client.map_err(|error| error.to_string())?;
    Ok((client, new_outbox.recv()?))
}

/// Reads to the end of the connection, and returns a summary of what arrived. tungstenite answers the Close from inside
/// `read`.
fn read_to_end(client: &mut Client) -> String {
    let mut read = 0;
    let mut close = String::from("no Close");
    loop {
        match client.read() {
            Ok(tungstenite::Message::Close(Some(frame))) => {
                close = format!("Close {}", u16::from(frame.code))
            }
            Ok(_) => read += 1,
            Err(tungstenite::Error::ConnectionClosed) => {
                return format!("{read} messages, {close}");
            }
            Err(error) => return format!("{read} messages, {close}, {error}"),
        }
    }
}

/// Returns the first line of an HTTP response.
fn first_line(stream: &mut TcpStream) -> String {
    let mut response = Vec::new();
    // An error after the response does not matter here.
    let _ = stream.read_to_end(&mut response);
    let response = String::from_utf8_lossy(&response);
    response.lines().next().unwrap_or("nothing").to_owned()
}
