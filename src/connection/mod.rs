//! [`Connection`]: one client after the handshake, as its handler sees it.

pub(crate) mod queue;
pub(crate) mod read;
pub(crate) mod shared;
pub(crate) mod socket;
pub(crate) mod state;
mod stats;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod write;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use tungstenite::Message;

pub(crate) use queue::byte_limit::Admission;
pub(crate) use queue::item::{Purpose, Redeemed, TopicSource};
pub use queue::outbox::Outbox;
pub(crate) use queue::outbox::RetryBudget;
pub use shared::CloseCause;
pub(crate) use shared::{Shared, ShutdownOutcome};
pub(crate) use socket::{Transport, prepare};
pub(crate) use state::{Activity, DeadlineCheck};
pub use stats::MessageCounts;
#[cfg(any(test, fuzzing))]
pub(crate) use testing::client::TestClient;
pub(crate) use write::direct_write::{DirectWrite, FrameBatch, WriteNow};
pub(crate) use write::frame::Frame;

use crate::error::{RecvError, SendError};
use crate::http::{Peer, Request};
use read::reader::Reader;

/// One client after the handshake. The handler pulls with [`recv`](Self::recv) and pushes with [`send`](Self::send);
/// other threads push through its [`Outbox`].
pub struct Connection {
    request: Arc<Request>,
    subprotocol: Option<String>,
    reader: Reader,
    outbox: Outbox,
}

impl Connection {
    pub(crate) fn new(
        request: Arc<Request>,
        subprotocol: Option<String>,
        reader: Reader,
        outbox: Outbox,
    ) -> Connection {
        Connection {
            request,
            subprotocol,
            reader,
            outbox,
        }
    }

    pub(crate) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// The next text or binary message. `None`: the closing handshake is done, the server closed this client, or it
    /// shuts down; return from the handler.
    ///
    /// Pings are answered and pongs taken note of in here, so keep calling it.
    ///
    /// # Blocking
    /// Waits for the peer. Woken by a message, by the peer's end, or by the watchdog when a clock of
    /// [`Config`](crate::Config) runs out. During a shutdown the peer's answer to the Close wakes it, and
    /// [`shutdown_timeout`](crate::Config::shutdown_timeout) at the latest.
    ///
    /// # Errors
    /// [`RecvError`] says what ended the connection without a closing handshake.
    pub fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        self.reader.recv()
    }

    /// As [`recv`](Self::recv), and with that message those that came with it: whatever has been read already and is
    /// whole, at most `most`. Empty: the end, as `None` there.
    ///
    /// A client that sends many small messages at once is served faster so, with [`send_all`](Self::send_all) or
    /// [`Topic::publish_all`](crate::Topic::publish_all). They fit in
    /// [`read_buffer`](crate::Config::read_buffer), or in the 256 KiB that it grows to.
    ///
    /// # Blocking
    /// As [`recv`](Self::recv), for the first message only.
    ///
    /// # Errors
    /// As [`recv`](Self::recv). What came before a mistake is given first, and the mistake the next time.
    pub fn recv_all(&mut self, most: usize) -> Result<Vec<Message>, RecvError> {
        self.reader.recv_all(most)
    }

    /// [`Outbox::send`] to this client itself. While the peer does not read, this waits, nothing more is read from it,
    /// and TCP makes it wait in turn: backpressure for one.
    ///
    /// # Blocking
    /// As [`Outbox::send`].
    ///
    /// # Errors
    /// [`SendError`] gives the message back if the connection has ended or is closing.
    pub fn send(&self, message: Message) -> Result<(), SendError> {
        self.outbox.send(message)
    }

    /// [`Outbox::send_all`] to this client itself.
    ///
    /// # Blocking
    /// As [`Outbox::send`].
    ///
    /// # Errors
    /// As [`Outbox::send_all`].
    pub fn send_all(&self, messages: Vec<Message>) -> Result<(), SendError> {
        self.outbox.send_all(messages)
    }

    /// [`Outbox::close`]: ends this client politely after what is queued. [`recv`](Self::recv) gives `None` from here.
    pub fn close(&self, code: u16, reason: &str) {
        self.outbox.close(code, reason);
    }

    /// Nobody has begun to end it.
    pub fn is_open(&self) -> bool {
        self.outbox.inner().is_open()
    }

    /// The sending end, for other threads.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// [`Outbox::closed`]: disconnects when the connection begins to end or shutdown begins.
    pub fn closed(&self) -> &Receiver<Infallible> {
        self.outbox.closed()
    }

    /// What the client asked for: path, query, headers.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The same, to keep.
    pub(crate) fn shared_request(&self) -> Arc<Request> {
        Arc::clone(&self.request)
    }

    /// The subprotocol that was agreed on.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// The client's address.
    pub fn peer(&self) -> &Peer {
        self.request.peer()
    }

    /// The connection's number: it begins its lines in the log and names its threads.
    pub fn number(&self) -> u64 {
        self.outbox.number()
    }

    /// Why the connection ended, once it has.
    pub(crate) fn why(&self) -> Option<CloseCause> {
        self.outbox.inner().why()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("number", &self.number())
            .field("peer", self.peer())
            .field("outbox", &self.outbox)
            .finish_non_exhaustive()
    }
}
