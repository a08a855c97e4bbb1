//! [`Violation`]: what a peer did wrong, as the Close that answers it.

use std::io;

/// A close code and its reason (RFC 6455 §7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub(crate) struct Violation {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

/// Reading a stream can also end with what the stream says.
impl From<Violation> for io::Error {
    fn from(fault: Violation) -> io::Error {
        io::Error::other(fault)
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

pub(crate) const TOO_FAST: Violation = policy("too many messages a second");

pub(crate) const CONTROL_FLOOD: Violation = policy("too many control frames a second");

pub(crate) const FRAGMENTS: Violation = policy("too many fragments");

pub(crate) const TOO_BIG: Violation = Violation {
    code: 1009,
    reason: "message too big",
};
