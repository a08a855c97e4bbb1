//! Learn: what the library adds to the two pumps: timeouts, limits, closing handshakes, and an orderly shutdown.
//! Run:   cargo run --example 01_echo    In a second terminal:  cargo run -- client ws://127.0.0.1:9001/
//! Watch: lines that you type in the client come back. Stop the client with Ctrl-Z and send nothing. After 20 s of
//!        silence the server pings it, and 20 s later it resets the connection. Ctrl-C in the server shuts it down.
//! Try next: return an error from the handler, or panic. That client gets close code 1011; the others are not affected.
//!
//! ```text
//! echo on ws://127.0.0.1:9001/
//! client 1: 5 bytes
//! client 1: 13 bytes
//! drained 1, lost 0
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::{env, error::Error};

use standpipe::{Config, Connection, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:9001");
    let server = Server::bind(address, Config::default())?;
    println!(
        "echo on ws://{}/",
        server.handle().local_addr().ok_or("no TCP address")?
    );

    // Ctrl-C requests the shutdown. `serve` returns after every client got its queued messages and a Close, or was
    // reset at `shutdown_timeout`.
    let handle = server.handle();
    ctrlc::set_handler(move || handle.shutdown())?;

    let report = server.serve(|conn: &mut Connection| {
        // This runs on the reader thread of one client. While `send` waits, nothing more is read from this client.
        while let Some(message) = conn.recv()? {
            println!("client {}: {} bytes", conn.number(), message.len());
            conn.send(message)?;
        }
        Ok(())
    })?;
    println!("{report}");
    Ok(())
}
