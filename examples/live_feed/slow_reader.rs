//! [`Reader`]: a client of this server in this program, over real TCP, that reads slowly.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use standpipe::tungstenite::{self, WebSocket, error::Error as WsError};
use standpipe::{Message, Outbox, ServerHandle};

use super::latest_quotes::Seen;
use super::throttle::Paced;

/// For a handshake, and for a goodbye.
const PATIENCE: Duration = Duration::from_secs(5);

/// A slow reader, as its thread and those who look at it share it.
pub(crate) struct Reader {
    id: u64,
    pub(crate) kib: u32,
    server: ServerHandle,
    ended: Receiver<()>,
    seen: Mutex<Seen>,
    link: Mutex<Link>,
}

/// Its connection.
#[derive(Default)]
struct Link {
    local: Option<SocketAddr>,
    /// The server's end of it.
    outbox: Option<Outbox>,
    /// Connections that the server has ended.
    cuts: u64,
    /// How the last one ended.
    why: String,
}

impl Reader {
    /// One that reads so many KiB a second until `ended` ends.
    pub(crate) fn new(id: u64, kib: u32, server: ServerHandle, ended: Receiver<()>) -> Reader {
        Reader {
            id,
            kib,
            server,
            ended,
            seen: Mutex::default(),
            link: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Its end of its connection has this address.
    pub(crate) fn is_at(&self, address: SocketAddr) -> bool {
        let local = lock(&self.link).local;
        // A listener on [::] sees 127.0.0.1 as ::ffff:127.0.0.1.
        let canonical = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        local.is_some_and(|local| canonical(local) == canonical(address))
    }

    /// This is the server's end of it.
    pub(crate) fn met(&self, outbox: Outbox) {
        lock(&self.link).outbox = Some(outbox);
    }

    /// All prices that it shows, with their times.
    pub(crate) fn look(&self) -> Value {
        let seen = lock(&self.seen);
        let quotes = seen.quotes.iter();
        let quotes: Vec<_> = quotes
            .map(|(symbol, quote)| (symbol.as_str(), quote.n, quote.t, quote.price))
            .collect();
        json!({ "type": "look", "reader": self.id, "quotes": quotes })
    }

    /// What it has before it, for the status.
    pub(crate) fn show(&self, now: u64) -> Value {
        let (messages, skipped, times) = {
            let seen = lock(&self.seen);
            (seen.messages, seen.skipped, seen.times())
        };
        let age = |time: u64| now.saturating_sub(time);
        let link = lock(&self.link);
        json!({
            "id": self.id, "kib": self.kib, "messages": messages, "skipped": skipped,
            "newest": times.map(|(newest, _)| age(newest)), "oldest": times.map(|(_, oldest)| age(oldest)),
            "waiting": link.outbox.as_ref().map(Outbox::len), "cuts": link.cuts, "why": link.why,
        })
    }

    /// Reads, and comes back after a second whenever the server has ended it, as a client should.
    pub(crate) fn live(&self) {
        loop {
            let ended = self.read();
            let mut link = lock(&self.link);
            *link = Link {
                cuts: link.cuts + 1,
                why: ended.unwrap_or_else(|error| error.to_string()),
                ..Link::default()
            };
            drop(link);
            let again = self.ended.recv_timeout(Duration::from_secs(1));
            if again != Err(RecvTimeoutError::Timeout) || self.server.is_shutting_down() {
                return;
            }
        }
    }

    /// One connection, until it ends.
    fn read(&self) -> Result<String, Box<dyn Error>> {
        let mut socket = self.connect()?;
        let mut goodbye = None;
        let mut why = "the connection ended without a word".to_owned();
        loop {
            if goodbye.is_none() && self.is_ended() {
                socket.close(None)?;
                goodbye = Some(Instant::now() + PATIENCE);
            }
            if goodbye.is_some_and(|until| Instant::now() > until) {
                return Ok(why);
            }
            match socket.read() {
                Ok(Message::Text(text)) => drop(lock(&self.seen).hear(&text)),
                // The answer goes out with the next read, which ends where the server closes.
                Ok(Message::Close(Some(frame))) => why = format!("{} {}", frame.code, frame.reason),
                Ok(_) => {}
                Err(WsError::Io(error)) if is_timeout(&error) => {}
                Err(WsError::ConnectionClosed) => return Ok(why),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn connect(&self) -> Result<WebSocket<Paced<'_>>, Box<dyn Error>> {
        let mut at = self.server.local_addr();
        match at.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => at.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => at.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
        // Else the kernel would read for it, megabytes perhaps, and what it has read nobody can replace any more. Linux
        // makes 4.5 KiB of this, which is 0.2 s at 20 KiB/s.
        socket.set_recv_buffer_size(2 << 10)?;
        socket.connect_timeout(&at.into(), PATIENCE)?;
        let stream = TcpStream::from(socket);
        stream.set_write_timeout(Some(PATIENCE))?;
        // By this the server's side will know it.
        lock(&self.link).local = Some(stream.local_addr()?);
        lock(&self.seen).begin_anew();
        let paced = Paced::new(stream, self);
        paced.set_patience(PATIENCE)?;
        let url = format!("ws://{at}/ws?topics=quotes");
        let (socket, _) = tungstenite::client(url, paced).map_err(|error| error.to_string())?;
        // From here on a read comes back when nothing comes, to see whether it is over.
        socket.get_ref().set_patience(Duration::from_millis(100))?;
        Ok(socket)
    }

    /// Waits, unless it is over: then it reads what is left at once, so that nobody's goodbye waits for it.
    pub(crate) fn rest_until(&self, then: Instant) {
        if !self.server.is_shutting_down() {
            let _ = self.ended.recv_deadline(then);
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

/// What a panic has left is still in order: each change is one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
