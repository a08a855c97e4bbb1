//! Learn: what a WebSocket saves compared with HTTP: the head of every request, and often the connection. Measured on
//!        loopback.
//! Run:   cargo run --release --example 07_http_vs_websocket    One terminal: client and server are in one process.
//! Watch: the table. Bytes are counted in the sockets, in both directions. TCP adds its own, most for new connections.
//! Try next: `SIZE` 4096: the overhead of the head matters less. Then set `HEAD` to what your browser sends (see its
//!        developer tools): the overhead grows.
//!
//! ```text
//!                       HTTP, new connection  HTTP, kept alive      WebSocket
//! opening, once         -                     -                     320 bytes
//! one round trip        368 bytes             349 bytes             72 bytes
//! of that, overhead     336 bytes             317 bytes             8 bytes
//! latency, median       136µs                 17µs                  16µs
//! one push to client    waits to be asked     waits to be asked     2 bytes + message
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use std::{env, error::Error};

use standpipe::{Config, Connection, Handler, Reply, Request, Server};

/// Bytes of payload in a message.
const SIZE: usize = 32;
const ROUNDS: usize = 1000;
/// The request of a small client. A browser sends about three times as many bytes.
const HEAD: &str = "GET /new HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: course/1.0\r\nAccept: */*\r\n\
    Accept-Encoding: gzip\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n";
/// The number of requests that the server answers on one connection.
const PER_CONNECTION: usize = 100;

struct Both;

impl Handler for Both {
    fn request(&self, request: &mut Request) -> Reply {
        match request.path() {
            "/new" => Reply::text(200, "x".repeat(SIZE)),
            _ => Reply::upgrade(),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        while let Some(message) = conn.recv()? {
            conn.send(message)?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:0");
    let server = Server::bind(address, Config::default())?;
    let handle = server.handle();
    let address = handle.local_addr().ok_or("no TCP address")?;
    println!("http and websocket on http://{address}/");
    let running = server.spawn(Both)?;

    let new = measure(|| {
        let stream = Counted::connect(address)?;
        (&stream).write_all(format!("{HEAD}Connection: close\r\n\r\n").as_bytes())?;
        (&stream).read_to_end(&mut Vec::new())?;
        Ok(stream.bytes.get())
    })?;
    let kept = keep_alive(address)?;
    let stream = Counted::connect(address)?;
    let url = format!("ws://{address}/");
    let (mut socket, _) = tungstenite::client(url, &stream).map_err(|error| error.to_string())?;
    let handshake = stream.bytes.get();
    let ws = measure(|| {
        let before = stream.bytes.get();
        let message = tungstenite::Message::binary(vec![b'x'; SIZE]);
        socket.send(message).map_err(io::Error::other)?;
        socket.read().map_err(io::Error::other)?;
        Ok(stream.bytes.get() - before)
    })?;
    drop(stream);

    let bytes = |count: u64| format!("{count} bytes");
    let size = SIZE as u64;
    println!("{ROUNDS} messages of {SIZE} bytes, one after another:\n");
    println!("                      HTTP, new connection  HTTP, kept alive      WebSocket");
    println!("direction             client asks           client asks           both, unasked");
    println!(
        "connection            one per message       one per 100 messages  one, after a handshake"
    );
    println!("opening, once         -                     -                     {handshake} bytes");
    row("one round trip", [&new, &kept, &ws].map(|m| bytes(m.bytes)));
    // An HTTP response carries one message. A WebSocket round trip carries two: the request is a message as well.
    let overhead = [new.bytes - size, kept.bytes - size, ws.bytes - 2 * size];
    row("of that, overhead", overhead.map(bytes));
    row(
        "latency, median",
        [&new, &kept, &ws].map(|m| format!("{:.0?}", m.median)),
    );
    println!("one push to client    waits to be asked     waits to be asked     2 bytes + message");
    println!(
        "typical use           pages, forms, APIs    polling, many assets  chat, feeds, games"
    );
    handle.shutdown();
    running.join()?;
    Ok(())
}

fn row(what: &str, [new, kept, ws]: [String; 3]) {
    println!("{what:<22}{new:<22}{kept:<22}{ws}");
}

struct Measured {
    bytes: u64,
    median: Duration,
}

/// Repeats a round trip [`ROUNDS`] times. Returns the bytes of the last one, and the median of the times.
fn measure(mut once: impl FnMut() -> io::Result<u64>) -> io::Result<Measured> {
    let mut bytes = 0;
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let since = Instant::now();
        bytes = once()?;
        times.push(since.elapsed());
    }
    times.sort();
    Ok(Measured {
        bytes,
        median: times[ROUNDS / 2],
    })
}

/// Measures requests on connections that are kept. The server ends a connection after 100 requests.
fn keep_alive(address: SocketAddr) -> io::Result<Measured> {
    let mut stream = Counted::connect(address)?;
    let mut asked = 0;
    measure(|| {
        if asked == PER_CONNECTION {
            stream = Counted::connect(address)?;
            asked = 0;
        }
        asked += 1;
        let before = stream.bytes.get();
        (&stream).write_all(format!("{HEAD}\r\n").as_bytes())?;
        let mut answer = BufReader::new(&stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if answer.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        answer.read_exact(&mut [0; SIZE])?;
        Ok(stream.bytes.get() - before)
    })
}

/// A socket that counts its bytes, in both directions.
struct Counted {
    stream: TcpStream,
    bytes: Cell<u64>,
}

impl Counted {
    fn connect(address: SocketAddr) -> io::Result<Counted> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Counted {
            stream,
            bytes: Cell::new(0),
        })
    }

    fn count(&self, bytes: usize) -> usize {
        self.bytes.set(self.bytes.get() + bytes as u64);
        bytes
    }
}

impl Read for &Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(buffer).map(|bytes| self.count(bytes))
    }
}

impl Write for &Counted {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&self.stream).write(buffer).map(|bytes| self.count(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
