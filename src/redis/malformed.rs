//! [`Malformed`]: why bytes from the server were not taken.

use thiserror::Error;

/// The most records in one payload.
pub(super) const MAX_RECORDS: u64 = 64;

/// Why bytes from the server were not taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Malformed {
    #[error("it ends too early")]
    Truncated,
    #[error("a payload of this kind is unknown")]
    UnknownPayload,
    #[error("version {0} is unknown")]
    UnknownVersion(u8),
    #[error("a record of kind {0} is unknown")]
    UnknownKind(u8),
    #[error("a flag in {0} is unknown")]
    UnknownFlag(u8),
    #[error("a number is not valid")]
    Number,
    #[error("text is not UTF-8")]
    NotUtf8,
    #[error("the data is not JSON")]
    NotJson,
    #[error("{0}")]
    Nesting(String),
    #[error("binary data is declared as JSON")]
    BinaryJson,
    #[error("the message has {size} bytes, and {max} are allowed")]
    TooLarge { size: usize, max: usize },
    #[error("{0}")]
    Name(String),
    #[error("the id {0} is too far in the future")]
    IdTooHigh(u64),
    #[error("an id is 0")]
    IdZero,
    #[error("the step {step} is larger than the id {id}")]
    StepAboveId { step: u64, id: u64 },
    #[error("it has {0} records, and 1 to {MAX_RECORDS} are allowed")]
    RecordCount(u64),
}
