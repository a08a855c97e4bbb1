//! [`SingleThreaded`]: a client on one thread. The test scripts the peer's bytes, and decides when the writer runs.

use std::time::Instant;

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
    /// Whether a receive never waits, and nothing can be read once before each piece of the peer's bytes.
    short_waits: bool,
}

impl SingleThreaded {
    pub(crate) fn new(config: Config) -> SingleThreaded {
        let client = TestClient::on(ScriptedSocket::single_threaded(), config);
        SingleThreaded {
            reader: client.reader(&[]),
            client,
            short_waits: false,
        }
    }

    /// Returns a client that receives with a timeout of zero, again and again, until it has a message.
    pub(crate) fn with_short_waits(config: Config) -> SingleThreaded {
        SingleThreaded {
            short_waits: true,
            ..SingleThreaded::new(config)
        }
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.client.outbox
    }

    /// The peer sends `bytes`, in pieces of `piece_size` bytes.
    pub(crate) fn peer_sends(&self, bytes: &[u8], piece_size: usize) {
        for piece in bytes.chunks(piece_size.clamp(1, bytes.len().max(1))) {
            if self.short_waits {
                self.client.socket.pause();
            }
            self.client.socket.send(piece);
        }
    }

    /// From now on the socket accepts at most this many bytes in one call.
    pub(crate) fn accept_per_call(&self, bytes: usize) {
        self.client.socket.accept_per_call(bytes);
    }

    /// Receives a message. After the scripted bytes, the stream ends.
    pub(crate) fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        if !self.short_waits {
            return self.reader.recv();
        }
        loop {
            match self.reader.recv_deadline(Instant::now()) {
                Err(None) => {}
                received => return received.map_err(|error| error.expect("not a timeout")),
            }
        }
    }

    /// Receives a message as a stream, in parts of up to `part_size` bytes.
    pub(crate) fn recv_stream(&mut self, part_size: usize) -> Result<Option<Message>, RecvError> {
        let Some(is_text) = self.reader.begin_stream()? else {
            return Ok(None);
        };
        let (mut payload, mut part) = (Vec::new(), vec![0; part_size]);
        loop {
            match self.reader.next_part(&mut part)? {
                None => return Ok(None),
                Some(0) if is_text => {
                    let text = String::from_utf8(payload).expect("the parts have been checked");
                    return Ok(Some(Message::text(text)));
                }
                Some(0) => return Ok(Some(Message::binary(payload))),
                Some(bytes) => payload.extend_from_slice(&part[..bytes]),
            }
        }
    }

    /// Begins to receive a message as a stream, and takes one part of up to `part_size` bytes. The rest is discarded.
    pub(crate) fn recv_one_part(&mut self, part_size: usize) -> Result<Option<()>, RecvError> {
        let begun = self.reader.begin_stream()?.is_some();
        let part = begun.then(|| self.reader.next_part(&mut vec![0; part_size]));
        Ok(part.transpose()?.flatten().map(drop))
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
        let mut decoder = Decoder::new(&Config::default().read_buffer(64));
        let mut messages = Vec::new();
        loop {
            let read = &mut |buffer: &mut [u8]| Ok(std::io::Read::read(&mut stream, buffer)?);
            match decoder.next(read) {
                Ok(Incoming::Data(message)) => messages.push(format!("{message:?}")),
                Ok(Incoming::Close(_) | Incoming::End) | Err(_) => return messages,
                Ok(_) => {}
            }
        }
    }

    /// Returns the frames that were written.
    #[cfg(test)]
    pub(crate) fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        self.client.frames()
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
