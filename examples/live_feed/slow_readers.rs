//! [`SlowReaders`]: the slow readers in this program, each on its own thread.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Sender, bounded};
use serde_json::Value;
use standpipe::{Outbox, Peer, ServerHandle};

use super::slow_reader::{SlowReader, lock};

/// Maximum number of slow readers, including those that are about to end.
const MAX_READERS: usize = 8;

/// All slow readers.
pub(crate) struct SlowReaders {
    server: ServerHandle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    readers: Vec<Entry>,
    /// Threads of removed readers that may still be running.
    ending: Vec<JoinHandle<()>>,
}

struct Entry {
    reader: Arc<SlowReader>,
    /// Nothing is sent on this channel. Dropping it ends the reader.
    _running: Sender<()>,
    thread: JoinHandle<()>,
}

impl SlowReaders {
    pub(crate) fn new(server: ServerHandle) -> SlowReaders {
        SlowReaders {
            server,
            state: Mutex::default(),
        }
    }

    /// Starts a reader and returns its number.
    pub(crate) fn add(&self, kib: u32) -> Result<u64, String> {
        let mut state = lock(&self.state);
        state.ending.retain(|thread| !thread.is_finished());
        if state.readers.len() + state.ending.len() >= MAX_READERS {
            return Err(format!("there can be at most {MAX_READERS} slow readers"));
        }
        state.last_id += 1;
        let id = state.last_id;
        let (running, ended) = bounded(0);
        let reader = Arc::new(SlowReader::new(id, kib, self.server.clone(), ended));
        let thread_reader = Arc::clone(&reader);
        let thread = thread::Builder::new().name(format!("slow {id}"));
        let thread = thread.spawn(move || thread_reader.run());
        state.readers.push(Entry {
            reader,
            _running: running,
            thread: thread.map_err(|error| error.to_string())?,
        });
        Ok(id)
    }

    /// Ends a reader, without waiting for its closing handshake.
    pub(crate) fn remove(&self, id: u64) -> Result<(), String> {
        let mut state = lock(&self.state);
        let at = state
            .readers
            .iter()
            .position(|entry| entry.reader.id() == id);
        let entry = state.readers.remove(at.ok_or("there is no such reader")?);
        state.ending.push(entry.thread);
        Ok(())
    }

    /// Ends all readers and waits for their threads.
    ///
    /// The closing handshake of each reader has a timeout, so the wait is bounded.
    pub(crate) fn end(&self) {
        let threads: Vec<_> = {
            let mut state = lock(&self.state);
            let ending = std::mem::take(&mut state.ending);
            let readers = state.readers.drain(..).map(|entry| entry.thread);
            readers.chain(ending).collect()
        };
        for thread in threads {
            // A panic in a reader has already been printed, and it affects nothing else.
            let _ = thread.join();
        }
    }

    /// If a new client is one of these readers, stores its outbox there. The peer's address identifies the reader.
    pub(crate) fn attach(&self, peer: &Peer, outbox: Outbox) {
        let Peer::Tcp(address) = peer else { return };
        let state = lock(&self.state);
        let mut readers = state.readers.iter().map(|entry| &entry.reader);
        if let Some(reader) = readers.find(|reader| reader.has_address(*address)) {
            reader.attach(outbox);
        }
    }

    /// Returns the readers' part of the status.
    pub(crate) fn list(&self, now: u64) -> Vec<Value> {
        let state = lock(&self.state);
        state
            .readers
            .iter()
            .map(|entry| entry.reader.status(now))
            .collect()
    }

    /// Returns all prices that a reader shows, with their times.
    pub(crate) fn prices(&self, id: u64) -> Result<Value, String> {
        let state = lock(&self.state);
        let entry = state.readers.iter().find(|entry| entry.reader.id() == id);
        let reader = Arc::clone(&entry.ok_or("there is no such reader")?.reader);
        drop(state);
        Ok(reader.prices())
    }
}
