//! [`Connection`]: one client after the opening handshake, as its handler sees it.
//!
//! `read/` reads frames from the socket, `queue/` holds the messages to be sent, and `write/` writes them to the
//! socket. [`Shared`] is the state that all threads of a client share. Nothing in this module knows a server, a handler
//! or a topic.

pub(crate) mod activity;
pub(crate) mod client_name;
pub(crate) mod close_cause;
pub(crate) mod common;
pub(crate) mod deadlines;
pub(crate) mod disconnect_log;
pub(crate) mod end_callbacks;
pub(crate) mod lateness;
pub(crate) mod lifecycle;
mod marks;
pub(crate) mod message_log;
mod messages;
mod phase;
pub(crate) mod ping;
pub(crate) mod queue;
pub(crate) mod read;
mod receive;
mod send;
pub(crate) mod shared;
pub(crate) mod socket;
pub(crate) mod stats;
pub(crate) mod stopwatch;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod tls_state;
pub(crate) mod write;

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Receiver;

pub use activity::Activity;
pub use close_cause::{CloseCause, PeerClose};
pub use end_callbacks::TooManyCallbacks;
pub use messages::Messages;
pub use queue::message_writer::MessageWriter;
pub use queue::outbox::Outbox;
pub use queue::receipt::Receipt;
pub use queue::tracked::Fate;
pub use read::message_reader::MessageReader;
pub use stats::MessageCounts;

use crate::http1::{Peer, Request};
use crate::sync::lock;
use read::reader::Reader;

