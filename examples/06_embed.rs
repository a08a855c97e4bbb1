//! Learn: a program with a main loop of its own keeps it. The server is one more channel beside its others.
//! Run:   cargo run --example 06_embed    then, in a second terminal:  python3 -m websockets ws://127.0.0.1:9001/
//! Watch: a tick each second; lines typed here go to all clients, lines typed there come here and are answered.
//! Try next: a `thread::sleep` in the tick's arm: the events wait, then the readers, then the clients. Nothing grows.
//!
//! ```text
//! reader of 1 ─┐
//! reader of 2 ─┴─▶ events ─┐
//! ticker ──────────────────┼─▶ select! ─try_send─▶ queue of each client
//! stdin ───────────────────┤   (main)
//! Ctrl-C ──────────────────┘
//! ```
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

use std::collections::HashMap;
use std::{env, error::Error, io, thread, time::Duration};

use crossbeam_channel::{Receiver, bounded, never, select, tick};
use standpipe::{Config, Event, Message, Outbox, Server, TrySendError};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9001".into());
    let server = Server::bind(address, Config::default())?;
    let handle = server.handle();
    println!("embedded on ws://{}/", handle.local_addr());
    ctrlc::set_handler(move || handle.shutdown())?;

    // What the loop waits for. The server's end is the end of its events, so Ctrl-C needs no channel of its own.
    let events = server.events(64)?;
    let seconds = tick(Duration::from_secs(1));
    let mut lines = lines()?;

    // All of the program's state, without a lock: one thread owns it.
    let mut clients: HashMap<u64, Outbox> = HashMap::new();
    let mut messages = 0_u64;
    loop {
        select! {
            recv(events.receiver()) -> event => match event {
                Ok(Event::Opened { number, request, outbox }) => {
                    println!("client {number} is there, and asks for {}", request.path());
                    clients.insert(number, outbox);
                }
                Ok(Event::Message { number, message }) => {
                    messages += 1;
                    println!("client {number}: {} bytes", message.len());
                    if let Some(outbox) = clients.get(&number) {
                        push(outbox, Message::text(format!("message {messages} of all")));
                    }
                }
                Ok(Event::Closed { number, cause }) => {
                    println!("client {number} is gone: {cause:?}");
                    clients.remove(&number);
                }
                Ok(_) => {} // What a later version may tell.
                Err(_) => break,
            },
            recv(seconds) -> _ => {
                println!("{} clients, {messages} messages", clients.len());
            }
            recv(lines) -> line => match line {
                Ok(line) => {
                    let line = Message::text(line);
                    clients.values().for_each(|outbox| push(outbox, line.clone()));
                }
                Err(_) => lines = never(), // Nothing more is typed; the clients stay.
            },
        }
    }
    println!("{}", events.join()?);
    Ok(())
}

/// A main loop never waits for one client while all others wait for it: who has no room is ended.
fn push(outbox: &Outbox, message: Message) {
    if let Err(TrySendError::Full(_)) = outbox.try_send(message) {
        println!("client {} is too slow", outbox.number());
        outbox.terminate();
    }
}

/// What is typed. Its thread waits in `read`, and nobody can wake it there: it ends with the process.
fn lines() -> io::Result<Receiver<String>> {
    let (say, said) = bounded(1);
    let reader = thread::Builder::new().name("stdin".into());
    reader.spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if say.send(line).is_err() {
                break;
            }
        }
    })?;
    Ok(said)
}
