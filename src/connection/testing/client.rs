//! [`TestClient`]: one client in memory on one thread, for `fuzzing`: the peer's bytes are a script, and the writer runs when it
//! is told to.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tungstenite::Message;

use crate::clock::lock;
use crate::config::Config;
use crate::connection::queue::outbox::Outbox;
use crate::connection::read::decoder::{Decoder, Incoming};
use crate::connection::read::reader::Reader;
use crate::connection::shared::Shared;
use crate::connection::socket::Transport;
use crate::connection::write::write_half::WriteHalf;
use crate::connection::write::writer;
use crate::error::RecvError;
use crate::http::Peer;

pub(crate) struct TestClient {
    client: Arc<Shared>,
    script: Arc<Script>,
    outbox: Outbox,
    reader: Reader,
}

impl TestClient {
    pub(crate) fn new(config: Config) -> TestClient {
        let script = Arc::new(Script::default());
        let transport: Arc<dyn Transport> = script.clone();
        let client = Arc::new(Shared::new(1, Peer::Unix, Arc::new(config), &transport));
        assert!(client.mark_request_received() && client.mark_upgraded());
        client.state.head_answered();
        let wire = WriteHalf::new(Arc::clone(&transport));
        client.write_slot.release(wire, &client);
        TestClient {
            outbox: Outbox::new(Arc::clone(&client)),
            reader: Reader::new(transport, &client, Vec::new()),
            script,
            client,
        }
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The peer sends `bytes`, `cut` at a time.
    pub(crate) fn peer_sends(&self, bytes: &[u8], cut: usize) {
        let mut script = lock(&self.script.0);
        let pieces = bytes.chunks(cut.clamp(1, bytes.len().max(1)));
        script.to_read.extend(pieces.map(<[u8]>::to_vec));
    }

    /// From now on the socket takes so many bytes at a time without waiting.
    pub(crate) fn takes(&self, bytes: usize) {
        lock(&self.script.0).takes = bytes;
    }

    /// After the script comes the end of the stream.
    pub(crate) fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        self.reader.recv()
    }

    #[cfg(test)]
    pub(crate) fn recv_all(&mut self, most: usize) -> Result<Vec<Message>, RecvError> {
        self.reader.recv_all(most)
    }

    /// Reads only if the peer has sent something.
    pub(crate) fn recv_if_sent(&mut self) -> Option<Message> {
        let sent = !lock(&self.script.0).to_read.is_empty();
        sent.then(|| self.recv()).and_then(Result::ok).flatten()
    }

    /// The same, with what came with it.
    pub(crate) fn recv_all_if_sent(&mut self, most: usize) -> Vec<Message> {
        let sent = !lock(&self.script.0).to_read.is_empty();
        let received = sent.then(|| self.reader.recv_all(most));
        received.and_then(Result::ok).unwrap_or_default()
    }

    pub(crate) fn ping(&self) {
        self.client.control.ping([7; 8]);
        self.client.flush();
    }

    /// The writer's turn: it waits for the socket, which takes something each time.
    pub(crate) fn write(&self) {
        writer::write_all(&self.client);
    }

    /// What an assembler alone makes of a stream.
    pub(crate) fn heard_without_guard(mut stream: &[u8]) -> Vec<String> {
        let mut assembler = Decoder::new(64);
        let mut heard = Vec::new();
        loop {
            match assembler.next(&mut stream) {
                Ok(Incoming::Data(message)) => heard.push(format!("{message:?}")),
                Ok(Incoming::Ping(_) | Incoming::Pong(_)) => {}
                Ok(Incoming::Close(_) | Incoming::End) | Err(_) => return heard,
            }
        }
    }

    /// The payloads of the pongs that were written.
    #[cfg(test)]
    pub(crate) fn pongs(&self) -> Vec<Vec<u8>> {
        let script = lock(&self.script.0);
        let (mut at, mut pongs) = (0, Vec::new());
        while let Some((first, length)) = frame(&script.written[at..]) {
            // A control frame's header is two bytes.
            if first == 0x8a {
                pongs.push(script.written[at + 2..at + length].to_vec());
            }
            at += length;
        }
        pongs
    }

    /// Ends it as `life` does, and sees that the laws were kept.
    pub(crate) fn end(self) {
        self.write();
        self.client.give_up();
        self.client.write_slot.end(&self.client);
        let accounts = self.outbox.counts();
        let fates = accounts.delivered + accounts.dropped + accounts.discarded;
        assert_eq!(accounts.accepted, fates, "{accounts:?}");
        assert_eq!((self.outbox.len(), self.outbox.bytes()), (0, 0));
        let script = lock(&self.script.0);
        let (mut at, mut data, mut closed) = (0, 0, false);
        while let Some((first, length)) = frame(&script.written[at..]) {
            assert!(!closed, "a frame behind the Close");
            match first {
                0x81 | 0x82 => data += 1,
                0x88 => closed = true,
                0x89 | 0x8a => {}
                other => panic!("a frame begins with {other:#x}"),
            }
            at += length;
        }
        assert!(
            !closed || at == script.written.len(),
            "bytes behind the Close"
        );
        assert_eq!(accounts.delivered, data, "{accounts:?}");
    }
}

/// The first byte and the length of the whole frame that stands first.
fn frame(bytes: &[u8]) -> Option<(u8, usize)> {
    let [first, second, ..] = *bytes else {
        return None;
    };
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    let length = match second {
        126 => 4 + number(bytes.get(2..4)?),
        127 => 10 + number(bytes.get(2..10)?),
        short => {
            assert!(short < 126, "a server's frame has no mask");
            2 + usize::from(short)
        }
    };
    (bytes.len() >= length).then_some((first, length))
}

/// A peer as the script says.
#[derive(Debug, Default)]
struct Script(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    to_read: VecDeque<Vec<u8>>,
    interrupted: bool,
    written: Vec<u8>,
    takes: usize,
    no_more_writing: bool,
    no_more_reading: bool,
}

impl Transport for Script {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut inside = lock(&self.0);
        inside.interrupted = !inside.interrupted;
        if inside.interrupted {
            return Err(ErrorKind::Interrupted.into());
        }
        if inside.no_more_reading {
            return Ok(0);
        }
        let Some(mut piece) = inside.to_read.pop_front() else {
            return Ok(0);
        };
        let read = piece.len().min(buffer.len());
        buffer[..read].copy_from_slice(&piece[..read]);
        if read < piece.len() {
            inside.to_read.push_front(piece.split_off(read));
        }
        Ok(read)
    }

    fn try_write(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut inside = lock(&self.0);
        if inside.no_more_writing {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut left = inside.takes;
        let before = inside.written.len();
        for piece in pieces {
            let part = piece.len().min(left);
            inside.written.extend_from_slice(&piece[..part]);
            left -= part;
        }
        match inside.written.len() - before {
            0 => Err(ErrorKind::WouldBlock.into()),
            written => Ok(written),
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut inside = lock(&self.0);
        if inside.no_more_writing {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let part = bytes.len().min(inside.takes.max(1));
        inside.written.extend_from_slice(&bytes[..part]);
        Ok(part)
    }

    fn shutdown(&self, how: Shutdown) {
        let mut inside = lock(&self.0);
        inside.no_more_writing |= how != Shutdown::Read;
        inside.no_more_reading |= how != Shutdown::Write;
    }

    fn reset_at_end(&self) {}

    fn limit_read(&self, _: Duration) {}
}
