//! Learn: a program that already serves HTTP keeps its accept loop, and hands the connections that want a WebSocket over.
//!        The hub gets the socket and the bytes that have been read from it.
//! Run:   cargo run --example beside    In a second terminal:
//!        curl http://127.0.0.1:9001/    and    cargo run -- client ws://127.0.0.1:9001/ws
//! Watch: one port for both. The page comes from the existing server, the echo from standpipe.
//! Try next: a path for administrators that only the existing server serves. The hub never sees its requests.
//!
//! ```text
//! clients ──▶ accept loop of the existing server ─┬─ /ws ──▶ channel ──▶ acceptor ──▶ one reader and writer per client
//!                                                 └─ else ─▶ its own answer
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{env, thread};

use standpipe::{Config, Connection, ConnectionSender, Listener, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let (connections, listener) = Listener::channel(16);
    let server = Server::from_listeners(vec![listener], Config::default())?;
    let handle = server.handle();
    ctrlc::set_handler(move || handle.shutdown())?;

    let existing = TcpListener::bind(address)?;
    println!("existing server on http://{}/", existing.local_addr()?);
    // A thread that waits in `accept` cannot be woken, so it is not joined and ends with the process.
    thread::Builder::new()
        .name("existing".into())
        .spawn(move || {
            for socket in existing.incoming().flatten() {
                if let Err(error) = answer(socket, &connections) {
                    println!("a request failed: {error}");
                }
            }
        })?;

    let report = server.serve(|conn: &mut Connection| {
        while let Some(message) = conn.recv()? {
            conn.send(message)?;
        }
        Ok(())
    })?;
    println!("{report}");
    Ok(())
}

/// The existing server: it reads one request at a time, and has one page.
fn answer(mut socket: TcpStream, connections: &ConnectionSender) -> Result<(), Box<dyn Error>> {
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut read = vec![0; 4096];
    let mut length = 0;
    while !read[..length].ends_with(b"\r\n\r\n") {
        match socket.read(&mut read[length..])? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            count => length += count,
        }
    }
    read.truncate(length);
    if read.starts_with(b"GET /ws ") {
        // From here on, the clocks and limits of standpipe apply. It answers also if the request is not valid.
        connections.try_send(socket, read)?;
        return Ok(());
    }
    socket.write_all(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nOld page.\n",
    )?;
    Ok(())
}
