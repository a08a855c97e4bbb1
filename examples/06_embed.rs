//! Learn: a program that has a main loop keeps it. The server is one more channel for the loop to wait on.
//! Run:   cargo run --example 06_embed    In a second terminal:  cargo run -- client ws://127.0.0.1:9001/
//! Watch: one line every second. A line that you type into the server goes to all clients. A line that you type into a
//!        client arrives in the main loop, which answers it.
//! Try next: a `thread::sleep` in the arm of the tick. First the events wait, then the readers, then the clients. No
//!        queue grows beyond its bound.
//!
//! ```text
//! reader of 1 ─┐
//! reader of 2 ─┴─▶ events ─┐
//! ticker ──────────────────┼─▶ select! ─try_send─▶ queue of each client
//! stdin ───────────────────┤   (main)
//! Ctrl-C ──────────────────┘
//!
//! client 1 connected, path /some/path
//! client 1: 5 bytes
//! 1 clients, 1 messages
//! client 1 disconnected: closed by the peer: 1000 (normal closure)
//! 0 clients, 1 messages
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::collections::HashMap;
use std::{env, error::Error, io, thread, time::Duration};

use crossbeam_channel::{Receiver, bounded, never, select, tick};
use standpipe::{Config, Event, Message, Outbox, Server, TrySendError};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:9001");
    let server = Server::bind(address, Config::default())?;
    let handle = server.handle();
    println!(
        "embedded on ws://{}/",
        handle.local_addr().ok_or("no TCP address")?
    );
    ctrlc::set_handler(move || handle.shutdown())?;

    // The channels that the loop waits on. Ctrl-C needs no channel: when the server has shut down, `events`
    // disconnects.
    let events = server.events(64)?;
    let seconds = tick(Duration::from_secs(1));
    let mut lines = lines()?;

    // The whole state of the program. It needs no lock, because only this thread uses it.
    let mut clients: HashMap<u64, Outbox> = HashMap::new();
    let mut messages = 0_u64;
    loop {
        select! {
            recv(events.receiver()) -> event => match event {
                Ok(Event::Opened { number, request, outbox }) => {
                    println!("client {number} connected, path {}", request.path());
                    clients.insert(number, outbox);
                }
                Ok(Event::Message { number, message }) => {
                    messages += 1;
                    println!("client {number}: {} bytes", message.len());
                    if let Some(outbox) = clients.get(&number) {
                        push(outbox, Message::text(format!("message {messages} in all")));
                    }
                }
                Ok(Event::Closed { number, cause }) => {
                    println!("client {number} disconnected: {cause}");
                    clients.remove(&number);
                }
                Ok(_) => {} // Events that a later version may add.
                Err(_) => break,
            },
            recv(seconds) -> _ => println!("{} clients, {messages} messages", clients.len()),
            recv(lines) -> line => match line {
                Ok(line) => {
                    let line = Message::text(line);
                    clients.values().for_each(|outbox| push(outbox, line.clone()));
                }
                Err(_) => lines = never(), // Standard input has ended. The clients stay connected.
            },
        }
    }
    println!("{}", events.join()?);
    Ok(())
}

/// Queues a message without waiting, because a main loop that waits for one client makes all others wait. A client
/// whose queue is full is reset.
fn push(outbox: &Outbox, message: Message) {
    if let Err(TrySendError::Full(_)) = outbox.try_send(message) {
        println!("client {} is too slow", outbox.number());
        outbox.terminate();
    }
}

/// Returns a channel with the lines of standard input. Nothing can wake a thread that is blocked in a read of standard
/// input, so its thread is not joined and ends with the process.
fn lines() -> io::Result<Receiver<String>> {
    let (sender, lines) = bounded(1);
    let reader = thread::Builder::new().name("stdin".into());
    reader.spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    })?;
    Ok(lines)
}
