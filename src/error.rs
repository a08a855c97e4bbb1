//! The error types. Each error of a sending method contains every message that was not queued.

use std::io;

use crate::message::Message;

use crate::clock::Clock;

/// Why a server could not serve, or had to stop.
///
/// [`Server::bind`](crate::Server::bind) returns an [`io::Error`] instead, with a [`ConfigError`](crate::ConfigError) as
/// its source if the configuration is wrong.
///
/// ```
/// use standpipe::{Config, Connection, Error, Server};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::bind("127.0.0.1:0", Config::default())?;
/// # server.handle().shutdown();
/// match server.serve(|_: &mut Connection| Ok(())) {
///     Ok(report) => println!("{report}"),
///     Err(Error::Accept { listener, source }) => eprintln!("{listener} is broken: {source}"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A listener failed permanently. To continue, bind a new server.
    #[error("accepting clients on {listener} failed")]
    Accept {
        /// The address of the listener.
        listener: String,
        /// The error of the kernel.
        source: io::Error,
    },
    /// A thread of the server itself could not be started. Reduce the number of threads, or raise the kernel's limit.
    #[error("could not start the thread {thread}")]
    Spawn {
        /// The name of the thread.
        thread: String,
        /// The error of the kernel.
        source: io::Error,
    },
}

/// Why [`Connection::recv`](crate::Connection::recv) has no more messages, if there was no closing handshake.
///
/// In every case the connection has ended or is being closed. A handler usually returns the error with `?`.
///
/// ```
/// use standpipe::{Connection, RecvError};
///
/// fn read_all(conn: &mut Connection) -> Result<(), RecvError> {
///     loop {
///         match conn.recv() {
///             Ok(Some(message)) => println!("{} bytes", message.len()),
///             Ok(None) => return Ok(()),
///             Err(RecvError::Gone) => return Ok(()), // Browsers on phones often leave like this.
///             Err(error) => return Err(error),
///         }
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The peer violated the protocol or a limit. The server closes the connection with this code and reason.
    #[error("the connection was closed with {code}: {reason}")]
    Violation {
        /// The close code: 1002 protocol error, 1007 invalid UTF-8, 1008 limit exceeded, 1009 message too big.
        code: u16,
        /// The reason in the Close.
        reason: String,
    },
    /// The TCP connection ended without a closing handshake.
    #[error("the peer disconnected without a closing handshake")]
    Gone,
    /// This time limit of [`Config`](crate::Config) expired, and the connection was reset.
    #[error("timed out ({0})")]
    TimedOut(Clock),
    /// Reading from the socket failed.
    #[error("reading from the socket failed")]
    Io(#[source] io::Error),
}

