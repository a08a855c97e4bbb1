//! Errors, one type for each question a caller asks. A message that was not queued always comes back.

use std::io;

use tungstenite::Message;

use crate::connection::close_cause::Clock;

/// The server cannot go on: accepting has failed for good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A listener failed in a way that waiting does not mend. Bind anew.
    #[error("accepting clients on {listener} failed")]
    Accept {
        /// The address that was listened on.
        listener: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// No thread could be had for the server itself. Free some, or raise the limit that the log names.
    #[error("could not start the {thread} thread")]
    Spawn {
        /// The thread's name.
        thread: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A pattern in [`Config::origin`](crate::Config::origin) is not an origin.
    #[error(
        "origin pattern {0:?} is not like https://example.com, example.com:8080 or https://*.example.com"
    )]
    Origin(String),
}

/// Why [`Connection::recv`](crate::Connection::recv) has no more messages, when the peer did not simply say goodbye.
///
/// None of these can be mended by the handler: return, with `?`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The peer broke the protocol or a limit; a Close with this code is on its way to it.
    #[error("the peer was refused with {code}: {reason}")]
    Violation {
        /// The close code: 1002 protocol, 1007 UTF-8, 1008 policy, 1009 too big.
        code: u16,
        /// The reason in the Close.
        reason: String,
    },
    /// The TCP connection ended without a closing handshake.
    #[error("the peer is gone without a closing handshake")]
    Gone,
    /// A clock of [`Config`](crate::Config) ran out, and the connection was reset.
    #[error("timed out ({0})")]
    TimedOut(Clock),
    /// Reading the socket failed.
    #[error("reading from the peer failed")]
    Io(#[source] io::Error),
}

/// [`Outbox::send`](crate::Outbox::send) did not queue the message: the connection has ended, or begun to close.
///
/// Also when the message was neither text nor binary: control frames are the server's, see
/// [`Outbox::close`](crate::Outbox::close).
#[derive(thiserror::Error)]
#[error("{}", closed_text(.0))]
pub struct SendError(pub Message);

/// [`Outbox::try_send`](crate::Outbox::try_send) did not queue the message.
#[derive(thiserror::Error)]
pub enum TrySendError {
    /// There is no room now. Drop it, keep it for later, or end the client: the choice is yours.
    #[error("the outbox is full")]
    Full(Message),
    /// As [`SendError`].
    #[error("{}", closed_text(.0))]
    Closed(Message),
}

/// [`Outbox::send_timeout`](crate::Outbox::send_timeout) did not queue the message.
#[derive(thiserror::Error)]
pub enum SendTimeoutError {
    /// There was no room for so long.
    #[error("the outbox stayed full for the time given")]
    Timeout(Message),
    /// As [`SendError`].
    #[error("{}", closed_text(.0))]
    Closed(Message),
}

fn closed_text(message: &Message) -> &'static str {
    if message.is_text() || message.is_binary() {
        "the connection has ended or is closing"
    } else {
        "only text and binary messages can be queued"
    }
}

impl TrySendError {
    /// The message that was not queued.
    pub fn into_message(self) -> Message {
        match self {
            TrySendError::Full(message) | TrySendError::Closed(message) => message,
        }
    }
}

impl SendTimeoutError {
    /// The message that was not queued.
    pub fn into_message(self) -> Message {
        match self {
            SendTimeoutError::Timeout(message) | SendTimeoutError::Closed(message) => message,
        }
    }
}

// A message may be large or private, so `{:?}` shows its length, as crossbeam's errors show `..`.
impl std::fmt::Debug for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SendError({} bytes)", self.0.len())
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
