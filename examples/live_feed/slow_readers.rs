//! [`Readers`]: the slow readers in this program, each on a thread of its own.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};
use serde_json::Value;
use standpipe::{Outbox, Peer, ServerHandle};

use super::slow_reader::{Reader, lock};

/// Slow readers at once, those that are about to end among them.
const READERS: usize = 8;

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
        let reader = Arc::new(Reader::new(id, kib, self.server.clone(), ended));
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
        let at = here
            .readers
            .iter()
            .position(|entry| entry.reader.id() == id);
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
        let here = lock(&self.here);
        let mut readers = here.readers.iter().map(|entry| &entry.reader);
        if let Some(reader) = readers.find(|reader| reader.is_at(*address)) {
            reader.met(outbox);
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
        let entry = here.readers.iter().find(|entry| entry.reader.id() == id);
        let reader = Arc::clone(&entry.ok_or("there is no such reader")?.reader);
        drop(here);
        Ok(reader.look())
    }
}