/// Why [`Connection::recv_timeout`](crate::Connection::recv_timeout) or
/// [`recv_deadline`](crate::Connection::recv_deadline) returned no message. There is no further reason, so a `match`
/// needs no wildcard.
///
/// ```
/// use standpipe::RecvTimeoutError;
///
/// assert_eq!(RecvTimeoutError::Timeout.to_string(), "no message arrived in time");
/// ```
#[derive(Debug, thiserror::Error)]
pub enum RecvTimeoutError {
    /// No message has arrived completely in this time. What has arrived of a message is kept. The connection is open.
    #[error("no message arrived in time")]
    Timeout,
    /// The connection has ended, or is being closed.
    #[error(transparent)]
    Failed(#[from] RecvError),
}

/// Why [`Connection::try_recv`](crate::Connection::try_recv) returned no message. There is no further reason, so a
/// `match` needs no wildcard.
///
/// ```
/// use standpipe::TryRecvError;
///
/// assert_eq!(TryRecvError::Empty.to_string(), "no message has arrived");
/// ```
#[derive(Debug, thiserror::Error)]
pub enum TryRecvError {
    /// No message has arrived completely. What has arrived of a message is kept. The connection is open.
    #[error("no message has arrived")]
    Empty,
    /// The connection has ended, or is being closed.
    #[error(transparent)]
    Failed(#[from] RecvError),
}

/// The message that [`Outbox::send`](crate::Outbox::send) did not queue, because the connection has ended or is closing.
///
/// ```
/// use standpipe::{Message, SendError};
///
/// let error = SendError(Message::text("hello"));
/// assert_eq!(error.to_string(), "the connection has ended or is closing");
/// assert_eq!(error.into_message(), Message::text("hello"));
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the connection has ended or is closing")]
pub struct SendError(pub Message);

/// The messages that [`Outbox::send_all`](crate::Outbox::send_all) did not queue, because the connection has ended or is
/// closing.
///
/// ```
/// use standpipe::{Message, SendAllError};
///
/// let error = SendAllError { unsent: vec![Message::text("b"), Message::text("c")] };
/// assert_eq!(error.to_string(), "the connection has ended or is closing; messages not queued: 2");
/// assert_eq!(error.into_unsent().len(), 2);
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the connection has ended or is closing; messages not queued: {}", unsent.len())]
pub struct SendAllError {
    /// Every message that was not queued, in order. It is never empty.
    pub unsent: Vec<Message>,
}

/// The message that [`Outbox::try_send`](crate::Outbox::try_send) did not queue, and why. There is no further reason, so
/// a `match` needs no wildcard.
///
/// ```
/// use standpipe::{Message, TrySendError};
///
/// let error = TrySendError::Full(Message::text("later"));
/// assert_eq!(error.to_string(), "the outbox is full");
/// assert_ne!(error, TrySendError::Closed(Message::text("later")));
/// assert_eq!(error.into_message(), Message::text("later"));
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError {
    /// The outbox is full. The caller can drop the message, keep it for later, or disconnect the client.
    #[error("the outbox is full")]
    Full(Message),
    /// The connection has ended or is closing.
    #[error("the connection has ended or is closing")]
    Closed(Message),
}

/// The message that [`Outbox::send_timeout`](crate::Outbox::send_timeout) did not queue, and why. There is no further
/// reason, so a `match` needs no wildcard.
///
/// ```
/// use standpipe::{Message, SendTimeoutError};
///
/// let error = SendTimeoutError::Timeout(Message::text("later"));
/// assert_eq!(error.to_string(), "the outbox was still full when the time was over");
/// assert_eq!(error.into_message(), Message::text("later"));
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendTimeoutError {
    /// The outbox was full for the whole time.
    #[error("the outbox was still full when the time was over")]
    Timeout(Message),
    /// The connection has ended or is closing.
    #[error("the connection has ended or is closing")]
    Closed(Message),
}

/// Why [`Outbox::wait_written`](crate::Outbox::wait_written) or
/// [`wait_written_timeout`](crate::Outbox::wait_written_timeout) could not confirm that everything was written.
///
/// ```
/// assert_eq!(
///     standpipe::WaitWrittenError::Timeout.to_string(),
///     "not everything was written when the time was over"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitWrittenError {
    /// The time was over. The connection is open, and the messages are still on their way.
    #[error("not everything was written when the time was over")]
    Timeout,
    /// The connection ended, or a Close overtook the queue, and messages were discarded.
    #[error("the connection ended before everything was written")]
    Ended,
}

impl SendError {
    /// Returns the message that was not queued.
    ///
    /// ```
    /// use standpipe::{Message, Outbox};
    ///
    /// /// Returns the message if the client has left.
    /// fn offer(outbox: &Outbox, message: Message) -> Option<Message> {
    ///     outbox.send(message).err().map(|error| error.into_message())
    /// }
    /// ```
    pub fn into_message(self) -> Message {
        self.0
    }
}

impl SendAllError {
    /// Returns every message that was not queued, in order.
    ///
    /// ```
    /// use standpipe::{Message, Outbox};
    ///
    /// /// Returns the messages that were not queued.
    /// fn offer(outbox: &Outbox, messages: Vec<Message>) -> Vec<Message> {
    ///     outbox.send_all(messages).err().map_or_else(Vec::new, |error| error.into_unsent())
    /// }
    /// ```
    pub fn into_unsent(self) -> Vec<Message> {
        self.unsent
    }
}

impl TrySendError {
    /// Returns the message that was not queued.
    ///
    /// ```
    /// use standpipe::{Message, Outbox};
    ///
    /// /// Returns the message if it was not queued.
    /// fn offer(outbox: &Outbox, message: Message) -> Option<Message> {
    ///     outbox.try_send(message).err().map(|error| error.into_message())
    /// }
    /// ```
    pub fn into_message(self) -> Message {
        match self {
            TrySendError::Full(message) | TrySendError::Closed(message) => message,
        }
    }
}

impl SendTimeoutError {
    /// Returns the message that was not queued.
    ///
    /// ```
    /// use std::time::Duration;
    /// use standpipe::{Message, Outbox};
    ///
    /// /// Returns the message if it was not queued.
    /// fn offer(outbox: &Outbox, message: Message) -> Option<Message> {
    ///     let sent = outbox.send_timeout(message, Duration::from_millis(10));
    ///     sent.err().map(|error| error.into_message())
    /// }
    /// ```
    pub fn into_message(self) -> Message {
        match self {
            SendTimeoutError::Timeout(message) | SendTimeoutError::Closed(message) => message,
        }
    }
}

// A message may be large or private, so `{:?}` shows only its length. (crossbeam's errors show `..` instead.)
impl std::fmt::Debug for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SendError({} bytes)", self.0.len())
    }
}

impl std::fmt::Debug for SendAllError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SendAllError({} messages)", self.unsent.len())
    }
}

impl std::fmt::Debug for TrySendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, message) = match self {
            TrySendError::Full(message) => ("Full", message),
            TrySendError::Closed(message) => ("Closed", message),
        };
        write!(f, "TrySendError::{name}({} bytes)", message.len())
    }
}

impl std::fmt::Debug for SendTimeoutError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, message) = match self {
            SendTimeoutError::Timeout(message) => ("Timeout", message),
            SendTimeoutError::Closed(message) => ("Closed", message),
        };
        write!(f, "SendTimeoutError::{name}({} bytes)", message.len())
    }
}
