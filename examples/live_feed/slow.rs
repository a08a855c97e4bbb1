//! [`Readers`]: clients of this server in this program, each on a thread of its own and over real TCP, that read slowly.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use standpipe::tungstenite::{self, WebSocket, error::Error as WsError};
use standpipe::{Message, Outbox, Peer, ServerHandle};

use super::paced::Paced;
use super::seen::Seen;

/// Slow readers at once, those that are about to end among them.
const READERS: usize = 8;
/// For a handshake, and for a goodbye.
const PATIENCE: Duration = Duration::from_secs(5);

/// The slow readers there are.
pub(crate) struct Readers {
    server: ServerHandle,
    here: Mutex<Here>,
}

#[derive(Default)]
struct Here {
    last: u64,
    readers: Vec<Entry>,
    /// Told to end.
    ending: Vec<JoinHandle<()>>,
}

struct Entry {
    reader: Arc<Reader>,
    /// Nothing is ever sent on it: its end is the message.
    _running: Sender<()>,
    thread: JoinHandle<()>,
}

/// One of them, as its thread and those who look at it share it.
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

impl Readers {
    pub(crate) fn new(server: ServerHandle) -> Readers {
        Readers {
            server,
            here: Mutex::default(),
        }
    }

    /// Begins one, and gives its number.
    pub(crate) fn add(&self, kib: u32) -> Result<u64, String> {
        let mut here = lock(&self.here);
        here.ending.retain(|thread| !thread.is_finished());
        if here.readers.len() + here.ending.len() >= READERS {
            return Err(format!("there are {READERS} slow readers at most"));
        }
        here.last += 1;
        let id = here.last;
        let (running, ended) = bounded(0);
        let reader = Arc::new(Reader {
            id,
            kib,
            server: self.server.clone(),
            ended,
            seen: Mutex::default(),
            link: Mutex::default(),
        });
        let life = Arc::clone(&reader);
        let thread = thread::Builder::new().name(format!("slow {id}"));
        let thread = thread.spawn(move || life.live());
        here.readers.push(Entry {
            reader,
            _running: running,
            thread: thread.map_err(|error| error.to_string())?,
        });
        Ok(id)
    }

    /// Ends one. It says goodbye by itself; nobody waits for that.
    pub(crate) fn remove(&self, id: u64) -> Result<(), String> {
        let mut here = lock(&self.here);
        let at = here.readers.iter().position(|entry| entry.reader.id == id);
        let entry = here.readers.remove(at.ok_or("there is no such reader")?);
        here.ending.push(entry.thread);
        Ok(())
    }

    /// Ends all, and waits for them: a goodbye has its deadline.
    pub(crate) fn end(&self) {
        let threads: Vec<_> = {
            let mut here = lock(&self.here);
            let ending = std::mem::take(&mut here.ending);
            let readers = here.readers.drain(..).map(|entry| entry.thread);
            readers.chain(ending).collect()
        };
        for thread in threads {
            // A panic of one was printed where it happened, and costs nobody else anything.
            let _ = thread.join();
        }
    }

    /// Takes note of a client, if it is one of these: its address says so.
    pub(crate) fn met(&self, peer: &Peer, outbox: Outbox) {
        let Peer::Tcp(address) = peer else { return };
        for Entry { reader, .. } in &lock(&self.here).readers {
            let mut link = lock(&reader.link);
            if link.local.is_some_and(|local| is_same(local, *address)) {
                link.outbox = Some(outbox);
                return;
            }
        }
    }

    /// What each has before it, for the status.
    pub(crate) fn list(&self, now: u64) -> Vec<Value> {
        let here = lock(&self.here);
        here.readers
            .iter()
            .map(|entry| entry.reader.show(now))
            .collect()
    }

    /// All prices that one shows, with their times.
    pub(crate) fn look(&self, id: u64) -> Result<Value, String> {
        let here = lock(&self.here);
        let entry = here.readers.iter().find(|entry| entry.reader.id == id);
        let reader = Arc::clone(&entry.ok_or("there is no such reader")?.reader);
        drop(here);
        let seen = lock(&reader.seen);
        let quotes = seen.quotes.iter();
        let quotes: Vec<_> = quotes
            .map(|(symbol, quote)| (symbol.as_str(), quote.n, quote.t, quote.price))
            .collect();
        Ok(json!({ "type": "look", "reader": id, "quotes": quotes }))
    }
}

impl Reader {
    fn show(&self, now: u64) -> Value {
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
    fn live(&self) {
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
        self.ended.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected)
    }
}

/// A listener on [::] sees 127.0.0.1 as ::ffff:127.0.0.1.
fn is_same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

/// What a panic has left is still in order: each change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