/// One client after the opening handshake. The handler receives with [`recv`](Self::recv) and sends with
/// [`send`](Self::send). Other threads send through the connection's [`Outbox`].
///
/// ```
/// use standpipe::{Connection, Message};
///
/// /// A handler that tells every client its number, and then answers in upper case.
/// fn shout(conn: &mut Connection) -> standpipe::HandlerResult {
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

    /// Returns true until the connection ends or begins to close, as [`Outbox::is_open`].
    ///
    /// ```
    /// # fn example(conn: &standpipe::Connection, rows: &[String]) -> Result<(), standpipe::SendError> {
    /// for row in rows {
    ///     if !conn.is_open() {
    ///         break; // Nobody is left for whom the next row would be computed.
    ///     }
    ///     conn.send(row.as_str())?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_open(&self) -> bool {
        self.outbox.is_open()
    }

    /// Returns the sending end of the connection, for other threads.
    ///
    /// ```
    /// # fn example(conn: &standpipe::Connection) {
    /// let outbox = conn.outbox();
    /// std::thread::spawn(move || {
    ///     // Another thread can send to the client while the handler receives.
    ///     let _ = outbox.send("the report is ready");
    /// });
    /// # }
    /// ```
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Returns a channel that disconnects when the connection begins to close, or the peer has gone, as
    /// [`Outbox::closed`].
    ///
    /// ```
    /// # fn example(conn: &standpipe::Connection, results: &standpipe::crossbeam_channel::Receiver<String>) {
    /// use standpipe::crossbeam_channel::select;
    /// // Waits for a result of another thread, but not after the client has left.
    /// select! {
    ///     recv(results) -> result => println!("{result:?}"),
    ///     recv(conn.closed()) -> _ => println!("client {} has left", conn.number()),
    /// }
    /// # }
    /// ```
    pub fn closed(&self) -> &Receiver<Infallible> {
        self.outbox.closed()
    }

    /// Returns whether the server has stopped accepting in order to end. Messages can still be sent and received, for the
    /// grace of [`ServerHandle::drain`](crate::ServerHandle::drain). A handler that returns now closes with 1001.
    ///
    /// ```
    /// # use standpipe::Connection;
    /// /// Answers requests until the server drains.
    /// fn answer(conn: &mut Connection) -> standpipe::HandlerResult {
    ///     while !conn.is_draining() {
    ///         let Some(request) = conn.recv()? else { break };
    ///         conn.send(request)?;
    ///     }
    ///     Ok(())
    /// }
    /// # let _: fn(&mut Connection) -> _ = answer;
    /// ```
    pub fn is_draining(&self) -> bool {
        self.outbox.is_draining()
    }

    /// Returns a channel that disconnects when [`is_draining`](Self::is_draining) begins to return true, as
    /// [`Outbox::draining`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use standpipe::{Connection, crossbeam_channel::RecvTimeoutError};
    /// /// Waits for a second, or until the server drains. Returns whether it does.
    /// fn wait(conn: &Connection) -> bool {
    ///     let waited = conn.draining().recv_timeout(Duration::from_secs(1));
    ///     waited == Err(RecvTimeoutError::Disconnected)
    /// }
    /// # let _: fn(&Connection) -> bool = wait;
    /// ```
    pub fn draining(&self) -> &Receiver<Infallible> {
        self.outbox.draining()
    }

    /// Returns the client's request: path, query and headers.
    ///
    /// ```
    /// # fn example(conn: &standpipe::Connection) {
    /// let room = conn.request().query("room").unwrap_or("lobby");
    /// println!("client {} joins {room}", conn.number());
    /// # }
    /// ```
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Keeps `value` until [`Handler::run`](crate::Handler::run) has returned, or [`take`](Self::take) has taken it
    /// out. For what [`Handler::opening`](crate::Handler::opening) has made for this client, for example a
    /// subscription.
    ///
    /// ```
    /// use standpipe::{Connection, Hub, SubscribeOptions};
    ///
    /// fn join(hub: &Hub, conn: &Connection) -> Result<(), Box<dyn std::error::Error>> {
    ///     // The client is a member until its handler has returned.
    ///     conn.keep(hub.topic("news")?.subscribe(conn.outbox(), SubscribeOptions::new())?);
    ///     Ok(())
    /// }
    /// ```
    pub fn keep(&self, value: impl Any + Send) {
        lock(&self.kept).push(Box::new(value));
    }

    /// Takes out the oldest value of type `T` that [`keep`](Self::keep) has been given.
    ///
    /// ```
    /// use standpipe::{Connection, Subscription};
    ///
    /// fn leave(conn: &mut Connection) {
    ///     // Ends the subscription that `Handler::opening` kept.
    ///     drop(conn.take::<Subscription>());
    /// }
    /// ```
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
    ///
    /// ```
    /// # fn example(conn: &standpipe::Connection) {
    /// match conn.subprotocol() {
    ///     Some("chat.v2") => println!("a new client"),
    ///     _ => println!("an old client"),
    /// }
    /// # }
    /// ```
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Returns the client's address.
    ///
    /// ```
    /// # fn example(conn: &standpipe::Connection) {
    /// if conn.peer().is_loopback() {
    ///     println!("client {} is on this machine", conn.number());
    /// }
    /// # }
    /// ```
    pub fn peer(&self) -> &Peer {
        self.request.peer()
    }

    /// Returns the connection's number. The number is in the connection's log lines and in the names of its threads.
    ///
    /// ```
    /// # fn example(conn: &standpipe::Connection) {
    /// println!("client {} runs on thread sp-{}-read", conn.number(), conn.number());
    /// # }
    /// ```
    pub fn number(&self) -> u64 {
        self.outbox.number()
    }

    /// Returns why the connection is closing or has ended, as [`Outbox::cause`]. For example, the code and the reason in
    /// the peer's Close, after [`recv`](Self::recv) has returned `None`:
    ///
    /// ```
    /// use standpipe::{CloseCause, Connection};
    ///
    /// fn count(conn: &mut Connection) -> standpipe::HandlerResult {
    ///     let mut messages = 0;
    ///     while conn.recv()?.is_some() {
    ///         messages += 1;
    ///     }
    ///     if let Some(CloseCause::Peer { code, reason }) = conn.cause() {
    ///         println!("{messages} messages, then {code} {reason:?}");
    ///     }
    ///     Ok(())
    /// }
    /// # let _: fn(&mut Connection) -> _ = count;
    /// ```
    pub fn cause(&self) -> Option<CloseCause> {
        self.outbox.cause()
    }

    /// Returns the Close that the peer has sent, as [`Outbox::peer_close`]. The peer's answer to our own Close is received
    /// only after the handler has returned.
    ///
    /// ```
    /// # fn example(conn: &mut standpipe::Connection) -> Result<(), Box<dyn std::error::Error>> {
    /// while conn.recv()?.is_some() {}
    /// if let Some(close) = conn.peer_close() {
    ///     println!("the client closed with {}", close.code);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn peer_close(&self) -> Option<PeerClose> {
        self.outbox.peer_close()
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
