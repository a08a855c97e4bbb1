//! [`SlowReader`]: a client of this server that runs in this program and reads slowly, over real TCP.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use standpipe::tungstenite::{self, WebSocket, error::Error as WsError};
use standpipe::{Outbox, ServerHandle};

use super::latest_quotes::LatestQuotes;
use super::throttle::Throttled;

/// Timeout for the opening handshake, and for the closing handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A slow reader. Its own thread and the threads that report its state share this.
pub(crate) struct SlowReader {
    id: u64,
    /// KiB per second.
    pub(crate) kib: u32,
    server: ServerHandle,
    ended: Receiver<()>,
    quotes: Mutex<LatestQuotes>,
    link: Mutex<Link>,
}

/// The connection of a slow reader.
#[derive(Default)]
struct Link {
    /// The reader's own address.
    local: Option<SocketAddr>,
    /// The server's outbox of this connection.
    outbox: Option<Outbox>,
    /// How many connections have ended so far.
    disconnects: u64,
    /// Why the previous connection ended.
    reason: String,
}

impl SlowReader {
    /// Creates a reader with this rate. It ends when the other end of `ended` is dropped.
    pub(crate) fn new(id: u64, kib: u32, server: ServerHandle, ended: Receiver<()>) -> SlowReader {
        SlowReader {
            id,
            kib,
            server,
            ended,
            quotes: Mutex::default(),
            link: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Returns whether this is the address of the reader's end of its connection.
    pub(crate) fn has_address(&self, address: SocketAddr) -> bool {
        let local = lock(&self.link).local;
        // A listener on [::] reports 127.0.0.1 as ::ffff:127.0.0.1.
        let canonical = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        local.is_some_and(|local| canonical(local) == canonical(address))
    }

    /// Stores the server's outbox of this reader's connection, to report its length.
    pub(crate) fn attach(&self, outbox: Outbox) {
        lock(&self.link).outbox = Some(outbox);
    }

    /// Returns all prices that this reader shows, with their times.
    pub(crate) fn prices(&self) -> Value {
        let latest = lock(&self.quotes);
        let quotes = latest.quotes.iter();
        let quotes: Vec<_> = quotes
            .map(|(symbol, quote)| (symbol.as_str(), quote.n, quote.t, quote.price))
            .collect();
        json!({ "type": "look", "reader": self.id, "quotes": quotes })
    }

    /// Returns this reader's part of the status.
    pub(crate) fn status(&self, now: u64) -> Value {
        let (messages, skipped, times) = {
            let latest = lock(&self.quotes);
            (latest.messages, latest.skipped, latest.times())
        };
        let age = |time: u64| now.saturating_sub(time);
        let link = lock(&self.link);
        json!({
            "id": self.id, "kib": self.kib, "messages": messages, "skipped": skipped,
            "newest": times.map(|(newest, _)| age(newest)), "oldest": times.map(|(_, oldest)| age(oldest)),
            "waiting": link.outbox.as_ref().map(Outbox::len), "disconnects": link.disconnects, "why": link.reason,
        })
    }

    /// Reads until the reader is removed. When the server ends a connection, the reader reconnects after one second.
    pub(crate) fn run(&self) {
        loop {
            let ended = self.read_connection();
            let mut link = lock(&self.link);
            *link = Link {
                disconnects: link.disconnects + 1,
                reason: ended.unwrap_or_else(|error| error.to_string()),
                ..Link::default()
            };
            drop(link);
            let wait = self.ended.recv_timeout(Duration::from_secs(1));
            if wait != Err(RecvTimeoutError::Timeout) || self.server.is_shutting_down() {
                return;
            }
        }
    }

    /// Reads one connection until it ends, and returns why it ended.
    fn read_connection(&self) -> Result<String, Box<dyn Error>> {
        let mut socket = self.connect()?;
        let mut close_deadline = None;
        let mut reason = "the connection ended without a Close".to_owned();
        loop {
            if close_deadline.is_none() && self.is_ended() {
                socket.close(None)?;
                close_deadline = Some(Instant::now() + HANDSHAKE_TIMEOUT);
            }
            if close_deadline.is_some_and(|deadline| Instant::now() > deadline) {
                return Ok(reason);
            }
            match socket.read() {
                Ok(tungstenite::Message::Text(text)) => drop(lock(&self.quotes).update(&text)),
                // The next read sends the answer to the Close. Reading ends when the server closes the socket.
                Ok(tungstenite::Message::Close(Some(frame))) => {
                    reason = format!("{} {}", frame.code, frame.reason);
                }
                Ok(_) => {}
                Err(WsError::Io(error)) if is_timeout(&error) => {}
                Err(WsError::ConnectionClosed) => return Ok(reason),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn connect(&self) -> Result<WebSocket<Throttled<'_>>, Box<dyn Error>> {
        let mut address = self.server.local_addr().ok_or("no TCP address")?;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // With the default size, the kernel could buffer megabytes, and buffered messages cannot be replaced any more.
        // Linux turns this value into 4.5 KiB, which is 0.2 s at 20 KiB/s.
        socket.set_recv_buffer_size(2 << 10)?;
        socket.connect_timeout(&address.into(), HANDSHAKE_TIMEOUT)?;
        let stream = TcpStream::from(socket);
        stream.set_write_timeout(Some(HANDSHAKE_TIMEOUT))?;
        // The server's side recognizes this reader by its address.
        lock(&self.link).local = Some(stream.local_addr()?);
        lock(&self.quotes).reset();
        let throttled = Throttled::new(stream, self);
        throttled.set_read_timeout(HANDSHAKE_TIMEOUT)?;
        let url = format!("ws://{address}/ws?topics=quotes");
        let (socket, _) = tungstenite::client(url, throttled).map_err(|error| error.to_string())?;
        // After the handshake, a read returns after 100 ms without data, so that the thread notices its end.
        let read_timeout = Duration::from_millis(100);
        socket.get_ref().set_read_timeout(read_timeout)?;
        Ok(socket)
    }

    /// Waits until `deadline`, or until the reader ends.
    ///
    /// During shutdown this returns immediately, so that the closing handshake is not delayed by a slow reader.
    pub(crate) fn wait_until(&self, deadline: Instant) {
        if !self.server.is_shutting_down() {
            let _ = self.ended.recv_deadline(deadline);
        }
    }

    fn is_ended(&self) -> bool {
        self.ended.try_recv() == Err(TryRecvError::Disconnected)
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

/// Locks a mutex. A poisoned one is still consistent, because each change is one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
