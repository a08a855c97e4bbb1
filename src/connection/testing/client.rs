//! [`TestClient`]: an upgraded client on a [`ScriptedSocket`], without a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crate::message::Message;

use super::frames::from_server;
use super::scripted_socket::ScriptedSocket;
use crate::config::Config;
use crate::connection::queue::outbox::Outbox;
use crate::connection::read::reader::Reader;
use crate::connection::shared::Shared;
use crate::connection::socket::Transport;
use crate::connection::stats::MessageCounts;
use crate::connection::write::writer;
use crate::http1::Peer;

#[derive(Debug)]
pub(crate) struct TestClient {
    pub(crate) shared: Arc<Shared>,
    pub(crate) socket: Arc<ScriptedSocket>,
    pub(crate) outbox: Outbox,
    /// Keeps the socket alive, because `Shared` holds it weakly.
    transport: Arc<dyn Transport>,
    writer: Option<JoinHandle<()>>,
}

impl TestClient {
    /// Returns a client with a running writer.
    pub(crate) fn new(config: Config) -> TestClient {
        let mut client = TestClient::without_writer(config);
        client.start_writer();
        client
    }

    /// Returns a client without a writer. Until [`start_writer`](Self::start_writer), only the threads that send write
    /// to its socket.
    pub(crate) fn without_writer(config: Config) -> TestClient {
        TestClient::on(ScriptedSocket::default(), config)
    }

    pub(crate) fn on(socket: ScriptedSocket, config: Config) -> TestClient {
        let socket = Arc::new(socket);
        let transport: Arc<dyn Transport> = socket.clone();
        TestClient::with_transport(socket, transport, config)
    }

    /// Returns a client without a writer. `transport` is `socket`, or the TLS session over it.
    pub(crate) fn with_transport(
        socket: Arc<ScriptedSocket>,
        transport: Arc<dyn Transport>,
        config: Config,
    ) -> TestClient {
        let plain: Arc<dyn Transport> = socket.clone();
        // A topic tells clients apart by their numbers.
        static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = LAST_NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
        let shared = Shared::new(number, Peer::Unix, Arc::new(config), Arc::default(), &plain);
        let shared = Arc::new(shared);
        let lifecycle = shared.lifecycle();
        assert!(lifecycle.mark_request_received() && lifecycle.mark_upgraded());
        shared.write.deadlines.stop_handshake();
        shared.write.open(Arc::clone(&transport));
        TestClient {
            outbox: Outbox::new(Arc::clone(&shared)),
            shared,
            socket,
            transport,
            writer: None,
        }
    }

    /// Returns a client whose writer is blocked in `write`, with the message `"held"` in flight and nothing queued. The
    /// socket has accepted `accepted` bytes of the message.
    pub(crate) fn held(config: Config, accepted: usize) -> TestClient {
        let client = TestClient::new(config);
        client.socket.accept(accepted);
        let held = Message::text("held");
        client.outbox.try_send(held).expect("the queue has room");
        client.socket.until_in_write();
        client.socket.until_written(accepted);
        client
    }

    pub(crate) fn start_writer(&mut self) {
        let shared = Arc::clone(&self.shared);
        self.writer = Some(thread::spawn(move || writer::run(&shared)));
    }

    /// Returns a reader. The bytes in `ahead` arrived with the request.
    pub(crate) fn reader(&self, ahead: &[u8]) -> Reader {
        Reader::new(Arc::clone(&self.transport), &self.shared, ahead.to_vec())
    }

    /// Returns the frames that the socket has accepted completely.
    pub(crate) fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        from_server(&self.socket.written())
    }

    /// Takes the handle of the writer thread, to join it.
    pub(crate) fn take_writer(&mut self) -> Option<JoinHandle<()>> {
        self.writer.take()
    }

    /// Ends the client as its session does. Checks that every accepted message was counted exactly once, and that
    /// nothing follows a Close.
    pub(crate) fn end(self) -> MessageCounts {
        let socket = Arc::clone(&self.socket);
        self.end_with(|| socket.written())
    }

    /// As [`end`](Self::end). `written` returns the bytes of the frames, after all writing.
    pub(crate) fn end_with(mut self, written: impl FnOnce() -> Vec<u8>) -> MessageCounts {
        self.shared.give_up();
        if let Some(writer) = self.writer.take() {
            writer.join().expect("the writer does not panic");
        }
        self.shared.tear_down();
        let counts = self.outbox.counts();
        let finished = counts.delivered + counts.dropped + counts.discarded;
        assert_eq!(counts.accepted, finished, "{counts:?}");
        assert_eq!((self.outbox.len(), self.outbox.bytes()), (0, 0));
        let written = written();
        let (frames, written) = (from_server(&written), written.len());
        assert_eq!(counts.delivered_bytes, written as u64);
        if let Some(at) = frames.iter().position(|(first, _)| *first == 0x88) {
            assert_eq!(at + 1, frames.len(), "a frame follows the Close");
            let header = |payload: &[u8]| match payload.len() {
                0..=125 => 2,
                126..=65_535 => 4,
                _ => 10,
            };
            let sizes = frames
                .iter()
                .map(|(_, payload)| header(payload) + payload.len());
            assert_eq!(written, sizes.sum::<usize>(), "bytes follow the Close");
        }
        for (first, _) in &frames {
            assert!(
                matches!(first, 0x00..=0x02 | 0x80..=0x82 | 0x88..=0x8a),
                "a frame begins with {first:#x}"
            );
        }
        let mut in_message = false;
        for (first, _) in frames.iter().filter(|(first, _)| first & 0x08 == 0) {
            let continues = first & 0x0f == 0;
            assert_eq!(continues, in_message, "a message stands between fragments");
            in_message = first & 0x80 == 0;
        }
        // The last frames of messages.
        let data = frames.iter().filter(|(first, _)| first & 0x88 == 0x80);
        assert_eq!(counts.delivered, data.count() as u64, "{counts:?}");
        counts
    }
}

impl Drop for TestClient {
    fn drop(&mut self) {
        // So that no thread keeps waiting after a failed test.
        self.shared.give_up();
        self.socket.hold_try_write(false);
    }
}
