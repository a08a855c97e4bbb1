//! A client's queue, wire and reader, exactly: against a [`ScriptedSocket`] instead of a socket.

mod backpressure;
mod blocked;
mod control_slot;
mod message_counts;
mod reader;
mod write_slot;

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use tungstenite::Message;

use crate::config::Config;
use crate::connection::queue::outbox::Outbox;
use crate::connection::read::reader::Reader;
use crate::connection::shared::Shared;
use crate::connection::socket::Transport;
use crate::connection::stats::MessageCounts;
use crate::connection::testing::scripted_socket::{PATIENCE, ScriptedSocket};
use crate::connection::write::write_half::WriteHalf;
use crate::connection::write::writer;
use crate::http::Peer;

/// Runs a test with early flush and without: who writes may not change what is written.
fn both_ways(test: impl Fn(Config)) {
    for early_flush in [true, false] {
        test(Config::default().early_flush(early_flush));
    }
}

/// A client behind a gate: it has its 101, its wire and its writer thread.
#[derive(Debug)]
struct FakeClient {
    client: Arc<Shared>,
    gate: Arc<ScriptedSocket>,
    outbox: Outbox,
    /// The client itself holds it weakly.
    transport: Arc<dyn Transport>,
    writer: Option<JoinHandle<()>>,
}

impl FakeClient {
    fn new(config: Config) -> FakeClient {
        let mut guest = FakeClient::without_writer(config);
        guest.start_writer();
        guest
    }

    /// One whose wire only helpers write to, until its writer is started.
    fn without_writer(config: Config) -> FakeClient {
        let gate = Arc::new(ScriptedSocket::default());
        let transport: Arc<dyn Transport> = gate.clone();
        let client = Arc::new(Shared::new(1, Peer::Unix, Arc::new(config), &transport));
        assert!(client.mark_request_received() && client.mark_upgraded());
        client.state.head_answered();
        let wire = WriteHalf::new(Arc::clone(&transport));
        client.write_slot.release(wire, &client);
        FakeClient {
            outbox: Outbox::new(Arc::clone(&client)),
            client,
            gate,
            transport,
            writer: None,
        }
    }

    /// One whose writer stands still in `write`, with the message `"held"` in its hand and nothing queued. `taken` bytes
    /// of it are out.
    fn held(config: Config, taken: usize) -> FakeClient {
        let guest = FakeClient::new(config);
        guest.gate.take(taken);
        guest.outbox.try_send(text("held")).expect("there is room");
        guest.gate.until_in_write();
        guest.gate.until_written(taken);
        guest
    }

    fn start_writer(&mut self) {
        let client = Arc::clone(&self.client);
        self.writer = Some(thread::spawn(move || writer::run(&client)));
    }

    fn reader(&self, ahead: &[u8]) -> Reader {
        Reader::new(Arc::clone(&self.transport), &self.client, ahead.to_vec())
    }

    /// The whole frames that were taken.
    fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        frames(&self.gate.written())
    }

    /// Waits for the writer to end by itself.
    fn join_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            within("the writer ends", || writer.join()).expect("the writer does not panic");
        }
    }

    /// Ends it as `life` does, whatever happened before, and sees that its accounts are exact.
    fn end(mut self) -> MessageCounts {
        self.client.give_up();
        self.join_writer();
        self.client.write_slot.end(&self.client);
        let accounts = self.outbox.counts();
        let frames = self.frames();
        let data = frames.iter().filter(|(first, _)| first & 0x08 == 0);
        assert_eq!(
            accounts.accepted,
            accounts.delivered + accounts.discarded,
            "every message has one fate: {accounts:?}"
        );
        assert_eq!(accounts.delivered, data.count() as u64, "{accounts:?}");
        assert_eq!((self.outbox.len(), self.outbox.bytes()), (0, 0));
        let closes = frames.iter().position(|(first, _)| *first == 0x88);
        if let Some(at) = closes {
            assert_eq!(at + 1, frames.len(), "nothing follows a Close");
        }
        accounts
    }
}

impl Drop for FakeClient {
    fn drop(&mut self) {
        // A test that failed leaves nobody waiting.
        self.client.give_up();
        self.gate.hold_helpers(false);
    }
}

/// Gives what `work` gives, or says what was waited for in vain.
fn within<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    let worker = thread::spawn(move || {
        let _ = done.send(work());
    });
    match result.recv_timeout(PATIENCE) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("waited in vain until {what}"),
        Err(RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("it sends or panics"),
        },
    }
}

/// Waits for what has no event of its own.
fn until(what: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::yield_now();
    }
}

fn text(text: impl Into<String>) -> Message {
    Message::text(text.into())
}

/// A frame as a client sends it, masked with zeros, of at most 125 bytes.
fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short payload");
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// Cuts what a server wrote into whole frames, each with its first byte.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while bytes.len() >= 2 {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
        let (header, length) = match bytes[1] {
            126 if bytes.len() >= 4 => (4, number(&bytes[2..4])),
            127 if bytes.len() >= 10 => (10, number(&bytes[2..10])),
            short @ 0..=125 => (2, usize::from(short)),
            _ => break,
        };
        if bytes.len() < header + length {
            break;
        }
        frames.push((bytes[0], bytes[header..header + length].to_vec()));
        bytes = &bytes[header + length..];
    }
    frames
}
