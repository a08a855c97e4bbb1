//! Learn: what the library adds to the two pumps: an end for everything. Clocks, limits, closing handshakes, shutdown.
//! Run:   cargo run --example 01_echo    then, in a second terminal:  python3 -m websockets ws://127.0.0.1:9001/
//! Watch: type lines, and they come back. Stop the client with Ctrl-Z, send nothing, and wait 40 s: it is reset.
//! Try next: return an error from the handler, or panic: that client gets 1011, and the others do not notice.
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

use std::{env, error::Error};

use standpipe::{Config, Connection, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9001".into());
    let server = Server::bind(address, Config::default())?;
    println!("echo on ws://{}/", server.handle().local_addr());

    // Ctrl-C asks; `serve` returns when every client has had what was queued for it, and a Close.
    let handle = server.handle();
    ctrlc::set_handler(move || handle.shutdown())?;

    let report = server.serve(|conn: &mut Connection| {
        // This runs on the client's own reader thread. While `send` waits, nothing more is read from this client.
        while let Some(message) = conn.recv()? {
            println!("client {}: {} bytes", conn.number(), message.len());
            conn.send(message)?;
        }
        Ok(())
    })?;
    println!("{report}");
    Ok(())
}
