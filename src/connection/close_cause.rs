//! [`CloseCause`]: why a connection ended. [`PeerClose`]: the Close that the peer sent.

use std::fmt;

use super::write::close::SLOW_CONSUMER;
use crate::clock::Clock;

/// Why a connection ended. [`Connection::cause`](crate::Connection::cause), [`Outbox::cause`](crate::Outbox::cause),
/// [`Outbox::on_end`](crate::Outbox::on_end) and [`Event::Closed`](crate::Event::Closed) report it.
///
/// Each cause is recorded when it occurs. It is never inferred from a close code. The first cause stands. There is one
/// exception: a Close that still waits for the queue may be replaced, by `close_now` for example, or by the peer's Close.
///
/// ```
/// use standpipe::{Clock, CloseCause};
///
/// assert_eq!(CloseCause::TimedOut(Clock::Ping).to_string(), "reset: ping_timeout passed");
/// let left = CloseCause::Peer { code: 1001, reason: "bye".into() };
/// assert_eq!(left.to_string(), "closed by the peer: 1001 (going away), bye");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseCause {
    /// The peer closed the connection with a Close frame.
    Peer {
        /// The code in the peer's Close. 1005 means that the Close had no code (RFC 6455 §7.1.5).
        code: u16,
        /// The reason in the peer's Close.
        reason: String,
    },
    /// The handler returned `Ok`, or the program called [`close`](crate::Outbox::close) or
    /// [`close_now`](crate::Outbox::close_now).
    Application {
        /// The code in our Close.
        code: u16,
        /// The reason in our Close.
        reason: String,
    },
    /// The handler returned an error or panicked. The peer is sent 1011.
    HandlerFailed,
    /// A [`MessageWriter`](crate::MessageWriter) was dropped, or not written to for
    /// [`message_timeout`](crate::Config::message_timeout), before its message was finished. The peer is sent 1011.
    Unfinished,
    /// The peer violated the protocol or a limit.
    Violation {
        /// The code in our Close: 1002, 1007, 1008 or 1009.
        code: u16,
        /// The reason in our Close.
        reason: String,
    },
    /// A topic disconnected the client with 4008, because the client was a slow consumer.
    SlowConsumer,
    /// The server shut down. The peer is sent 1001.
    Shutdown,
    /// This time limit of [`Config`](crate::Config) expired, and the connection was reset.
    TimedOut(Clock),
    /// [`Outbox::terminate`](crate::Outbox::terminate) reset the connection.
    Terminated,
    /// The TCP connection ended without a closing handshake.
    Gone,
}

impl CloseCause {
    /// Returns the name of the cause, as in the metrics of the program. For a deadline it is the name of the field in
    /// [`Config`](crate::Config).
    ///
    /// ```
    /// use standpipe::{Clock, CloseCause};
    ///
    /// assert_eq!(CloseCause::SlowConsumer.name(), "slow_consumer");
    /// assert_eq!(CloseCause::TimedOut(Clock::Ping).name(), "ping_timeout");
    /// ```
    pub const fn name(&self) -> &'static str {
        match self {
            CloseCause::Peer { .. } => "peer",
            CloseCause::Application { .. } => "application",
            CloseCause::HandlerFailed => "handler_failed",
            CloseCause::Unfinished => "unfinished_message",
            CloseCause::Violation { .. } => "violation",
            CloseCause::SlowConsumer => "slow_consumer",
            CloseCause::Shutdown => "shutdown",
            CloseCause::TimedOut(clock) => clock.name(),
            CloseCause::Terminated => "terminated",
            CloseCause::Gone => "gone",
        }
    }

    /// Returns the code in the Close that ended the connection. A connection that was reset, or whose peer sent none, has no
    /// code.
    ///
    /// ```
    /// use standpipe::CloseCause;
    ///
    /// assert_eq!(CloseCause::SlowConsumer.code(), Some(4008));
    /// assert_eq!(CloseCause::Gone.code(), None);
    /// ```
    pub const fn code(&self) -> Option<u16> {
        match self {
            CloseCause::Peer { code: 1005, .. } => None,
            CloseCause::Peer { code, .. }
            | CloseCause::Application { code, .. }
            | CloseCause::Violation { code, .. } => Some(*code),
            CloseCause::HandlerFailed | CloseCause::Unfinished => Some(1011),
            CloseCause::SlowConsumer => Some(SLOW_CONSUMER),
            CloseCause::Shutdown => Some(1001),
            CloseCause::TimedOut(_) | CloseCause::Terminated | CloseCause::Gone => None,
        }
    }
}

impl fmt::Display for CloseCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseCause::Peer { code: 1005, .. } => f.write_str("closed by the peer without a code"),
            CloseCause::Peer { code, reason } => {
                write!(f, "closed by the peer: {}", InWords(*code))?;
                with_reason(f, reason)
            }
            CloseCause::Application { code, reason } => {
                write!(f, "closed by the application: {}", InWords(*code))?;
                with_reason(f, reason)
            }
            CloseCause::HandlerFailed => f.write_str("the handler failed: 1011"),
            CloseCause::Unfinished => f.write_str("a message was not finished: 1011"),
            CloseCause::Violation { code, reason } => {
                write!(
                    f,
                    "the peer violated the protocol or a limit: {}",
                    InWords(*code)
                )?;
                with_reason(f, reason)
            }
            CloseCause::SlowConsumer => f.write_str("slow consumer: 4008"),
            CloseCause::Shutdown => f.write_str("the server shut down: 1001"),
            CloseCause::TimedOut(clock) => write!(f, "reset: {clock} passed"),
            CloseCause::Terminated => f.write_str("reset by the application"),
            CloseCause::Gone => f.write_str("the peer is gone without a closing handshake"),
        }
    }
}

/// The Close frame that the peer sent: see [`Outbox::peer_close`](crate::Outbox::peer_close).
///
/// ```
/// use standpipe::Outbox;
///
/// /// Returns whether a client has confirmed our Close, or has closed the connection itself, with an ordinary code.
/// fn has_said_goodbye(outbox: &Outbox) -> bool {
///     outbox.peer_close().is_some_and(|close| matches!(close.code, 1000 | 1001))
/// }
/// # let _ = has_said_goodbye;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerClose {
    /// The code. 1005 means that the Close had no code (RFC 6455 §7.1.5).
    pub code: u16,
    /// The reason, which the peer has chosen: at most 123 bytes.
    pub reason: String,
}

impl fmt::Display for PeerClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code == 1005 {
            return f.write_str("no code");
        }
        write!(f, "{}", InWords(self.code))?;
        with_reason(f, &self.reason)
    }
}

/// A close code and its name. Codes from 3000 on are the application's own.
struct InWords(u16);

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RFC 6455 §7.4.1; IANA registered 1012 to 1014 later.
        let name = match self.0 {
            1000 => "normal closure",
            1001 => "going away",
            1002 => "protocol error",
            1003 => "unsupported data",
            1007 => "invalid data",
            1008 => "policy violation",
            1009 => "message too big",
            1010 => "extension missing",
            1011 => "internal error",
            1012 => "service restart",
            1013 => "try again later",
            1014 => "bad gateway",
            code => return write!(f, "{code}"),
        };
        write!(f, "{} ({name})", self.0)
    }
}

fn with_reason(f: &mut fmt::Formatter<'_>, reason: &str) -> fmt::Result {
    if reason.is_empty() {
        return Ok(());
    }
    // Escaped, because the peer may have chosen the reason.
    write!(f, ", {}", crate::escape::escaped(reason))
}
