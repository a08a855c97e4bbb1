//! Learn: one thread waits for a WebSocket client and for its TCP backend at the same time. Each side is slowed down for
//!        the other, neither direction waits for the other one, and the end of either side ends both.
//! Run:   ncat -lk 9000    then    cargo run --example bridge    and, in a third terminal:
//!        cargo run -- client --binary ws://127.0.0.1:9001/
//! Watch: what you type on one side appears on the other. End one of them.
//! Try next: a backend that sends without end, `yes | ncat -l 9000`, and a client with `--read-rate 1000`. The memory of
//!        the bridge does not grow.
//!
//! ```text
//!           ┌─ try_recv ─▶ to_backend ─▶ write ─▶ backend
//! client ◀─▶ handler, waits for both
//!           └─ try_send ◀─ to_client  ◀─ read  ◀─ backend
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use std::{env, error::Error};

use standpipe::crossbeam_channel::select;
use standpipe::{
    Bytes, Config, Connection, Handler, Interest, Message, Reply, Server, TryRecvError,
    TrySendError, Watch,
};

struct Bridge {
    backend: SocketAddr,
}

impl Handler for Bridge {
    /// Connects before the 101, so that the client is told if there is no backend.
    fn opening(&self, conn: &Connection) -> Result<(), Reply> {
        let backend = TcpStream::connect_timeout(&self.backend, Duration::from_secs(5));
        conn.keep(backend.map_err(|error| Reply::text(502, format!("{error}\n")))?);
        Ok(())
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut backend = &conn
            .take::<TcpStream>()
            .ok_or("the backend was kept in `opening`")?;
        backend.set_nonblocking(true)?;
        let mut watch = Watch::new(backend)?;
        let outbox = conn.outbox();
        let mut to_backend = Bytes::new(); // Bytes that the backend has not accepted yet.
        let mut to_client = None; // A message that the client's queue had no room for.
        let mut buffer = [0; 16 << 10];
        while conn.is_open() {
            if to_backend.is_empty() {
                match conn.try_recv() {
                    Ok(Some(message)) => to_backend = message.into_bytes(),
                    Ok(None) => break,
                    Err(TryRecvError::Empty) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if !to_backend.is_empty() {
                match backend.write(&to_backend) {
                    Ok(written) => drop(to_backend.split_to(written)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if to_client.is_none() {
                match backend.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => to_client = Some(Message::from(&buffer[..count])),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if let Some(message) = to_client.take()
                && let Err(TrySendError::Full(message)) = outbox.try_send(message)
            {
                to_client = Some(message);
            }
            // Each side is waited for only as far as the other one accepts something.
            let (read, write) = (to_backend.is_empty(), to_client.is_some());
            select! {
                recv(conn.ready(Interest { read, write })?) -> _ => {}
                recv(watch.ready(Interest { read: !write, write: !read })?) -> _ => {}
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let backend = env::args()
        .nth(2)
        .unwrap_or("127.0.0.1:9000".into())
        .parse()?;
    let server = Server::bind(address, Config::default())?;
    let handle = server.handle();
    println!(
        "bridge on ws://{}/",
        handle.local_addr().ok_or("no TCP address")?
    );
    ctrlc::set_handler(move || handle.shutdown())?;
    println!("{}", server.serve(Bridge { backend })?);
    Ok(())
}
