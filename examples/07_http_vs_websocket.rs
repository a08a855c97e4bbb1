//! Learn: what a WebSocket saves: the head of every request, and the connection of most. Measured, on loopback.
//! Run:   cargo run --release --example 07_http_vs_websocket    one terminal: client and server are in one process.
//! Watch: the table. Bytes are those in the sockets, both ways; TCP's own come on top, most where connections are new.
//! Try next: `SIZE` 4096: the head weighs less. `HEAD` as your browser sends it (its developer tools show it): more.
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use std::{env, error::Error, thread};

use standpipe::{Config, Connection, Handler, Message, Reply, Request, Server};

/// Bytes of a message.
const SIZE: usize = 32;
const ROUNDS: usize = 1000;
/// What a small client sends; a browser sends three times as much.
const HEAD: &str = "GET /new HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: course/1.0\r\nAccept: */*\r\n\
    Accept-Encoding: gzip\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";

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
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let server = Server::bind(address, Config::default())?;
    let handle = server.handle();
    let address = handle.local_addr();
    println!("http and websocket on http://{address}/");
    let running = server.spawn(Both)?;

    let new = measure(|| {
        let stream = Counted::connect(address)?;
        (&stream).write_all(HEAD.as_bytes())?;
        (&stream).read_to_end(&mut Vec::new())?;
        Ok(stream.bytes.get())
    })?;
    let kept = keep_alive()?;
    let stream = Counted::connect(address)?;
    let url = format!("ws://{address}/");
    let (mut socket, _) = tungstenite::client(url, &stream).map_err(|error| error.to_string())?;
    let shake = stream.bytes.get();
    let ws = measure(|| {
        let before = stream.bytes.get();
        socket
            .send(Message::binary(vec![b'x'; SIZE]))
            .map_err(io::Error::other)?;
        socket.read().map_err(io::Error::other)?;
        Ok(stream.bytes.get() - before)
    })?;
    drop(stream);

    let row = |what: &str, a: &str, b: &str, c: &str| println!("{what:<22}{a:<22}{b:<22}{c}");
    println!("{ROUNDS} messages of {SIZE} bytes, one after another:\n");
    row("", "HTTP, new connection", "HTTP, kept alive", "WebSocket");
    row("direction", "client asks", "client asks", "both, unasked");
    row(
        "connection",
        "one per message",
        "one",
        "one, after a handshake",
    );
    row("opening, once", "-", "-", &format!("{shake} bytes"));
    let bytes = |m: &Measured| format!("{} bytes", m.bytes);
    row("one round trip", &bytes(&new), &bytes(&kept), &bytes(&ws));
    // The answer carries a message in each; with a WebSocket the question is one too.
    let [a, b] = [&new, &kept].map(|m| format!("{} bytes", m.bytes - SIZE as u64));
    row(
        "of that, overhead",
        &a,
        &b,
        &format!("{} bytes", ws.bytes - 2 * SIZE as u64),
    );
    let [a, b, c] = [&new, &kept, &ws].map(|m| format!("{:.0?}", m.median));
    row("latency, median", &a, &b, &c);
    row(
        "one push to client",
        "waits to be asked",
        "waits to be asked",
        "2 bytes + message",
    );
    row(
        "typical use",
        "pages, forms, APIs",
        "polling, many assets",
        "chat, feeds, games",
    );
    handle.shutdown();
    running.join()?;
    Ok(())
}

struct Measured {
    bytes: u64,
    median: Duration,
}

/// The same many times: bytes of the last, the median of the times.
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

/// Ours answers `Connection: close`, so this row has a server of a few lines: one connection, one question at a time.
fn keep_alive() -> Result<Measured, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {SIZE}\r\n\r\n{}",
        "x".repeat(SIZE)
    );
    let answer = &answer;
    thread::scope(|scope| {
        let server = thread::Builder::new().name("keep-alive".into());
        server.spawn_scoped(scope, move || -> io::Result<()> {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            for line in BufReader::new(&stream).lines() {
                if line?.is_empty() {
                    (&stream).write_all(answer.as_bytes())?; // The empty line ends a head.
                }
            }
            Ok(())
        })?;
        let stream = Counted::connect(address)?;
        let measured = measure(|| {
            let before = stream.bytes.get();
            (&stream).write_all(HEAD.as_bytes())?;
            (&stream).read_exact(&mut vec![0; answer.len()])?;
            Ok(stream.bytes.get() - before)
        });
        Ok(measured?) // The stream ends here, and with it the server's thread.
    })
}

/// A socket that counts what goes through it, both ways.
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
