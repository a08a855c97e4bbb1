//! [`Connection`]: one client after the opening handshake, as its handler sees it.
//!
//! `read/` reads frames from the socket, `queue/` holds the messages to be sent, and `write/` writes them to the
//! socket. [`Shared`] is the state that all threads of a client share. Nothing in this module knows a server, a handler
//! or a topic.

pub(crate) mod activity;
pub(crate) mod close_cause;
pub(crate) mod deadlines;
pub(crate) mod lifecycle;
pub(crate) mod message_log;
mod messages;
pub(crate) mod queue;
pub(crate) mod read;
mod receive;
pub(crate) mod shared;
pub(crate) mod socket;
pub(crate) mod stats;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod write;

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::message::Message;
use crossbeam_channel::Receiver;

pub use close_cause::CloseCause;
pub use messages::Messages;
pub use queue::outbox::Outbox;
pub use read::message_reader::MessageReader;
pub use stats::MessageCounts;

use crate::error::SendError;
use crate::http::{Peer, Request};
use crate::sync::lock;
use read::reader::Reader;

/// One client after the opening handshake. The handler receives with [`recv`](Self::recv) and sends with
/// [`send`](Self::send). Other threads send through the connection's [`Outbox`].
///
/// ```
/// use standpipe::{Connection, Message};
///
/// /// A handler that tells every client its number, and then answers in upper case.
/// fn shout(conn: &mut Connection) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///     conn.send(Message::text(format!("you are client {}", conn.number())))?;
///     while let Some(message) = conn.recv()? {
///         conn.send(Message::text(message.to_text()?.to_uppercase()))?;
///     }
///     Ok(())
/// }
/// # let _: fn(&mut Connection) -> _ = shout;
/// ```
pub struct Connection {
    request: Arc<Request>,
    subprotocol: Option<String>,
    reader: Reader,
    outbox: Outbox,
    kept: Mutex<Vec<Kept>>,
}

/// A value that lives as long as the handler of a connection.
type Kept = Box<dyn Any + Send>;

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
            kept: Mutex::default(),
        }
    }

    /// Sends a message to this client, as [`Outbox::send`]. While the peer does not read, this method waits. During
    /// that time nothing more is read from the peer, so TCP slows the peer down in turn.
    ///
    /// # Blocking
    /// As [`Outbox::send`].
    ///
    /// # Errors
    /// [`SendError`] returns the message if the connection has ended or is closing.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.outbox.send(message)
    }

    /// Sends several messages to this client, as [`Outbox::send_all`].
    ///
    /// # Blocking
    /// As [`Outbox::send`].
    ///
    /// # Errors
    /// As [`Outbox::send_all`].
    pub fn send_all(&self, messages: Vec<Message>) -> Result<(), SendError> {
        self.outbox.send_all(messages)
    }

    /// Closes the connection after the queued messages have been written, as [`Outbox::close`]. From now on
    /// [`recv`](Self::recv) returns `None`.
    pub fn close(&self, code: u16, reason: &str) {
        self.outbox.close(code, reason);
    }

    /// Returns true until the connection ends or begins to close. The end of the peer's stream alone does not change
    /// it: see [`Outbox::closed`].
    pub fn is_open(&self) -> bool {
        self.outbox.shared().lifecycle().is_open()
    }

    /// Returns the sending end of the connection, for other threads.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Returns a channel that disconnects when the connection begins to close, or the peer has gone, as
    /// [`Outbox::closed`].
    pub fn closed(&self) -> &Receiver<Infallible> {
        self.outbox.closed()
    }

    /// Returns the client's request: path, query and headers.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Keeps `value` until [`Handler::run`](crate::Handler::run) has returned, or [`take`](Self::take) has taken it
    /// out. For what [`Handler::opening`](crate::Handler::opening) has made for this client, for example a
    /// subscription.
    pub fn keep(&self, value: impl Any + Send) {
        lock(&self.kept).push(Box::new(value));
    }

    /// Takes out the oldest value of type `T` that [`keep`](Self::keep) has been given.
    pub fn take<T: Any>(&mut self) -> Option<T> {
        let kept = self.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        let index = kept.iter().position(|value| value.is::<T>())?;
        let value = kept.remove(index).downcast().ok()?;
        Some(*value)
    }

    /// Takes out all values that are kept.
    pub(crate) fn take_all(&self) -> Vec<Kept> {
        std::mem::take(&mut *lock(&self.kept))
    }

    pub(crate) fn shared_request(&self) -> Arc<Request> {
        Arc::clone(&self.request)
    }

    pub(crate) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Returns the selected subprotocol, if there is one.
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Returns the client's address.
    pub fn peer(&self) -> &Peer {
        self.request.peer()
    }

    /// Returns the connection's number. The number is in the connection's log lines and in the names of its threads.
    pub fn number(&self) -> u64 {
        self.outbox.number()
    }

    /// Returns why the connection ended, or `None` if it is still open.
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
