//! [`Fault`]: what a peer did wrong, as the Close that answers it.

use std::io;

/// A close code and its reason (RFC 6455 §7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {reason}")]
pub(crate) struct Fault {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

/// Reading a stream can also end with what the stream says.
impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        io::Error::other(fault)
    }
}

pub(crate) const fn protocol(reason: &'static str) -> Fault {
    Fault { code: 1002, reason }
}

const fn policy(reason: &'static str) -> Fault {
    Fault { code: 1008, reason }
}

pub(crate) const CLOSE_BODY: Fault = protocol("close frame with one byte");

pub(crate) const CLOSE_CODE: Fault = protocol("close code that may not be sent");

pub(crate) const NOT_UTF8: Fault = Fault {
    code: 1007,
    reason: "text is not UTF-8",
};

pub(crate) const TOO_FAST: Fault = policy("too many messages a second");

pub(crate) const CONTROL_FLOOD: Fault = policy("too many control frames a second");

pub(crate) const FRAGMENTS: Fault = policy("too many fragments");

pub(crate) const TOO_BIG: Fault = Fault {
    code: 1009,
    reason: "message too big",
};
