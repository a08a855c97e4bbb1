//! [`SingleThreaded`]: a client on one thread. The test scripts the peer's bytes, and decides when the writer runs.

use crate::message::Message;

use super::client::TestClient;
use super::scripted_socket::ScriptedSocket;
use crate::config::Config;
use crate::connection::queue::outbox::Outbox;
use crate::connection::read::decoder::{Decoder, Incoming};
use crate::connection::read::reader::Reader;
use crate::error::RecvError;

pub(crate) struct SingleThreaded {
    client: TestClient,
    reader: Reader,
}

impl SingleThreaded {
    pub(crate) fn new(config: Config) -> SingleThreaded {
        let client = TestClient::on(ScriptedSocket::single_threaded(), config);
        SingleThreaded {
            reader: client.reader(&[]),
            client,
        }
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.client.outbox
    }

    /// The peer sends `bytes`, in pieces of `piece_size` bytes.
    pub(crate) fn peer_sends(&self, bytes: &[u8], piece_size: usize) {
        for piece in bytes.chunks(piece_size.clamp(1, bytes.len().max(1))) {
            self.client.socket.send(piece);
        }
    }

    /// From now on the socket accepts at most this many bytes in one call.
    pub(crate) fn accept_per_call(&self, bytes: usize) {
        self.client.socket.accept_per_call(bytes);
    }

    /// Receives a message. After the scripted bytes, the stream ends.
    pub(crate) fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        self.reader.recv()
    }

    #[cfg(test)]
    pub(crate) fn recv_all(&mut self, most: usize) -> Result<Vec<Message>, RecvError> {
        self.reader.recv_all(most)
    }

    /// Receives a message if the peer has sent something.
    pub(crate) fn recv_if_sent(&mut self) -> Option<Message> {
        let sent = self.client.socket.has_input();
        sent.then(|| self.recv()).and_then(Result::ok).flatten()
    }

    /// Receives messages if the peer has sent something.
    pub(crate) fn recv_all_if_sent(&mut self, most: usize) -> Vec<Message> {
        let sent = self.client.socket.has_input();
        let received = sent.then(|| self.reader.recv_all(most));
        received.and_then(Result::ok).unwrap_or_default()
    }

    pub(crate) fn ping(&self) {
        self.client.shared.send_ping(crate::clock::now());
        self.client.shared.write.flush();
    }

    /// Does what the writer does after a notification. Each blocking write accepts at least one byte.
    pub(crate) fn write(&self) {
        let shared = &self.client.shared;
        shared.write.write_until_idle(&shared.writer);
    }

    /// Returns the messages that the decoder alone finds in a stream, without the header check.
    pub(crate) fn decoded_without_check(mut stream: &[u8]) -> Vec<String> {
        let mut decoder = Decoder::new(64);
        let mut messages = Vec::new();
        loop {
            let read = &mut |buffer: &mut [u8]| Ok(std::io::Read::read(&mut stream, buffer)?);
            match decoder.next(read) {
                Ok(Incoming::Data(message)) => messages.push(format!("{message:?}")),
                Ok(Incoming::Ping(_) | Incoming::Pong(_)) => {}
                Ok(Incoming::Close(_) | Incoming::End) | Err(_) => return messages,
            }
        }
    }

    /// Returns the payloads of the pongs that were written.
    #[cfg(test)]
    pub(crate) fn pongs(&self) -> Vec<Vec<u8>> {
        let frames = self.client.frames().into_iter();
        let pongs = frames.filter(|(first, _)| *first == 0x8a);
        pongs.map(|(_, payload)| payload).collect()
    }

    /// Writes what can still be written, ends the client, and checks it as [`TestClient::end`] does.
    pub(crate) fn end(self) {
        self.write();
        self.client.end();
    }
}
