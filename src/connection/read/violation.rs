//! [`Violation`]: a violation by the peer, as the Close that answers it. [`ReadError`]: why reading stopped.

use std::io;

/// The close code and reason with which a violation is answered (RFC 6455 §7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

/// Why no more messages can be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    Violation(Violation),
    /// No message has begun to arrive in the time that the caller wants to wait. Reading can be continued.
    TimedOut,
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

impl From<Violation> for ReadError {
    fn from(violation: Violation) -> ReadError {
        ReadError::Violation(violation)
    }
}

pub(crate) const fn protocol(reason: &'static str) -> Violation {
    Violation { code: 1002, reason }
}

const fn policy(reason: &'static str) -> Violation {
    Violation { code: 1008, reason }
}

pub(crate) const CLOSE_BODY: Violation = protocol("close frame with one byte");

pub(crate) const CLOSE_CODE: Violation = protocol("close code that may not be sent");

pub(crate) const NOT_UTF8: Violation = Violation {
    code: 1007,
    reason: "text is not UTF-8",
};

pub(crate) const TOO_FAST: Violation = policy("too many messages per second");

pub(crate) const CONTROL_FLOOD: Violation = policy("too many control frames per second");

pub(crate) const FRAGMENTS: Violation = policy("too many fragments");

pub(crate) const TOO_BIG: Violation = Violation {
    code: 1009,
    reason: "message too big",
};
