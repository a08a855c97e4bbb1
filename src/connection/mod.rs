//! [`Connection`]: one client after the opening handshake, as its handler sees it.
//!
//! `read/` brings bytes in, `queue/` holds what waits, `write/` brings bytes out. [`Shared`] is what all threads of a client
//! have in common. Nothing in here knows a server, a handler or a topic.

pub(crate) mod activity;
pub(crate) mod close_cause;
pub(crate) mod deadlines;
pub(crate) mod lifecycle;
pub(crate) mod queue;
pub(crate) mod read;
pub(crate) mod shared;
pub(crate) mod socket;
pub(crate) mod stats;
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

pub use close_cause::CloseCause;
pub use queue::outbox::Outbox;
pub use stats::MessageCounts;

use crate::error::{RecvError, SendError};
use crate::http::{Peer, Request};
use read::reader::Reader;

/// One client after the opening handshake. The handler receives with [`recv`](Self::recv) and sends with
/// [`send`](Self::send). Other threads send through the connection's [`Outbox`].
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

    /// Returns the next text or binary message. `None` means that the closing handshake is done, that the server has closed
    /// this connection, or that the server shuts down: return from the handler.
    ///
    /// Pings are answered and pongs are processed in here, so keep calling it.
    ///
    /// # Blocking
    /// Waits for the peer. Woken by a message, by the end of the peer's stream, or by the watchdog when a clock of
    /// [`Config`](crate::Config) runs out. During a shutdown it is woken by the peer's answer to our Close, and at the latest
    /// at [`shutdown_timeout`](crate::Config::shutdown_timeout).
    ///
    /// # Errors
    /// [`RecvError`] tells what ended the connection without a closing handshake.
    pub fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        self.reader.recv()
    }

    /// Like [`recv`](Self::recv), but also returns further complete messages that have already been read, up to `most` in
    /// all. An empty list means that the connection has ended.
    ///
    /// Together with [`send_all`](Self::send_all) or [`Topic::publish_all`](crate::Topic::publish_all) it serves a client
    /// that sends many small messages at the same time faster. The messages of one call fit into
    /// [`read_buffer`](crate::Config::read_buffer), or into the 256 KiB that it grows to.
    ///
    /// # Blocking
    /// As [`recv`](Self::recv), for the first message only.
    ///
    /// # Errors
    /// As [`recv`](Self::recv). Messages before a violation are returned first, and the violation by the next call.
    pub fn recv_all(&mut self, most: usize) -> Result<Vec<Message>, RecvError> {
        self.reader.recv_all(most)
    }

    /// Sends to this client: [`Outbox::send`]. While the peer does not read, this waits; so nothing more is read from the
    /// peer, and TCP makes it wait in turn.
    ///
    /// # Blocking
    /// As [`Outbox::send`].
    ///
    /// # Errors
    /// [`SendError`] returns the message if the connection has ended or is closing.
    pub fn send(&self, message: Message) -> Result<(), SendError> {
        self.outbox.send(message)
    }

    /// Sends several messages to this client: [`Outbox::send_all`].
    ///
    /// # Blocking
    /// As [`Outbox::send`].
    ///
    /// # Errors
    /// As [`Outbox::send_all`].
    pub fn send_all(&self, messages: Vec<Message>) -> Result<(), SendError> {
        self.outbox.send_all(messages)
    }

    /// Closes the connection politely, after what is queued: [`Outbox::close`]. From now on [`recv`](Self::recv) returns
    /// `None`.
    pub fn close(&self, code: u16, reason: &str) {
        self.outbox.close(code, reason);
    }

    /// Returns whether the connection has neither ended nor begun to close.
    pub fn is_open(&self) -> bool {
        self.outbox.shared().lifecycle().is_open()
    }

    /// Returns the sending end of the connection, for other threads.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Returns a channel that disconnects when the connection begins to end, or when shutdown begins: [`Outbox::closed`].
    pub fn closed(&self) -> &Receiver<Infallible> {
        self.outbox.closed()
    }

    /// Returns the client's request: path, query and headers.
    pub fn request(&self) -> &Request {
        &self.request
    }

    pub(crate) fn shared_request(&self) -> Arc<Request> {
        Arc::clone(&self.request)
    }

    pub(crate) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Returns the subprotocol that was agreed on.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Returns the client's address.
    pub fn peer(&self) -> &Peer {
        self.request.peer()
    }

    /// Returns the connection's number. It begins the connection's lines in the log and names its threads.
    pub fn number(&self) -> u64 {
        self.outbox.number()
    }

    /// Returns why the connection ended, once it has.
    pub(crate) fn cause(&self) -> Option<CloseCause> {
        self.outbox.shared().lifecycle().cause()
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
